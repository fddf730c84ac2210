"""Label by CP2K Quickstep: PBE, GTH pseudopotentials, Gaussian and plane waves."""

from __future__ import annotations

import functools
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.processes import Finished, run_program, words_of
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.labelling.backend import BackendModel, Bounds, RawLabel, failed
from gst_jobflow.labelling.cp2k_output import CONVERGED, NOT_CONVERGED, read_single_point
from gst_jobflow.labelling.kpoints import kpoint_mesh
from gst_jobflow.labelling.method import Method
from gst_jobflow.structures.material import default_material

PROJECT = "label"
INPUT, OUTPUT = f"{PROJECT}.inp", f"{PROJECT}.out"
PROGRAMS = ("cp2k.psmp", "cp2k.popt", "cp2k", "cp2k.ssmp")
FIX = "apt-get install cp2k cp2k-data, or name the program in the label settings (program, data_dir)"


class Cp2kKind(StrictModel):
    """Names of the basis set and pseudopotential of an element in CP2K's data files."""

    basis: str = "DZVP-MOLOPT-SR-GTH"
    potential: str


class Cp2kSettings(StrictModel):
    """Settings of a PBE single point with CP2K.

    Attributes
    ----------
    kinds
        Basis and potential by element.
    cutoff_Ry, relative_cutoff_Ry, n_grids, eps_default
        Multigrid and integral screening. The defaults agree with 400 / 60 Ry and 1e-12 to 0.001 eV/Å.
    eps_scf
        Convergence of the density.
    smearing_K
        Fermi–Dirac electronic temperature; the energy is the electronic free energy, consistent with the forces.
    k_spacing_per_A
        Largest spacing of k-points, 1/Å, including 2 pi as VASP's KSPACING; None: Gamma only. Meshes are odd, because
        CP2K's even Monkhorst–Pack meshes leave Gamma out.
    gamma_min_A
        Refuse cells of a smaller perpendicular height, Å, without `k_spacing_per_A`; not part of the method.
    added_orbitals
        Empty orbitals for the smeared tail, as a share of the occupied ones.
    max_scf, mixing_alpha, mixing_beta, mixing_history
        Path to self-consistency (Broyden), not part of the method.
    stress
        Also compute the stress.
    program, launcher, ranks, threads, data_dir
        How to run. `launcher` starts more than one rank and must belong to the program's MPI; `{ranks}` stands for
        their number.
    wall_limit_s
        Wall time limit of a calculation.
    """

    functional: Literal["PBE"] = "PBE"
    kinds: dict[str, Cp2kKind] = Field(
        default_factory=lambda: default_material().labels["cp2k"]["kinds"], validate_default=True
    )
    cutoff_Ry: float = Field(200.0, gt=0)
    relative_cutoff_Ry: float = Field(40.0, gt=0)
    n_grids: int = Field(5, ge=1)
    eps_default: float = Field(1e-10, gt=0)
    eps_scf: float = Field(1e-6, gt=0)
    smearing_K: float = Field(300.0, gt=0)
    k_spacing_per_A: float | None = Field(None, gt=0)
    gamma_min_A: float = Field(10.0, ge=0)
    added_orbitals: float = Field(0.2, ge=0)
    max_scf: int = Field(200, ge=1)
    mixing_alpha: float = Field(0.2, gt=0)
    mixing_beta: float = Field(1.5, gt=0)
    mixing_history: int = Field(8, ge=1)
    stress: bool = True
    program: str = "cp2k.psmp"
    launcher: str = "mpirun -np {ranks}"
    ranks: int = Field(1, ge=1)
    threads: int = Field(1, ge=1)
    data_dir: str = ""
    wall_limit_s: float = Field(3600.0, gt=0)

    @classmethod
    def discover(cls, **fields: Any) -> Cp2kSettings:
        """Return settings with the program, its own mpirun and its data folder found on this machine.

        The mpirun beside the program is preferred, since one on PATH may be of another MPI (as from a Python wheel),
        which would start independent copies.

        Raises
        ------
        MissingProgramError
            No CP2K on PATH.
        """
        found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
        if "program" not in fields and found is None:
            raise MissingProgramError(f"no CP2K on PATH (looked for {', '.join(PROGRAMS)})", FIX)
        program = str(fields.setdefault("program", found))
        beside = Path(shutil.which(program) or program).parent / "mpirun"
        if beside.exists():
            fields.setdefault("launcher", f"{shlex.quote(str(beside))} -np {{ranks}}")
        folder = data_folder(program)
        if folder is not None:
            fields.setdefault("data_dir", str(folder))
        return cls(**fields)


