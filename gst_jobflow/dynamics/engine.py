"""Find LAMMPS with ML-PACE, and run it."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from gst_jobflow.base.errors import InputError, MissingProgramError, RunError
from gst_jobflow.base.processes import Finished, run_program, words_of
from gst_jobflow.base.segments import read_output
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.base.words import counted
from gst_jobflow.dynamics import log as lammps_log
from gst_jobflow.dynamics.log import FailureClass, LoopTime

logger = logging.getLogger(__name__)

DECK_FILE, LOG_FILE, SCREEN_FILE = "in.lammps", "log.lammps", "screen.out"
PLUGIN_FOLDER = Path("share") / "gst_jobflow" / "lammps-plugins"
NEEDED_STYLES = ("pace", "pace/extrapolation")
# in addition on GPUs
GPU_STYLES = ("pace/kk",)
_PROGRAM_NAMES = ("lmp", "lmp_mpi", "lmp_serial")
_FIX = (
    "run scripts/install_lammps_pace, or install a LAMMPS with ML-PACE (conda-forge's package 'lammps' has it) "
    "and put its lmp on PATH or name it as lammps.command in gst.yaml"
)

_COMMAND_FIX = "correct lammps.command in gst.yaml, or leave it out; scripts/install_lammps_pace installs an lmp"


@dataclass(frozen=True)
class LammpsRun:
    """How one execution of LAMMPS ended."""

    failure_class: FailureClass
    error_line: str
    wall_s: float
    returncode: int
    loop: LoopTime
    version: str
    directory: Path

    @property
    def status(self) -> Literal["finished", "failed"]:
        return "failed" if self.failure_class else "finished"

    def require_success(self) -> LammpsRun:
        """Return self, or raise a :class:`RunError` that carries the failure class."""
        if self.status == "finished":
            return self
        raise RunError(
            f"LAMMPS failed ({self.failure_class}): {self.error_line}",
            f"see {self.directory / LOG_FILE} and {SCREEN_FILE} beside it",
            self.failure_class,
        )


class LammpsEngine(StrictModel):
    """How to start LAMMPS.

    `mpi_command` serves `ranks` above 1, which replace its ``{ranks}``; it must belong to the MPI that LAMMPS was built
    with. `gpus` counts the GPUs of each node that KOKKOS uses; 0: none.
    """

    command: list[str] = Field(min_length=1)
    mpi_command: str = "mpirun -np {ranks}"
    ranks: int = Field(1, ge=1)
    plugin_path: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    gpus: int = Field(0, ge=0)

    @classmethod
    def discover(
        cls,
        command: str | Path | list[str] | None = None,
        mpi_command: str | None = None,
        ranks: int = 1,
        plugin_path: str | Path | None = None,
        gpus: int = 0,
    ) -> LammpsEngine:
        """Find a LAMMPS that has the ``pace`` styles; with `gpus`, also those of KOKKOS.

        Order: the given `command`; an ``lmp`` on PATH that has them built in; the ``lmp`` of this Python environment
        (PyPI wheel) with the plugin that ``scripts/install_lammps_pace`` puts into it. Raises MissingProgramError if
        none has them.
        """
        plugin_path = None if plugin_path is None else str(plugin_path)
        needed = (*NEEDED_STYLES, *GPU_STYLES) if gpus else NEEDED_STYLES
        if command:
            candidates = [_candidate(words_of(command, "LAMMPS command", _COMMAND_FIX), plugin_path)]
        else:
            candidates = [_candidate([found], plugin_path) for found in _on_path()] + _of_this_environment(plugin_path)
        for engine in candidates:
            mpi = mpi_command or engine.mpi_command
            if mpi_command and ranks > 1:
                words_of(mpi_command, "MPI command", "correct lammps.mpi_command in gst.yaml, or leave it out")
            engine = engine.model_copy(update={"ranks": ranks, "mpi_command": mpi, "gpus": gpus})
            if set(needed) <= engine.styles():
                return engine
        tried = ", ".join(shlex.join(engine.command) for engine in candidates) or "nothing: there is no lmp"
        fix = "build LAMMPS with KOKKOS, CUDA (or HIP) and ML-PACE, or set lammps.gpus to 0" if gpus else _FIX
        raise MissingProgramError(f"no LAMMPS with pair styles {' and '.join(needed)} (tried {tried})", fix)

    def with_ranks(self, ranks: int) -> LammpsEngine:
        """Return the same engine on another number of MPI ranks."""
        return self.model_copy(update={"ranks": ranks})

    def argv(self, *arguments: str) -> list[str]:
        """Return the full command line, with MPI in front where there is more than one rank."""
        mpi = shlex.split(self.mpi_command.replace("{ranks}", str(self.ranks))) if self.ranks > 1 else []
        return [*mpi, *self.command, *arguments]

    def accelerated(self) -> list[str]:
        """Return the options that move a run to the GPUs; none on the CPU.

        ``pace/kk`` needs half neighbour lists with newton on. Styles without a KOKKOS version run on the host.
        """
        if not self.gpus:
            return []
        return ["-k", "on", "g", str(self.gpus), "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: ours, the plugin's folder, and `env` on top."""
        env = {"OMP_NUM_THREADS": "1", **os.environ}
        if self.plugin_path:
            env["LAMMPS_PLUGIN_PATH"] = self.plugin_path
        for key, value in self.env.items():
            # a library path is put in front of the user's, everything else replaces
            env[key] = f"{value}:{env[key]}" if key == "LD_LIBRARY_PATH" and env.get(key) else value
        return env

    def styles(self) -> frozenset[str]:
        """Return the pair styles, plugins included; empty if the program does not start."""
        return _styles(tuple(self.command), self.plugin_path, tuple(sorted(self.env.items())))

    def smoke_test(self, yace: str | None = None, yaml: str | None = None, asi: str | None = None) -> str:
        """Run one real step and return the version of LAMMPS.

        Without a potential, look up the styles and run one step of a Lennard-Jones gas on all ranks; with `yace`, one
        of ``pace``; with `yaml` and `asi`, another of ``pace/extrapolation``.

        Raises
        ------
        MissingProgramError, RunError
            LAMMPS lacks the styles, does not run, or splits into single ranks under a foreign mpirun.
        """
        missing = set(NEEDED_STYLES) - self.styles()
        if missing:
            raise MissingProgramError(f"{shlex.join(self.command)} lacks {', '.join(sorted(missing))}", _FIX)
        ended = None
        for pair in _smoke_pairs(yace, yaml, asi):
            with tempfile.TemporaryDirectory(prefix="gst_lammps_") as folder:
                ended = self.run(_smoke_deck(pair), Path(folder), timeout_s=300).require_success()
        return ended.version if ended else ""

    def run(
        self,
        deck_text: str,
        directory: Path,
        timeout_s: float | None = None,
        started: Callable[[int], None] | None = None,
    ) -> LammpsRun:
        """Run a deck in `directory` and return how it ended; a failed simulation is a result, not an exception.

        Parameters
        ----------
        deck_text
            The input; see :func:`gst_jobflow.dynamics.deck.render_deck`.
        directory
            Made if absent; gets ``in.lammps``, ``log.lammps``, ``screen.out`` and the files of the deck.
        timeout_s
            After this time the process group is ended, and the class is ``killed``.
        started
            Called with the process id, which is also that of its group.

        Raises
        ------
        MissingProgramError
            The program cannot be started.
        RunError
            The ranks did not join into one run: the mpirun belongs to another MPI.
        """
        directory = Path(directory).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        (directory / DECK_FILE).write_text(deck_text)
        (directory / LOG_FILE).unlink(missing_ok=True)
        ended = self._execute(directory, timeout_s, started)
        log_text = read_output(directory / LOG_FILE)
        text = f"{log_text}\n{read_output(directory / SCREEN_FILE)}"
        self._check_ranks(text)
        failure, line = lammps_log.classify(text, ended.returncode)
        if ended.timed_out and failure:
            failure, line = "killed", f"ended after the time limit of {timeout_s:g} s"
        loop, version = lammps_log.loop_time(log_text), lammps_log.version(text)
        return LammpsRun(failure, line, ended.wall_s, ended.returncode, loop, version, directory)

    def _execute(self, directory: Path, timeout_s: float | None, started: Callable[[int], None] | None) -> Finished:
        try:
            # SIGTERM rather than SIGKILL when we die, so that mpirun can end its ranks
            return run_program(
                self.argv("-in", DECK_FILE, "-log", LOG_FILE, *self.accelerated()),
                directory,
                output=SCREEN_FILE,
                wall_limit_s=timeout_s,
                environment=self.environment(),
                death_signal=signal.SIGTERM,
                started=started,
            )
        except OSError as error:
            raise MissingProgramError(f"cannot start '{self.argv()[0]}': {error.strerror}", _FIX) from error

    def _check_ranks(self, text: str) -> None:
        used = lammps_log.ranks_used(text)
        if used is not None and used != self.ranks:
            raise RunError(
                f"LAMMPS ran on {counted(used, 'rank')} instead of {self.ranks}: '{self.mpi_command}' is from another "
                "MPI",
                "set lammps.mpi_command in gst.yaml to the mpirun that belongs to this lmp",
                "bad_input",
            )


