"""Find the energy, forces and stress that came with a structure, under whatever name.

Since ASE 3.23 `energy` and `forces` are those of the calculator that was attached last, such as a model, and programs
for training keep the labels of DFT beside them as REF_energy, dft_energy and the like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.structures.lattice import volume_A3

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.importing.options import ImportOptions

Quantity = Literal["energy", "forces", "stress"]

_NAME = re.compile(r"(?P<before>.*?)[_-]?(?P<what>energy|force|stress|virial)(?P<after>.*)", re.IGNORECASE)
_REFERENCE_WORDS = frozenset({"ref", "reference", "dft", "qm", "target", "true"})
_ERROR_WORDS = frozenset({"std", "var", "error", "err", "sigma", "uncertainty"})
_DEFAULT_NAMES: dict[Quantity, tuple[str, ...]] = {
    "energy": ("free_energy", "energy"),
    "forces": ("forces", "force"),
    "stress": ("stress", "virial", "virials"),
}
_TOLERANCES: dict[Quantity, tuple[float, str]] = {
    "energy": (1e-4, "energies"),
    "forces": (1e-3, "forces"),
    "stress": (1e-4, "stresses"),
}
"""Differences below these are rounding (eV/atom, eV/Å, eV/Å³); and the plural for messages."""


class RivalLabelsError(DataError):
    """A record has several sets of labels that differ; the fix is the options that choose one."""


@dataclass(frozen=True)
class Computed:
    """Energy (eV), forces (eV/Å, shape (N, 3)) and stress (eV/Å³, Voigt, tension positive) of a structure."""

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: list[float] | None


@lru_cache(maxsize=4096)
def quantity_of(name: str) -> tuple[Quantity, str] | None:
    """Return the quantity that a name stands for, and the set it belongs to: ("forces", "dft") for dft_forces."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    what = match["what"].lower()
    quantity: Quantity = "energy" if what == "energy" else "forces" if what == "force" else "stress"
    after = match["after"].lower().removeprefix("s" if what in ("force", "virial") else "")
    words = re.split("[_-]", f"{match['before'].lower()}_{after}")
    return quantity, "_".join(word for word in words if word not in ("", "free"))


def computed_of(atoms: Atoms, options: ImportOptions | None = None) -> Computed | None:
    """Return energy, forces and stress that came with a structure; None if it has neither energy nor forces.

    The energy is the free energy where there is one, for the forces are its derivative (with smeared occupations the
    energy extrapolated to no smearing is another). A virial (`virial`, `virials`: eV, 3 × 3, -dE/dε as in QUIP, MACE,
    NEP and DeePMD) becomes -virial / volume, ASE's sign. A single atom needs no forces, they are zero.

    `energy_key`, `forces_key` and `stress_key` of the options name others. Forces and stress of an `energy_key` are
    those of the same prefix, if they are not named.

    Raises
    ------
    RivalLabelsError
        Another set of labels (REF_energy, dft_energy, … or an energy and forces of one prefix) differs from the one
        that would be taken, and no key says which one is right.
    DataError
        One of energy and forces is missing, not a number, not finite, of a wrong shape; or virial and stress disagree.
    """
    values = _values(atoms)
    names = _chosen(values, options)
    if not names["energy"] and not names["forces"]:
        return None
    if not names["energy"]:
        raise DataError("forces without an energy")
    energy_eV = float(_numbers(values[names["energy"][0]], names["energy"][0], ()))
    if names["forces"]:
        forces_eV_A = _numbers(values[names["forces"][0]], names["forces"][0], (len(atoms), 3))
    elif len(atoms) == 1:
        forces_eV_A = np.zeros((1, 3))
    else:
        raise DataError("an energy without forces")
    computed = Computed(energy_eV, forces_eV_A, _stress(atoms, values, names["stress"]))
    if options is None or options.energy_key is None:
        _refuse_rivals(atoms, values, computed)
    return computed