def data_folder(program: str) -> Path | None:
    """Find CP2K's data folder: CP2K_DATA_DIR, that of the Debian package, or one below the program's prefix."""
    prefix = Path(shutil.which(program) or program).resolve().parent.parent
    candidates = [os.environ.get("CP2K_DATA_DIR"), "/usr/share/cp2k", prefix / "share/cp2k/data", prefix / "data"]
    folders = [Path(candidate) for candidate in candidates if candidate]
    return next((folder for folder in folders if (folder / "GTH_POTENTIALS").exists()), None)


def check_gamma(cell_A: np.ndarray, settings: Cp2kSettings) -> None:
    """Raise InputError if a cell is too small for the Gamma point alone, unless `k_spacing_per_A` is set.

    Parameters
    ----------
    cell_A
        Shape (3, 3), lattice vectors in rows; its perpendicular heights are volume over area of each face.
    """
    if settings.k_spacing_per_A is not None:
        return
    height = float(1 / np.linalg.norm(np.linalg.inv(cell_A), axis=0).max())
    # allows for rounding of a height that equals the limit
    if height < settings.gamma_min_A - 1e-9:
        raise InputError(
            f"the smallest height of the cell is {height:.2f} Å, below the {settings.gamma_min_A:g} Å that the Gamma "
            "point alone needs",
            f"ask for k-points: --option k_spacing_per_A=0.25, or allow it: --option gamma_min_A="
            f"{math.floor(10 * height) / 10:g}",
        )


def cp2k_input(atoms: Atoms, settings: Cp2kSettings) -> str:
    """Return CP2K's input for a single point of energy, forces and stress.

    Raises
    ------
    InputError
        An element without basis and potential.
    """
    check_kinds(atoms, settings)
    printed = input_section("FORCES ON", "NDIGITS 12", "FILENAME forces")
    if settings.stress:
        printed += input_section("STRESS_TENSOR ON", "FILENAME stress")
    lines = [
        *input_section("GLOBAL", f"PROJECT {PROJECT}", "RUN_TYPE ENERGY_FORCE", "PRINT_LEVEL LOW"),
        *input_section(
            "FORCE_EVAL",
            "METHOD QUICKSTEP",
            *(["STRESS_TENSOR ANALYTICAL"] if settings.stress else []),
            *dft_lines(atoms, settings),
            *subsys_lines(atoms, settings),
            *input_section("PRINT", *printed),
        ),
    ]
    return "\n".join([*lines, ""])


def input_section(title: str, *lines: str) -> list[str]:
    """Return the lines of a section of CP2K's input; the title is its name, and its argument if it has one."""
    return [f"&{title}", *(f"  {line}" for line in lines), f"&END {title.split()[0]}"]


def check_kinds(atoms: Atoms, settings: Cp2kSettings) -> None:
    """Raise InputError for an element without basis and potential."""
    if missing := sorted(set(atoms.get_chemical_symbols()) - set(settings.kinds)):
        raise InputError(
            f"no CP2K basis and potential for {', '.join(missing)}",
            "add them to kinds of the CP2K settings",
        )


