"""Energies of single atoms, which a dataset pins and a fit subtracts."""

from __future__ import annotations

import numpy as np
from pymongo.database import Database

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.table import Members
from gst_jobflow.structures.composition import parse_formula

LEAST_SQUARES = "least-squares"
FREE_ATOMS = "free-atoms"
_SAME_EV = 1e-3


def least_squares(members: Members) -> dict[str, float]:
    """Fit the energy of one atom of each element (eV) to the energies per atom of the members.

    A dataset pins the result for every fit, upfit and ablation, so their potentials compare. pacemaker's own `auto`
    solves the same equations for each training set and then shifts by its sparsest structure, which moves the zero of
    energy. If all members have the same formula, the solution of smallest norm is returned, which serves a fit as well.
    Raises DataError if there are no members.
    """
    if not len(members):
        raise DataError("no labels to take reference energies from", "label at least one structure")
    words = members.formulas
    number = np.bincount(words.codes, minlength=len(words.known))
    total_eV = np.bincount(words.codes, members.energies_eV, minlength=len(words.known))
    # sorted, so that the order of the members does not matter; a formula is one equation, weighted by its members
    used = sorted((word, code) for code, word in enumerate(words.known) if number[code])
    counts = [parse_formula(word) for word, _ in used]
    elements = sorted({element for count in counts for element in count})
    shares = np.array([[count.get(element, 0) for element in elements] for count in counts], float)
    shares /= shares.sum(axis=1, keepdims=True)
    codes = [code for _, code in used]
    weights = np.sqrt(number[codes])
    mean_eV = total_eV[codes] / number[codes]
    solution = np.linalg.lstsq(shares * weights[:, None], mean_eV * weights, rcond=1e-8)[0]
    return {element: float(value) for element, value in zip(elements, solution, strict=True)}


def isolated_atom_energies(database: Database, fingerprint: str, elements: list[str]) -> dict[str, float]:
    """Return the energies (eV) of the isolated atoms labelled by the method.

    Raises DataError if an element has no such label, or several that differ by more than 1 meV.
    """
    where = {"fingerprint": fingerprint, "state": "converged", "config_type": "isolated_atom", "n_atoms": 1}
    found: dict[str, list[float]] = {}
    for label in database["labels"].find(where, {"formula": 1, "energy_eV": 1}).sort("_id", 1):
        found.setdefault(label["formula"].rstrip("0123456789"), []).append(label["energy_eV"])
    if missing := [element for element in elements if element not in found]:
        raise DataError(
            f"no label of a free atom of {', '.join(missing)} by {fingerprint}",
            "label structures of one atom with config_type isolated_atom, or give the energies: Ge=-4.1,…",
        )
    for element in elements:
        if max(found[element]) - min(found[element]) > _SAME_EV:
            raise DataError(
                f"free atoms of {element} by {fingerprint} have energies from {min(found[element]):.6f} to "
                f"{max(found[element]):.6f} eV",
                "give the energies: Ge=-4.1,…",
            )
    return {element: float(found[element][0]) for element in elements}
