"""Describe a dataset in numbers: sizes, compositions, ranges of energies and forces."""

from __future__ import annotations

from typing import Any

import numpy as np

from gst_jobflow.datasets.members import SPLITS, load_members
from gst_jobflow.datasets.table import Members
from gst_jobflow.documents import Dataset
from gst_jobflow.store import Results


def describe_dataset(results: Results, dataset: Dataset) -> dict[str, Any]:
    """Count and measure the members of a dataset by config_type and composition; raises as `load_members`.

    Return `groups` (number of groups of each side), `config_types` (a row each: config_type, train, test, atoms,
    weight, and smallest, mean and largest energy_per_atom_eV and max_force_eV_A) and `compositions` (formula, train,
    test).
    """
    members = load_members(results, dataset)
    sides = {"train": ~members.test, "test": members.test}
    return {
        "groups": {split: len(np.unique(members.groups[sides[split]])) for split in SPLITS},
        "config_types": [_row(members, kind, dataset) for kind in members.config_types.counts()],
        "compositions": _compositions(members, sides),
    }


def _row(members: Members, kind: str, dataset: Dataset) -> dict[str, Any]:
    mine = members.take(members.config_types.isin([kind]))
    return {
        "config_type": kind,
        **mine.counts(),
        "atoms": int(mine.n_atoms.sum()),
        "weight": dataset.config_type_weights.get(kind, 1.0),
        "energy_per_atom_eV": _range(mine.energies_eV),
        "max_force_eV_A": _range(mine.max_forces_eV_A[~np.isnan(mine.max_forces_eV_A)]),
    }


def _range(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}


def _compositions(members: Members, sides: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    counts = {split: members.formulas[sides[split]].counts() for split in SPLITS}
    rows = [
        {"formula": formula, **{split: counts[split].get(formula, 0) for split in SPLITS}}
        for formula in members.formulas.counts()
    ]
    return sorted(rows, key=lambda row: (-row["train"] - row["test"], row["formula"]))