def dft_lines(atoms: Atoms, settings: Cp2kSettings, scf: list[str] | None = None, qs: Sequence[str] = ()) -> list[str]:
    """Return the section DFT, with `scf` instead of our section SCF, and `qs` added to QS."""
    spacing = settings.k_spacing_per_A
    mesh = (1, 1, 1) if spacing is None else kpoint_mesh(atoms.cell.array, spacing, odd=True)
    k_points = input_section("KPOINTS", f"SCHEME MONKHORST-PACK {' '.join(map(str, mesh))}")
    multigrid = [
        f"CUTOFF {settings.cutoff_Ry!r}",
        f"REL_CUTOFF {settings.relative_cutoff_Ry!r}",
        f"NGRIDS {settings.n_grids}",
    ]
    return input_section(
        "DFT",
        "BASIS_SET_FILE_NAME BASIS_MOLOPT",
        "POTENTIAL_FILE_NAME GTH_POTENTIALS",
        *input_section("QS", f"EPS_DEFAULT {settings.eps_default!r}", *qs),
        *input_section("MGRID", *multigrid),
        *([] if mesh == (1, 1, 1) else k_points),
        *(_scf(atoms, settings) if scf is None else scf),
        *input_section("XC", *input_section(f"XC_FUNCTIONAL {settings.functional}")),
    )


def scf_lines(settings: Cp2kSettings, *lines: str) -> list[str]:
    """Return the section SCF with `lines` in it; it writes no restart file."""
    return input_section(
        "SCF",
        "SCF_GUESS ATOMIC",
        f"EPS_SCF {settings.eps_scf!r}",
        f"MAX_SCF {settings.max_scf}",
        *lines,
        *input_section("PRINT", *input_section("RESTART OFF")),
    )


def _scf(atoms: Atoms, settings: Cp2kSettings) -> list[str]:
    mixing = [
        f"ALPHA {settings.mixing_alpha!r}",
        f"BETA {settings.mixing_beta!r}",
        f"NBUFFER {settings.mixing_history}",
    ]
    return scf_lines(
        settings,
        f"ADDED_MOS {added_orbitals(atoms, settings)}",
        *input_section("DIAGONALIZATION ON", "ALGORITHM STANDARD"),
        *input_section("SMEAR ON", "METHOD FERMI_DIRAC", f"ELECTRONIC_TEMPERATURE [K] {settings.smearing_K!r}"),
        *input_section("MIXING", "METHOD BROYDEN_MIXING", *mixing),
    )


def subsys_lines(atoms: Atoms, settings: Cp2kSettings) -> list[str]:
    """Return the section SUBSYS: cell, atoms, kinds."""
    vectors = zip("ABC", atoms.cell.array, strict=True)
    sites = zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
    kinds = {symbol: settings.kinds[symbol] for symbol in sorted(set(atoms.get_chemical_symbols()))}
    return input_section(
        "SUBSYS",
        *input_section("CELL", *(f"{name} [angstrom] {_numbers(vector)}" for name, vector in vectors), "PERIODIC XYZ"),
        *input_section("COORD", *(f"{symbol} {_numbers(position)}" for symbol, position in sites)),
        *(
            line
            for symbol, kind in kinds.items()
            for line in input_section(
                f"KIND {symbol}", f"ELEMENT {symbol}", f"BASIS_SET {kind.basis}", f"POTENTIAL {kind.potential}"
            )
        ),
    )


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{value:.12f}" for value in vector)


def added_orbitals(atoms: Atoms, settings: Cp2kSettings) -> int:
    """Return the number of empty orbitals: a share of the occupied ones, at least eight."""
    electrons = sum(_valence(settings.kinds[symbol].potential) for symbol in atoms.get_chemical_symbols())
    return max(8, math.ceil(settings.added_orbitals * electrons / 2))


def _valence(potential: str) -> int:
    match = re.search(r"-q(\d+)$", potential)
    if match is None:
        raise InputError(
            f"the name of potential {potential} lacks the number of electrons", "use the full name, e.g. GTH-PBE-q4"
        )
    return int(match.group(1))