def unread_labels(atoms: Atoms, computed: Computed | None) -> tuple[str, str]:
    """Describe labels under names that `computed_of` did not read, and the options that take them; empty if none."""
    sets = _sets(_values(atoms), len(atoms))
    if computed is not None:
        stress = next((names["stress"] for names in sets.values() if "stress" in names), None)
        if stress is None or computed.stress_eV_A3 is not None:
            return "", ""
        return f"{stress} is not read as the stress: --stress-key {stress} takes it", f"--stress-key {stress}"
    together: dict[Quantity, str] = {}
    for names in sets.values():
        together = names | together
    if not {"energy", "forces"} <= set(together):
        return "", ""
    option = _keys(next((names for names in sets.values() if {"energy", "forces"} <= set(names)), together))
    unread = ", ".join(sorted(name for names in sets.values() for name in names.values()))
    return f"structures without labels: {unread} are not read; {option} takes them", option


def _values(atoms: Atoms) -> dict[str, Any]:
    return {**atoms.info, **atoms.arrays, **(getattr(atoms.calc, "results", None) or {})}


def _chosen(values: dict[str, Any], options: ImportOptions | None) -> dict[Quantity, list[str]]:
    """Names of the values that are the label.

    Raises
    ------
    DataError
        A name that an option gives is not there, or no forces belong to the energy that it gives.
    """
    asked: dict[Quantity, str | None] = dict.fromkeys(_DEFAULT_NAMES)
    if options is not None:
        asked = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    for quantity, name in asked.items():
        if name is not None and values.get(name) is None:
            known = [other for other in values if quantity_of(other)]
            raise DataError(f"no {name}, which --{quantity}-key names (there are: {', '.join(known) or 'none'})")
    names: dict[Quantity, list[str]] = {}
    for quantity, defaults in _DEFAULT_NAMES.items():
        name = asked[quantity]
        if name is not None:
            names[quantity] = [name]
        elif asked["energy"] is not None:
            same_set = (quantity_of(asked["energy"]) or ("", None))[1]
            names[quantity] = [n for n, v in values.items() if v is not None and quantity_of(n) == (quantity, same_set)]
        else:
            names[quantity] = [name for name in defaults if values.get(name) is not None]
    if asked["energy"] is not None and not names["forces"] and len(values["numbers"]) > 1:
        raise DataError(f"no forces of the same prefix as {asked['energy']}: name them with --forces-key")
    return names


def _sets(values: dict[str, Any], n_atoms: int) -> dict[str, dict[Quantity, str]]:
    """Return the names of labels by set and quantity, references first, without those that are read by default."""
    sets: dict[str, dict[Quantity, str]] = {}
    for name in values:
        what = quantity_of(name)
        if what is None or not what[1] or _ERROR_WORDS & set(what[1].split("_")):
            continue
        if _has_shape(values[name], what[0], n_atoms):
            sets.setdefault(what[1], {})[what[0]] = name
    return dict(sorted(sets.items(), key=lambda item: not _is_reference(item[0])))


def _is_reference(name: str) -> bool:
    return bool(_REFERENCE_WORDS & set(name.split("_")))


def _has_shape(value: Any, quantity: Quantity, n_atoms: int) -> bool:
    if quantity == "energy":
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    shapes = ((n_atoms, 3),) if quantity == "forces" else ((6,), (9,), (3, 3))
    return np.shape(value) in shapes and np.asarray(value).dtype.kind in "fi"


