"""Run calculators in child processes that stay for many labels and jobs, and end them if they hang."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from gst_jobflow.base.processes import die_with_parent, end_group

LOG = "calculator.log"
_PIPE_BYTES = 1 << 16
# a process idle for so long ends, with this status
_PATIENCE_S = 60.0
_TIRED = 86


@dataclass(frozen=True)
class Spec:
    """Specification of a calculator process; labels with equal ones may share a process.

    Parameters
    ----------
    calculator
        "package.module:Name" of a class or a function that returns a calculator.
    keywords
        Its keyword arguments as JSON.
    reuse
        Keep the calculator from label to label; else make a new one for each.
    threads
        OMP_NUM_THREADS.
    fingerprint
        Fingerprint of the method, so that changed weights are loaded again.
    """

    calculator: str
    keywords: str
    reuse: bool
    threads: int
    fingerprint: str


@dataclass(frozen=True)
class Reply:
    """Reply of a process: `content` of `answer`, or None if the process hung (`timed_out`) or died."""

    content: dict[str, Any] | None
    timed_out: bool = False
    returncode: int = 0


class CalculatorProcess:
    """A child process that answers one request at a time; it dies with the thread that made it."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        # replies need a pipe of their own, because calculators print to stdout
        self._replies, theirs = os.pipe()
        threads = {"OMP_NUM_THREADS": str(spec.threads), "OMP_MAX_ACTIVE_LEVELS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gst_jobflow.labelling.calculator_process", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads},
            start_new_session=True,
            pass_fds=(theirs,),
            preexec_fn=die_with_parent(),
        )
        os.close(theirs)
        self._end = weakref.finalize(self, _end, self._process, self._replies)

    @property
    def is_usable(self) -> bool:
        """Whether it can take another request."""
        return self._end.alive and self._process.poll() is None

    def ask(self, request: dict[str, Any], directory: Path, wall_limit_s: float) -> Reply:
        """Return the reply to a request; end a process that hung or died."""
        line = json.dumps({**request, "directory": str(directory)}) + "\n"
        assert self._process.stdin is not None  # it is a pipe
        # a dead process reads nothing; its end is noticed below
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        text, timed_out = self._read_line(time.monotonic() + wall_limit_s)
        if text is not None:
            return Reply(json.loads(text))
        self.close()
        return Reply(None, timed_out, self._process.returncode)

    def _read_line(self, until: float) -> tuple[bytes | None, bool]:
        """Return a whole line, or None and whether time ran out (else the process ended)."""
        parts: list[bytes] = []
        while True:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None, True
            part = os.read(self._replies, _PIPE_BYTES)
            if not part:
                return None, False
            parts.append(part)
            if part.endswith(b"\n"):
                return b"".join(parts), False

    def take_place(self) -> None:
        """Confine it to the cores of the calling thread, since each slot of labels has its own."""
        cores = os.sched_getaffinity(0)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{self._process.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), cores)

    def close(self) -> None:
        """End the process and what it started."""
        self._end()


def _end(process: subprocess.Popen, replies: int) -> None:
    with contextlib.suppress(OSError):
        os.close(replies)
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    end_group(process.pid)
    process.wait()