@functools.lru_cache(maxsize=8)
def cp2k_version(program: str) -> str:
    """Return the version that the program prints, e.g. "2023.1"; raise MissingProgramError if it does not run."""
    try:
        answer = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **_environment(1)},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingProgramError(f"CP2K does not run as '{program}': {error}", FIX) from error
    found = re.search(r"CP2K version (\S+)", answer.stdout)
    if found is None:
        raise MissingProgramError(f"'{program} --version' does not answer as CP2K does", FIX)
    return found.group(1)


class Cp2kBackend(BackendModel):
    """Backend of CP2K single points, see `Cp2kSettings`."""

    settings: Cp2kSettings = Field(default_factory=Cp2kSettings)
    bounds: Bounds = Field(default_factory=lambda: default_material().labels["cp2k"]["bounds"], validate_default=True)

    @property
    def needs_periodic(self) -> bool:
        return True

    @property
    def cores(self) -> int | None:
        return self.settings.ranks * self.settings.threads

    def known_elements(self) -> list[str]:
        return sorted(self.settings.kinds)

    def check(self, atoms: Atoms) -> None:
        """Raise InputError as every backend does, and if the cell is too small for the Gamma point alone."""
        super().check(atoms)
        check_gamma(atoms.cell.array, self.settings)

    def method(self) -> Method:
        """Return functional, kinds, cutoffs, thresholds, smearing and k-point rule with the program's version."""
        return self.method_of(cp2k_version(self.settings.program))

    def method_of(self, version: str) -> Method:
        """Return the method for any version of CP2K, installed or not."""
        settings = self.settings
        return Method(
            code="cp2k",
            version=version,
            parameters={
                "functional": settings.functional,
                "kinds": {symbol: [kind.basis, kind.potential] for symbol, kind in settings.kinds.items()},
                "cutoff_Ry": settings.cutoff_Ry,
                "relative_cutoff_Ry": settings.relative_cutoff_Ry,
                "n_grids": settings.n_grids,
                "eps_default": settings.eps_default,
                "eps_scf": settings.eps_scf,
                "smearing": ["fermi_dirac", settings.smearing_K],
                "added_orbitals": settings.added_orbitals,
                "k_points": "gamma" if settings.k_spacing_per_A is None else ["odd", settings.k_spacing_per_A],
                "spin": "restricted",
            },
        )

    def check_machine(self, elements: Collection[str]) -> None:
        """Raise MissingProgramError if the launcher or CP2K's data files are missing."""
        _launcher(self.settings)
        find_data_folder(self.settings)

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Run CP2K on `atoms` in `directory` and read its output.

        Raises
        ------
        MissingProgramError
            The program, its launcher or its data files are missing.
        """
        settings, directory = self.settings, Path(directory)
        cp2k_version(settings.program)
        self.check_machine(())
        directory.mkdir(parents=True, exist_ok=True)
        # do not read results of an earlier attempt
        for old in (*directory.glob("*-forces-*"), *directory.glob("*-stress-*")):
            old.unlink()
        (directory / INPUT).write_text(cp2k_input(atoms, settings))
        ended = run_cp2k(settings, directory, INPUT, OUTPUT, settings.wall_limit_s)
        if ended.timed_out:
            label = failed("timeout", f"CP2K did not end within {settings.wall_limit_s:g} s")
        else:
            label = self._read(directory, len(atoms), ended.returncode)
        label.wall_s = ended.wall_s
        label.files = {"input": directory / INPUT, "output": directory / OUTPUT}
        return label

    def _read(self, directory: Path, n_atoms: int, returncode: int) -> RawLabel:
        text = (directory / OUTPUT).read_text(errors="replace")
        problem = _problem(text, returncode, self.settings.ranks)
        if problem is not None:
            return failed(*problem)
        seen = re.search(r"CP2K\| version string:\s+CP2K version (\S+)", text)
        try:
            found = read_single_point(text, directory, PROJECT, n_atoms)
        except ValueError as error:
            return failed("missing_output", str(error))
        if found.forces_eV_A is None or (self.settings.stress and found.stress_eV_A3 is None):
            return failed(
                "missing_output", f"no {'forces' if found.forces_eV_A is None else 'stress'} in CP2K's output"
            )
        return RawLabel(
            converged=True,
            energy_eV=found.energy_eV,
            forces_eV_A=found.forces_eV_A,
            stress_eV_A3=found.stress_eV_A3 if self.settings.stress else None,
            method_seen=self.method_of(seen.group(1)) if seen else None,
        )


def find_data_folder(settings: Cp2kSettings) -> Path:
    """Return the folder of CP2K's data files, or raise MissingProgramError."""
    data = Path(settings.data_dir) if settings.data_dir else data_folder(settings.program)
    if data is None or not (data / "GTH_POTENTIALS").exists():
        raise MissingProgramError(f"CP2K's data files (GTH_POTENTIALS) are not in {data or 'any known folder'}", FIX)
    return data