def _on_path() -> list[str]:
    found = [shutil.which(name) for name in _PROGRAM_NAMES]
    return [path for path in found if path]


def _candidate(words: list[str], plugin_path: str | None) -> LammpsEngine:
    program = shutil.which(words[0]) or words[0]
    wheel = _wheel_binary(Path(program))
    if wheel:
        return _wheel_engine(*wheel, [str(wheel[0]), *words[1:]], plugin_path)
    beside = [Path(program).parent / name for name in ("mpirun", "mpiexec")]
    launcher = next((str(path) for path in beside if path.exists()), shutil.which("mpirun") or "mpirun")
    return LammpsEngine(
        command=[program, *words[1:]], mpi_command=f"{shlex.quote(launcher)} -np {{ranks}}", plugin_path=plugin_path
    )


def _wheel_binary(program: Path) -> tuple[Path, Path] | None:
    """Return (binary, environment) if `program` is the PyPI wheel's script, which hides signals from the binary."""
    prefix = program.parent.parent
    found = sorted(prefix.glob("lib/python3*/site-packages/lammps/lmp"))
    return (found[-1], prefix) if found else None


def _wheel_engine(binary: Path, prefix: Path, command: list[str], plugin_path: str | None) -> LammpsEngine:
    installed = prefix / PLUGIN_FOLDER
    if plugin_path is None and installed.is_dir():
        plugin_path = str(installed)
    return LammpsEngine(
        command=command,
        mpi_command=f"{shlex.quote(str(prefix / 'bin' / 'mpirun'))} -np {{ranks}}",
        plugin_path=plugin_path,
        env={"LD_LIBRARY_PATH": str(prefix / "lib")},
    )


