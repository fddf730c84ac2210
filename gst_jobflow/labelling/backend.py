"""The protocol of label backends, and the checks that every label passes."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from pydantic import Field

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.labelling.method import Method
from gst_jobflow.structures.contacts import closest_contact

FAILURE_CLASSES = (
    "not_converged",
    "unphysical",
    "crash",
    "timeout",
    "disk_full",
    "bad_input",
    "missing_output",
    "wrong_method",
)

FEWEST_IN_A_JOB = 20
"""Labels of a job, unless the backend or the user says otherwise."""


@dataclass
class RawLabel:
    """Result of one calculation. A failed one carries no numbers, only the reason.

    Parameters
    ----------
    converged
        True only if every number may enter a dataset.
    energy_eV
        Total energy of the cell that is consistent with the forces (with smearing: the free energy).
    forces_eV_A
        Shape (N, 3), eV/Å.
    stress_eV_A3
        Shape (6,), Voigt order xx, yy, zz, yz, xz, xy, ASE's sign (negative under compression); None if the backend
        has none.
    failure_class
        Empty, or one of `FAILURE_CLASSES`.
    reason
        One line.
    method_seen
        The method that really ran, if the output tells it.
    files
        Files to keep, path by name.
    """

    converged: bool
    energy_eV: float | None = None
    forces_eV_A: np.ndarray | None = None
    stress_eV_A3: np.ndarray | None = None
    failure_class: str = ""
    reason: str = ""
    wall_s: float = 0.0
    method_seen: Method | None = None
    files: dict[str, Path] = field(default_factory=dict)


class Bounds(StrictModel):
    """Plausible range of a label: guards against garbage, and is no selection of data.

    Attributes
    ----------
    lower_eV_per_atom, upper_eV_per_atom
        Bounds of the energy per atom relative to the free atoms; None: no bound.
    free_atom_eV
        Energy of each element's free atom by the same method. Empty: the bounds are absolute, as for VASP, whose
        energies refer to pseudo-atoms.
    max_force_eV_A
        Largest force on one atom.
    """

    lower_eV_per_atom: float | None = -15.0
    upper_eV_per_atom: float | None = 60.0
    free_atom_eV: dict[str, float] = Field(default_factory=dict)
    max_force_eV_A: float = 500.0

    def reference_eV(self, symbols: list[str]) -> float:
        """Return the sum of the free-atom energies of `symbols`, 0 for absolute bounds.

        Raises
        ------
        InputError
            An element has no free-atom energy.
        """
        if not self.free_atom_eV:
            return 0.0
        missing = sorted(set(symbols) - set(self.free_atom_eV))
        if missing:
            raise InputError(
                f"no free-atom energy for {', '.join(missing)}, which the bounds need",
                f"give it in eV: --option bounds.free_atom_eV.{missing[0]}=…",
            )
        return sum(self.free_atom_eV[symbol] for symbol in symbols)


@runtime_checkable
class LabelBackend(Protocol):
    """Interface of a label maker to a program."""

    bounds: Bounds

    def method(self) -> Method:
        """Return the physics of this backend; raise MissingProgramError if the program's version is unknown."""

    def check(self, atoms: Atoms) -> None:
        """Raise InputError if `atoms` cannot be labelled."""

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Label `atoms` inside `directory`; return a failed calculation, and raise only MissingProgramError."""


def free_atom_energies(backend: LabelBackend, elements: Sequence[str]) -> dict[str, float]:
    """Return the free-atom energies of the backend's method as reference energies.

    They are needed where least squares is ambiguous, since all structures have about the same composition.

    Raises
    ------
    InputError
        The backend lacks one.
    """
    known = backend.bounds.free_atom_eV
    if missing := [element for element in elements if element not in known]:
        raise InputError(
            f"no free-atom energy of {', '.join(missing)} for these labels",
            "choose tblite or cp2k, or give bounds.free_atom_eV",
        )
    return {element: known[element] for element in elements}


class BackendModel(StrictModel):
    """Fields and input check that our backends share.

    Attributes
    ----------
    floor_A
        Refuse structures with atoms closer than this, periodic images included.
    """

    floor_A: float = Field(1.0, ge=0)
    bounds: Bounds = Field(default_factory=Bounds)

    def known_elements(self) -> list[str]:
        """Return the elements with settings; empty: any."""
        return []

    @property
    def needs_periodic(self) -> bool:
        """Whether the program takes periodic cells only."""
        return False

    @property
    def cost_exponent(self) -> float:
        """Power of the number of atoms that the cost of a label grows by, used until labels were timed.

        2 for electronic structure at a fixed density of k-points: each costs N³, and their number falls as 1/N.
        """
        return 2.0

    @property
    def cores(self) -> int | None:
        """Cores of one label, so that several run at a time; None: all of the job, one label after the other."""
        return None

    @property
    def fewest_in_a_job(self) -> int:
        """Labels of a job where the user gives no number: at the end of each job, cores wait for its last label."""
        return FEWEST_IN_A_JOB

    def check_machine(self, elements: Collection[str]) -> None:
        """Raise MissingProgramError if this machine lacks what labels of these elements need."""

    def check(self, atoms: Atoms) -> None:
        """Raise InputError for no atoms, an unsupported element, a flat cell or atoms too close."""
        if len(atoms) == 0:
            raise InputError("a structure without atoms", "remove it from the list")
        symbols = atoms.get_chemical_symbols()
        known = self.known_elements()
        unknown = sorted(set(symbols) - set(known or symbols) | ({"X"} & set(symbols)))
        if unknown:
            raise InputError(
                f"element {', '.join(unknown)} has no settings in this backend",
                f"known: {', '.join(known) or 'any real element'}; add settings for others",
            )
        if not np.isfinite(atoms.positions).all() or not np.isfinite(atoms.cell.array).all():
            raise InputError("positions or cell are not finite", "remove or remake the structure")
        if self.needs_periodic and not atoms.pbc.all():
            raise InputError("the structure is not periodic in three directions", "give it a cell and pbc")
        if atoms.pbc.any() and not atoms.cell.volume > 0:
            raise InputError("a periodic structure whose cell has no volume", "give it a cell")
        self.bounds.reference_eV(symbols)
        # ASE's own search would take longer than the rest of a small label
        closest = closest_contact(atoms, self.floor_A) if self.floor_A > 0 else None
        if closest is not None:
            i, j = closest.places
            raise InputError(
                f"atoms {i} and {j} are {closest.distance_A:.3f} Å apart, less than {self.floor_A} Å",
                "make the structure with larger minimum distances, or lower the floor: --option floor_A=…",
            )


def failed(failure_class: str, reason: str, **known: object) -> RawLabel:
    """Return a failed label with a one-line reason and no numbers."""
    if failure_class not in FAILURE_CLASSES:
        raise ValueError(f"unknown failure class {failure_class!r}")
    line = " ".join(reason.split()) or failure_class
    return RawLabel(converged=False, failure_class=failure_class, reason=line[:500], **known)  # type: ignore[arg-type]


def checked_label(backend: LabelBackend, atoms: Atoms, directory: Path) -> RawLabel:
    """Check the input, compute, and fail the label unless it is complete, finite and within bounds.

    Returns
    -------
    RawLabel
        Bad input gives a failed label of class bad_input, so that one structure does not end a job of many.

    Raises
    ------
    MissingProgramError
        The program is missing, so that no structure of the job could be labelled.
    """
    try:
        backend.check(atoms)
    except InputError as error:
        return failed("bad_input", str(error))
    start = time.monotonic()
    label = backend.compute(atoms.copy(), Path(directory))
    label.wall_s = label.wall_s or time.monotonic() - start
    known = {"wall_s": label.wall_s, "method_seen": label.method_seen, "files": label.files}
    if not label.converged:
        return failed(label.failure_class or "crash", label.reason, **known)
    seen = label.method_seen
    if seen is not None and seen.fingerprint() != backend.method().fingerprint():
        what = ", ".join(differences(backend.method(), seen))
        return failed("wrong_method", f"another method ran than was requested: {what}", **known)
    for failure_class, reason in doubts(label, atoms, backend.bounds):
        return failed(failure_class, reason, **known)
    return label


def doubts(label: RawLabel, atoms: Atoms, bounds: Bounds) -> Iterable[tuple[str, str]]:
    """Yield (failure class, reason) for everything implausible in a converged label, worst first."""
    energy, forces, stress = label.energy_eV, label.forces_eV_A, label.stress_eV_A3
    if energy is None or forces is None:
        yield "missing_output", f"no {'energy' if energy is None else 'forces'} in the output"
        return
    forces = np.asarray(forces)
    if forces.shape != (len(atoms), 3):
        yield "missing_output", f"forces of shape {forces.shape} for {len(atoms)} atoms"
    elif not (math.isfinite(energy) and np.isfinite(forces).all()):
        yield "unphysical", "energy or forces are not finite"
    else:
        yield from _out_of_bounds(energy, forces, atoms, bounds)
    if stress is not None and (np.shape(stress) != (6,) or not np.isfinite(stress).all()):
        yield "unphysical", "stress is not six finite numbers"


def _out_of_bounds(energy: float, forces: np.ndarray, atoms: Atoms, bounds: Bounds) -> Iterable[tuple[str, str]]:
    per_atom = (energy - bounds.reference_eV(atoms.get_chemical_symbols())) / len(atoms)
    lower = -math.inf if bounds.lower_eV_per_atom is None else bounds.lower_eV_per_atom
    upper = math.inf if bounds.upper_eV_per_atom is None else bounds.upper_eV_per_atom
    if not lower <= per_atom <= upper:
        above = "above free atoms" if bounds.free_atom_eV else "absolute"
        yield "unphysical", f"energy {per_atom:.6g} eV/atom ({above}) is outside {lower:g}..{upper:g}"
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > bounds.max_force_eV_A:
        yield "unphysical", f"largest force {largest:.6g} eV/Å is above {bounds.max_force_eV_A:g}"


def differences(asked: Method, seen: Method) -> list[str]:
    """Return "key: asked -> seen" for every top-level difference of two methods."""
    lines = [
        f"{name}: {getattr(asked, name)} -> {getattr(seen, name)}"
        for name in ("code", "version")
        if getattr(asked, name) != getattr(seen, name)
    ]
    missing = object()
    for key in sorted(set(asked.parameters) | set(seen.parameters)):
        one, other = asked.parameters.get(key, missing), seen.parameters.get(key, missing)
        if one != other:
            texts = ["(none)" if value is missing else repr(value) for value in (one, other)]
            lines.append(f"{key}: {texts[0]} -> {texts[1]}")
    return lines
