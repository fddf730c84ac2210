"""Read energy, forces and stress of CP2K in its two output forms, told apart by the text.

Up to 2024 CP2K writes `energy [a.u.]:   -1.0` and `ATOMIC FORCES in [a.u.]`; from 2025 `energy [hartree]   -1.0` and
`FORCES| Atomic forces [hartree/bohr]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

# CODATA 2018, as ase.units rounds them (importing ase.units would load ASE with this module)
HARTREE_EV = 27.211386024367243
BOHR_A = 0.5291772105638411
GPA_EV_A3 = 0.006241509125883258

NOT_CONVERGED, CONVERGED = "SCF run NOT converged", "SCF run converged in"
_ENERGY = re.compile(r"ENERGY\| Total FORCE_EVAL.*energy [\[(]([^\])]*)[\])]:?\s+(\S+)")
_ENERGY_UNITS_EV = {"a.u.": HARTREE_EV, "hartree": HARTREE_EV, "ry": HARTREE_EV / 2, "ev": 1.0}
_FORCES = re.compile(r"(?:ATOMIC FORCES in|FORCES\| Atomic forces) \[([^\]]*)\]")
_FORCE_UNITS_EV_A = {
    "a.u.": HARTREE_EV / BOHR_A,
    "hartree/bohr": HARTREE_EV / BOHR_A,
    "hartree*bohr^-1": HARTREE_EV / BOHR_A,
    "ev/angstrom": 1.0,
    "ev*angstrom^-1": 1.0,
}
# atom, kind, element, x, y, z; or atom, x, y, z, length
_FORCE_ROW = re.compile(
    r"^\s*(?:FORCES\|\s+(\d+)\s+(\S+)\s+(\S+)\s+(\S+)\s+\S+|(\d+)\s+\d+\s+[A-Z][a-z]?\s+(\S+)\s+(\S+)\s+(\S+))\s*$",
    re.MULTILINE,
)
_STRESS = re.compile(r"stress tensor \[([^\]]*)\]", re.IGNORECASE)
_STRESS_ROW = re.compile(r"^\s*(?:STRESS\|)?\s+([xyz])\s+(\S+)\s+(\S+)\s+(\S+)\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Cp2kResult:
    """Energy (eV), forces (eV/Å, shape (N, 3)) and stress (eV/Å³, Voigt, ASE's sign); None if not printed."""

    energy_eV: float
    forces_eV_A: np.ndarray | None
    stress_eV_A3: np.ndarray | None


def _plain_text(path: Path) -> str:
    return path.read_text(errors="replace")


def read_single_point(
    text: str, folder: Path, project: str, n_atoms: int, read: Callable[[Path], str] = _plain_text
) -> Cp2kResult:
    """Read a single point from an output, and from files of forces and stress beside it if present.

    Parameters
    ----------
    text
        The output.
    folder, project
        Folder of the files, and the beginning of their names.
    read
        Returns the text of a file.

    Raises
    ------
    ValueError
        The output has no energy, an unknown form or unit, or several files hold one quantity.
    """
    forces = _printed(text, folder, project, "forces", _FORCES, read)
    stress = _printed(text, folder, project, "stress", _STRESS, read)
    return Cp2kResult(
        read_energy(text),
        None if forces is None else read_forces(forces, n_atoms),
        None if stress is None else read_stress(stress),
    )


def _printed(
    text: str, folder: Path, project: str, what: str, heading: re.Pattern[str], read: Callable[[Path], str]
) -> str | None:
    files = sorted(path for path in folder.iterdir() if path.name.startswith(f"{project}-{what}-"))
    if len(files) > 1:
        raise ValueError(f"CP2K wrote {len(files)} files of {what}; all but one belong to other runs, remove them")
    if files:
        return read(files[0])
    return text if heading.search(text) else None


def read_energy(text: str) -> float:
    """Return the last total energy of an output, eV (with smearing: the electronic free energy).

    Raises
    ------
    ValueError
        It is missing, or in an unknown unit.
    """
    found = _ENERGY.findall(text)
    try:
        return float(found[-1][1]) * _unit(found[-1][0], _ENERGY_UNITS_EV, "energy")
    except IndexError:
        raise ValueError("no total energy in CP2K's output") from None
    except ValueError as error:
        raise ValueError(f"no total energy in CP2K's output: {error}") from error


def read_forces(text: str, n_atoms: int) -> np.ndarray:
    """Return the last forces of an output or file of forces, shape (N, 3), eV/Å.

    Raises
    ------
    ValueError
        Unknown form or unit, or not one line for every atom in order.
    """
    headings = list(_FORCES.finditer(text))
    if not headings:
        raise ValueError("CP2K's forces are not in a known form")
    unit = _unit(headings[-1][1], _FORCE_UNITS_EV_A, "forces")
    rows = [[word for word in row if word] for row in _FORCE_ROW.findall(text, headings[-1].end())]
    if [int(row[0]) for row in rows] != list(range(1, n_atoms + 1)):
        raise ValueError(f"CP2K wrote forces of {len(rows)} atoms, not {n_atoms}")
    return np.array([[float(value) for value in row[1:]] for row in rows]) * unit


def read_stress(text: str) -> np.ndarray:
    """Return the stress that CP2K printed, shape (6,), Voigt order, eV/Å³, ASE's sign (opposite to CP2K's).

    Raises
    ------
    ValueError
        Unknown form or unit.
    """
    heading = _STRESS.search(text)
    if heading is None:
        raise ValueError("CP2K's stress is not in a known form")
    unit = _unit(heading[1], {"gpa": GPA_EV_A3, "bar": 1e-4 * GPA_EV_A3, "kbar": 0.1 * GPA_EV_A3}, "stress")
    rows = _STRESS_ROW.findall(text, heading.end())
    if [row[0].lower() for row in rows[:3]] != ["x", "y", "z"]:
        raise ValueError("CP2K's stress is not in a known form")
    return -unit * full_3x3_to_voigt_6_stress(np.array([row[1:] for row in rows[:3]], dtype=float))


def _unit(name: str, known: dict[str, float], what: str) -> float:
    if name.strip().lower() not in known:
        raise ValueError(f"CP2K's {what} is in {name}; print it in {next(reversed(known))} or CP2K's default unit")
    return known[name.strip().lower()]
