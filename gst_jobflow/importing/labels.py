"""Find the energy, forces and stress that came with a structure, under whatever name.

Since ASE 3.23 `energy` and `forces` are those of the calculator that was attached last, such as a model, and programs
for training keep the labels of DFT beside them as REF_energy, dft_energy and the like.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from ase import Atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents.base import all_finite
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.structures.plain_atoms import PlainAtoms

Quantity = Literal["energy", "forces", "stress"]

_NAME = re.compile(r"(?P<before>.*?)[_-]?(?P<what>energy|force|stress|virial)(?P<after>.*)", re.IGNORECASE)
_REFERENCE_WORDS = frozenset({"ref", "reference", "dft", "qm", "target", "true"})
_READ_BY_DEFAULT = frozenset({"free_energy", "energy", "forces", "force", "stress", "virial", "virials"})
_ERROR_WORDS = frozenset({"std", "var", "error", "err", "sigma", "uncertainty"})
_NO_KEYS: dict[Quantity, str | None] = {"energy": None, "forces": None, "stress": None}
_PLURALS: dict[Quantity, str] = {"energy": "energies", "forces": "forces", "stress": "stresses"}
# differences below these are rounding
_SAME_EV_PER_ATOM, _SAME_EV_A, _SAME_EV_A3 = 1e-4, 1e-3, 1e-4


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
    """Return the quantity that a name stands for, and the set it belongs to: ("forces", "dft") for dft_forces.

    None for other names, and for errors of a quantity (energy_std).
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    what = match["what"].lower()
    quantity: Quantity = "energy" if what == "energy" else "forces" if what == "force" else "stress"
    after = match["after"].lower().removeprefix("s" if what in ("force", "virial") else "")
    words = [word for word in re.split("[_-]", f"{match['before'].lower()}_{after}") if word not in ("", "free")]
    if _ERROR_WORDS & set(words):
        return None
    # other spellings of the names that are read by default (Energy) are sets of their own
    return quantity, "_".join(words) or ("" if name in _READ_BY_DEFAULT else name)