def run_cp2k(
    settings: Cp2kSettings,
    directory: Path,
    input_name: str,
    output: str,
    wall_limit_s: float | None,
    started: Callable[[int], None] | None = None,
) -> Finished:
    """Run CP2K on an input in `directory`; see `run_program` for the limit and for `started`.

    Raises
    ------
    MissingProgramError
        The program, its launcher or its data files are missing.
    """
    launcher = _launcher(settings)
    data = str(find_data_folder(settings))
    try:
        return run_program(
            [*launcher, settings.program, "-i", input_name],
            directory,
            output=output,
            wall_limit_s=wall_limit_s,
            environment={**os.environ, **_environment(settings.threads), "CP2K_DATA_DIR": data},
            # mpirun passes SIGTERM to its ranks; SIGKILL would orphan them
            death_signal=signal.SIGTERM if settings.ranks > 1 else signal.SIGKILL,
            started=started,
        )
    except FileNotFoundError as error:
        raise MissingProgramError(f"CP2K does not start: {error}", FIX) from error


def _launcher(settings: Cp2kSettings) -> list[str]:
    """Return the words that start more than one rank."""
    command = settings.launcher.format(ranks=settings.ranks)
    return words_of(command, "CP2K's launcher", "correct cp2k.mpi_command in gst.yaml") if settings.ranks > 1 else []


def _environment(threads: int) -> dict[str, str]:
    """Return variables for CP2K under Open MPI, which other MPIs ignore.

    Without the binding policy, two labels at once share the first core. Open MPI needs two variables to run as root.
    """
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "OMPI_MCA_hwloc_base_binding_policy": "none",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    if os.geteuid() == 0:
        variables |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return variables


def _problem(text: str, returncode: int, ranks: int) -> tuple[str, str] | None:
    """Return (failure class, reason) of an output without a label, else None."""
    started = re.findall(r"Total number of message passing processes\s+(\d+)", text)
    if started and (len(started) > 1 or int(started[0]) != ranks):
        return "crash", f"CP2K started {len(started)} times with {started[0]} ranks: the launcher is of another MPI"
    # 2023.1 exits with 0, energy and forces after the last step of an unconverged SCF; newer versions abort
    if NOT_CONVERGED in text:
        return "not_converged", f"CP2K: {NOT_CONVERGED}"
    if returncode != 0:
        return "crash", f"CP2K ended with status {returncode}: {abort_reason(text)}"
    if CONVERGED not in text:
        return "missing_output", "CP2K's output does not say that the SCF converged"
    return None


def abort_reason(text: str) -> str:
    """Return the text in the box of CP2K's abort message, or the last line."""
    boxed = re.search(r"\[ABORT\](.*?)\*{20,}", text, re.DOTALL)
    if boxed:
        return " ".join(re.sub(r"[*|\\/_]{1,}", " ", boxed.group(1)).split())[:200]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