class _Idle:
    """Idle processes; they outlast jobs, so that a model is loaded once for many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[CalculatorProcess] = []
        # the kernel ends a child with the thread that started it, so one thread that stays starts all
        self._starter = ThreadPoolExecutor(1, "calculators")

    def take(self, spec: Spec) -> CalculatorProcess:
        """Return a process of a specification; end those of others, which may hold much memory."""
        with self._lock:
            alike = [process for process in self._processes if process.spec == spec and process.is_usable]
            others = [process for process in self._processes if process not in alike]
            self._processes = alike[1:]
        for process in others:
            process.close()
        found = alike[0] if alike else self._starter.submit(CalculatorProcess, spec).result()
        found.take_place()
        return found

    def give_back(self, process: CalculatorProcess) -> None:
        """Keep a process for the next request."""
        with self._lock:
            self._processes.append(process)


_idle = _Idle()


def ask(spec: Spec, request: dict[str, Any], directory: Path, wall_limit_s: float) -> Reply:
    """Return the reply of a process to a request; safe to call from several threads."""
    while True:
        process = _idle.take(spec)
        reply = process.ask(request, directory, wall_limit_s)
        if reply.content is not None:
            _idle.give_back(process)
        elif reply.returncode == _TIRED:
            # it ended from idleness just when it was asked
            continue
        return reply


def answer(request: dict[str, Any], kept: Calculator | None = None) -> tuple[dict[str, Any], Calculator | None]:
    """Compute energy, forces and stress of a request; return them or an error, and the calculator to keep.

    Parameters
    ----------
    request
        `calculator`, `keywords` and `reuse` as in `Spec`; `numbers`, `positions` (Å), `cell` (Å) and `pbc`.
    kept
        The calculator of an earlier request; None: make one.

    Returns
    -------
    dict
        `energy`, `forces` and `stress`, or one line under `missing` (cannot be imported), `keywords` (do not fit),
        `unmade` (cannot be made on this machine) or `error` (the calculation failed).
    """
    try:
        calculator = make(request["calculator"], request["keywords"]) if kept is None else kept
    except MemoryError:
        raise
    except Exception as error:
        traceback.print_exc()
        return {_what_is_wrong(error): _line(error)}, None
    keep = calculator if request["reuse"] else None
    try:
        return _computed(request, calculator), keep
    except (RuntimeError, ValueError, ArithmeticError, OSError) as error:
        # usual errors of failed calculations
        return {"error": _line(error)}, keep
    except ImportError as error:
        # some calculators import what they need only now
        return {"missing": _line(error)}, None
    except MemoryError:
        raise
    except Exception as error:
        # foreign code may raise anything: fail the label, and use a new calculator for the next
        traceback.print_exc()
        return {"error": _line(error)}, None


def _what_is_wrong(error: Exception) -> str:
    if isinstance(error, ImportError | AttributeError):
        return "missing"
    return "keywords" if isinstance(error, TypeError) else "unmade"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _computed(request: dict[str, Any], calculator: Calculator) -> dict[str, Any]:
    atoms = Atoms(numbers=request["numbers"], positions=request["positions"], cell=request["cell"], pbc=request["pbc"])
    atoms.calc = calculator
    energy = atoms.get_potential_energy(force_consistent=_has("free_energy", calculator))
    forces = atoms.get_forces().tolist()
    stress = atoms.get_stress().tolist() if atoms.pbc.all() and _has("stress", calculator) else None
    return {"energy": float(energy), "forces": forces, "stress": stress}


def make(calculator: str, keywords: dict[str, Any]) -> Calculator:
    """Return the calculator of an import path "package.module:Name"."""
    module, _, name = calculator.partition(":")
    return getattr(importlib.import_module(module), name)(**keywords)


def _has(quantity: str, calculator: Calculator) -> bool:
    return quantity in getattr(calculator, "implemented_properties", [])


def _next_line(requests: IO[bytes]) -> bytes:
    """Return the next request, empty at the end; end this process if none comes for long."""
    # requests come one at a time, so none waits in the buffer of the stream
    if not select.select([requests], [], [], _PATIENCE_S)[0]:
        os._exit(_TIRED)
    return requests.readline()


def _serve(requests: IO[bytes], replies: int) -> None:
    """Answer requests, a line each, until the stream ends."""
    kept: Calculator | None = None
    while line := _next_line(requests):
        request = json.loads(line)
        os.chdir(request["directory"])
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.close(log)
        content, kept = answer(request, kept)
        sys.stdout.flush()
        sys.stderr.flush()
        with os.fdopen(os.dup(replies), "wb") as answers:
            answers.write(json.dumps(content).encode() + b"\n")


if __name__ == "__main__":
    _serve(sys.stdin.buffer, int(sys.argv[1]))