def computed_of(atoms: Atoms | PlainAtoms, options: ImportOptions | None = None) -> Computed | None:
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
        that would be taken, and no key chooses one.
    DataError
        One of energy and forces is missing, not a number, not finite, of a wrong shape; or virial and stress disagree.
    """
    atoms = PlainAtoms.of(atoms)
    values = atoms.values
    sets = _sets(tuple(values))
    keys = _NO_KEYS
    if options is not None:
        keys = {"energy": options.energy_key, "forces": options.forces_key, "stress": options.stress_key}
    names = _chosen(values, sets, keys)
    if not names["energy"] and not names["forces"]:
        return None
    if not names["energy"]:
        raise DataError("forces without an energy")
    energy_eV = values[names["energy"][0]]
    if not (isinstance(energy_eV, float) and math.isfinite(energy_eV)):
        energy_eV = _numbers(energy_eV, names["energy"][0], ())
    if names["forces"]:
        forces_eV_A = _numbers(values[names["forces"][0]], names["forces"][0], (len(atoms), 3))
    elif len(atoms) == 1:
        forces_eV_A = np.zeros((1, 3))
    else:
        raise DataError("an energy without forces")
    computed = Computed(float(energy_eV), forces_eV_A, _stress(atoms, values, names["stress"]))
    if len(sets) > 1 and not keys["energy"]:
        _refuse_rivals(atoms, values, sets, computed)
    return computed


def unread_labels(atoms: Atoms | PlainAtoms, computed: Computed | None) -> tuple[str, str]:
    """Describe labels under names that `computed_of` did not read, and the options that take them; empty if none."""
    values = PlainAtoms.of(atoms).values
    all_sets = _sets(tuple(values))
    if len(all_sets) == ("" in all_sets):
        return "", ""
    sets = list(_other_sets(values, all_sets, len(atoms)).values())
    if computed is not None:
        stress = next((names["stress"] for names in sets if "stress" in names), None)
        if stress is None or computed.stress_eV_A3 is not None:
            return "", ""
        return f"{stress} is not read as the stress: --stress-key {stress} takes it", f"--stress-key {stress}"
    together = {quantity: name for names in reversed(sets) for quantity, name in names.items()}
    if not {"energy", "forces"} <= set(together):
        return "", ""
    option = _keys(next((names for names in sets if {"energy", "forces"} <= set(names)), together))
    unread = ", ".join(sorted(name for names in sets for name in names.values()))
    return f"structures without labels: {unread} are not read; {option} takes them", option


@lru_cache(maxsize=256)
def _sets(all_names: tuple[str, ...]) -> dict[str, dict[Quantity, list[str]]]:
    """Return the names of labels by set and quantity, the preferred name of a quantity first."""
    sets: dict[str, dict[Quantity, list[str]]] = {}
    for name in all_names:
        if (what := quantity_of(name)) is not None:
            sets.setdefault(what[1], {}).setdefault(what[0], []).append(name)
    for found in sets.values():
        for names in found.values():
            names.sort(key=lambda name: ("free" not in name, "stress" not in name, "forces" not in name))
    return sets


def _chosen(
    values: dict[str, Any], sets: dict[str, dict[Quantity, list[str]]], keys: dict[Quantity, str | None]
) -> dict[Quantity, list[str]]:
    """Return the names of the values that are the label.

    Raises
    ------
    DataError
        A name that an option gives is not there, or no forces belong to the energy that it gives.
    """
    for quantity, name in keys.items():
        if name is not None and name not in values:
            known = ", ".join(other for other in values if quantity_of(other)) or "none"
            raise DataError(f"no {name}, which --{quantity}-key names (there are: {known})")
    energy = keys["energy"]
    own = sets.get("" if energy is None else (quantity_of(energy) or ("", "\0"))[1], {})
    names = {quantity: own.get(quantity, []) if name is None else [name] for quantity, name in keys.items()}
    if energy is not None and not names["forces"] and len(values["numbers"]) > 1:
        raise DataError(f"no forces of the same prefix as {energy}: name them with --forces-key")
    return names


def _other_sets(
    values: dict[str, Any], sets: dict[str, dict[Quantity, list[str]]], n_atoms: int
) -> dict[str, dict[Quantity, str]]:
    """Return sets of other names than those that are read by default, references first."""
    return {
        name: {q: names[0] for q, names in sets[name].items() if _has_shape(values[names[0]], q, n_atoms)}
        for name in sorted(sets, key=lambda name: not _is_reference(name))
        if name
    }


def _is_reference(name: str) -> bool:
    return bool(_REFERENCE_WORDS & set(name.split("_")))


def _has_shape(value: Any, quantity: Quantity, n_atoms: int) -> bool:
    if quantity == "energy":
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    shapes = ((n_atoms, 3),) if quantity == "forces" else ((6,), (9,), (3, 3))
    return np.shape(value) in shapes and np.asarray(value).dtype.kind in "fi"


def _refuse_rivals(
    atoms: PlainAtoms, values: dict[str, Any], sets: dict[str, dict[Quantity, list[str]]], taken: Computed
) -> None:
    """Raise RivalLabelsError if another set of labels differs from the one that is taken.

    Energies of other meanings (energy_corrected, kinetic_energy) come alone and have no name of a reference.
    """
    others = {
        name: names
        for name, names in _other_sets(values, sets, len(atoms)).items()
        if _is_reference(name) or {"energy", "forces"} <= set(names)
    }
    if not any(_differs(atoms, values, names, taken) for names in others.values()):
        return
    ours = {quantity: names[0] for quantity, names in sets[""].items()}
    lists = []
    for quantity, plural in _PLURALS.items():
        names = [found[quantity] for found in (ours, *others.values()) if quantity in found]
        lists.append(f"{plural} {', '.join(names) or 'none'} (--{quantity}-key)")
    # whole sets of references only: never a model's, never energy and forces of two sets
    references = (names for name, names in others.items() if _is_reference(name) and {"energy", "forces"} <= set(names))
    raise RivalLabelsError(f"sets of labels that differ: {'; '.join(lists)}", _keys(next(references, ours)))


def _differs(atoms: PlainAtoms, values: dict[str, Any], names: dict[Quantity, str], taken: Computed) -> bool:
    differences = []
    if "energy" in names:
        differences.append(abs(values[names["energy"]] - taken.energy_eV) / len(atoms) / _SAME_EV_PER_ATOM)
    if "forces" in names:
        differences.append(np.abs(values[names["forces"]] - taken.forces_eV_A).max() / _SAME_EV_A)
    if "stress" in names and taken.stress_eV_A3 is not None:
        try:
            stress_eV_A3 = np.array(_stress(atoms, values, [names["stress"]]))
        except DataError:
            return True
        differences.append(np.abs(stress_eV_A3 - taken.stress_eV_A3).max() / _SAME_EV_A3)
    # a NaN differs, too
    return not all(difference <= 1 for difference in differences)


def _keys(names: dict[Quantity, str]) -> str:
    return " ".join(f"--{quantity}-key {names[quantity]}" for quantity in _PLURALS if quantity in names)


def _numbers(value: Any, name: str, *shapes: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as err:
        raise DataError(f"{name} '{str(value)[:40]}' is not numbers") from err
    if array.shape not in shapes:
        raise DataError(f"{name} of shape {array.shape}, not {' or '.join(map(str, shapes))}")
    if not all_finite(array):
        raise DataError(f"{name} not finite")
    return array


def _stress(atoms: PlainAtoms, values: dict[str, Any], names: list[str]) -> list[float] | None:
    """Return the stress (Voigt, eV/Å³) of these names, which must agree; a name with virial in it is a virial."""
    stresses = []
    for name in names:
        if "virial" in name.lower():
            # six numbers have no common order
            virial_eV = _numbers(values[name], name, (3, 3), (9,)).reshape(3, 3)
            stresses.append([-x / atoms.volume_A3 for x in _voigt(virial_eV, name, atoms.volume_A3)])
        else:
            tensor = _numbers(values[name], name, (6,), (3, 3), (9,))
            stresses.append(_voigt(tensor.reshape(3, 3) if tensor.size == 9 else tensor, name))
    if any(not np.allclose(stresses[0], other, rtol=1e-3, atol=1e-5) for other in stresses[1:]):
        raise DataError(f"{' and '.join(names)} disagree: a stress is -virial/volume; --stress-key chooses one")
    return stresses[0] if stresses else None


def _voigt(tensor: np.ndarray, name: str, unit: float = 1.0) -> list[float]:
    """Return xx, yy, zz, yz, xz, xy of a symmetric tensor; `unit` is what 1 eV/Å³ is in it."""
    if tensor.shape == (6,):
        return tensor.tolist()
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = tensor.tolist()
    # files hold few digits, but a tensor off by more than this was not symmetric to begin with
    largest = max(map(abs, (xx, xy, xz, yx, yy, yz, zx, zy, zz)))
    if max(abs(yz - zy), abs(xz - zx), abs(xy - yx)) > 0.01 * largest + 1e-6 * unit:
        raise DataError(f"{name} is not symmetric")
    return [xx, yy, zz, (yz + zy) / 2, (xz + zx) / 2, (xy + yx) / 2]