def _of_this_environment(plugin_path: str | None) -> list[LammpsEngine]:
    prefix = Path(sys.prefix)
    wheel = _wheel_binary(prefix / "bin" / "lmp")
    return [_wheel_engine(*wheel, [str(wheel[0])], plugin_path)] if wheel else []


@lru_cache(maxsize=32)
def _styles(command: tuple[str, ...], plugin_path: str | None, env: tuple[tuple[str, str], ...]) -> frozenset[str]:
    # `lmp -h` does not list the styles of plugins, `info` does
    engine = LammpsEngine(command=list(command), plugin_path=plugin_path, env=dict(env))
    with tempfile.TemporaryDirectory(prefix="gst_lammps_") as folder:
        Path(folder, DECK_FILE).write_text("info styles pair\n")
        try:
            done = subprocess.run(
                engine.argv("-in", DECK_FILE, "-log", "none"),
                cwd=folder,
                env=engine.environment(),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.info("%s does not answer: %s", shlex.join(command), error)
            return frozenset()
    _, _, listed = done.stdout.partition("Pair styles")
    return frozenset(listed.split())


def _smoke_pairs(yace: str | None, yaml: str | None, asi: str | None) -> list[list[str]]:
    if yace is None:
        return [["mass 1 1.0", "pair_style lj/cut 3.0", "pair_coeff 1 1 0.01 2.5"]]
    first = yace_elements(Path(yace))[0]
    pairs = [["mass 1 100.0", "pair_style pace", f"pair_coeff * * {shlex.quote(str(Path(yace).resolve()))} {first}"]]
    if yaml and asi:
        files = " ".join(shlex.quote(str(Path(path).resolve())) for path in (yaml, asi))
        pairs.append(["mass 1 100.0", "pair_style pace/extrapolation", f"pair_coeff * * {files} {first}"])
    return pairs


def _smoke_deck(pair: list[str]) -> str:
    return "\n".join(
        [
            "units metal",
            "lattice sc 4.0",
            "region box block 0 3 0 3 0 3",
            "create_box 1 box",
            "create_atoms 1 box",
            *pair,
            "velocity all create 300 1",
            "fix 1 all nve",
            "run 1",
            f'print "{lammps_log.FINISHED_WORD} step $(step)"',
            "",
        ]
    )


def yace_elements(path: Path) -> list[str]:
    """Return the elements of a ``.yace`` file, in its order; raises InputError if it is missing or names none."""
    try:
        with Path(path).open() as file:
            for line in file:
                if line.startswith("elements:"):
                    names = line.split(":", 1)[1].strip().strip("[]")
                    return [name.strip(" '\"") for name in names.split(",")]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the potential {path}: {error}", "give a .yace file") from error
    raise InputError(f"{path} names no elements", "it is not a .yace potential: convert it with pace_yaml2yace")