def _refuse_rivals(atoms: Atoms, values: dict[str, Any], taken: Computed) -> None:
    """Raise RivalLabelsError if another set of labels differs from the one that is taken.

    Energies of other meanings (energy_corrected, kinetic_energy) come alone and have no name of a reference.
    """
    sets = {
        name: found
        for name, found in _sets(values, len(atoms)).items()
        if _is_reference(name) or {"energy", "forces"} <= set(found)
    }
    if not any(_differs(atoms, values, names, taken) for names in sets.values()):
        return
    ours = {
        quantity: name
        for quantity, defaults in _DEFAULT_NAMES.items()
        if (name := next((name for name in defaults if values.get(name) is not None), None))
    }
    lists = []
    for quantity, (_, plural) in _TOLERANCES.items():
        names = [found[quantity] for found in (ours, *sets.values()) if quantity in found]
        shown = [f"{name} = {float(values[name]):g} eV" if quantity == "energy" else name for name in names]
        lists.append(f"{plural} {', '.join(shown) or 'none'} (--{quantity}-key)")
    raise RivalLabelsError(
        f"sets of labels that differ: {'; '.join(lists)}", _keys({**ours, **next(iter(sets.values()))})
    )


def _differs(atoms: Atoms, values: dict[str, Any], names: dict[Quantity, str], taken: Computed) -> bool:
    differences: dict[Quantity, float] = {}
    if "energy" in names:
        differences["energy"] = abs(values[names["energy"]] - taken.energy_eV) / len(atoms)
    if "forces" in names:
        differences["forces"] = float(np.abs(values[names["forces"]] - taken.forces_eV_A).max())
    if "stress" in names and taken.stress_eV_A3 is not None:
        try:
            theirs = np.array(_stress(atoms, values, [names["stress"]]))
        except DataError:
            return True
        differences["stress"] = float(np.abs(theirs - taken.stress_eV_A3).max())
    # a NaN differs, too
    return not all(difference <= _TOLERANCES[quantity][0] for quantity, difference in differences.items())


def _keys(names: dict[Quantity, str]) -> str:
    return " ".join(f"--{quantity}-key {names[quantity]}" for quantity in _DEFAULT_NAMES if quantity in names)


def _numbers(value: Any, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise DataError(f"{name} '{str(value)[:40]}' is not numbers") from err
    if array.shape not in shapes:
        raise DataError(f"{name} of shape {array.shape}, not {' or '.join(map(str, shapes))}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} not finite")
    return array


def _stress(atoms: Atoms, values: dict[str, Any], names: list[str]) -> list[float] | None:
    """Return the stress (Voigt, eV/Å³) of these names, which must agree; a name with virial in it is a virial."""
    cell_A3 = volume_A3(atoms.cell.array.tolist()) if names else 1.0
    stresses = []
    for name in names:
        if "virial" in name.lower():
            # six numbers have no common order
            virial_eV = _numbers(values[name], name, (3, 3), (9,)).reshape(3, 3)
            stresses.append([-x / cell_A3 for x in _voigt(virial_eV, name, cell_A3)])
        else:
            tensor = _numbers(values[name], name, (6,), (3, 3), (9,))
            stresses.append(_voigt(tensor.reshape(3, 3) if tensor.size == 9 else tensor, name))
    if any(not np.allclose(stresses[0], other, rtol=1e-3, atol=1e-5) for other in stresses[1:]):
        raise DataError(
            f"{' and '.join(names)} disagree: a stress is -virial/volume; --stress-key says which one is right"
        )
    return stresses[0] if stresses else None


def _voigt(tensor: np.ndarray, name: str, unit: float = 1.0) -> list[float]:
    """Return xx, yy, zz, yz, xz, xy of a symmetric tensor; `unit` is what 1 eV/Å³ is in it."""
    if tensor.shape == (6,):
        return tensor.tolist()
    rows = tensor.tolist()
    off_diagonal = [(rows[i][j], rows[j][i]) for i, j in ((1, 2), (0, 2), (0, 1))]
    # files hold few digits, but a tensor off by more than this was not symmetric to begin with
    largest = max(abs(x) for row in rows for x in row)
    if max(abs(a - b) for a, b in off_diagonal) > 0.01 * largest + 1e-6 * unit:
        raise DataError(f"{name} is not symmetric")
    return [rows[0][0], rows[1][1], rows[2][2], *((a + b) / 2 for a, b in off_diagonal)]
