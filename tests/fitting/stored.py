"""Structures that the teacher labelled, in the database, and a dataset of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.datasets import DatasetSpec, SplitSpec, create_dataset
from gst_jobflow.documents import Label, pack
from gst_jobflow.store.atoms import structure_document

from .conftest import ATOM_ENERGY_EV, labelled_by_teacher

if TYPE_CHECKING:
    from gst_jobflow.documents import Dataset
    from gst_jobflow.store import Results

FINGERPRINT = "teacher:1"


def teacher_dataset(results: Results, number: int = 40, seed: int = 1, elements=("Sb", "Te")) -> Dataset:
    """Store `number` labelled structures, a quarter of them for the test set."""
    for item in labelled_by_teacher(number, seed, elements):
        structure = structure_document(item.atoms, item.config_type, iteration=int(item.config_type == "rss"))
        n_atoms = len(item.atoms)
        label = Label(
            _id=Label.id_for(structure.id, FINGERPRINT),
            structure_id=structure.id,
            fingerprint=FINGERPRINT,
            method={"code": "teacher", "version": "1"},
            state="converged",
            formula=structure.formula,
            config_type=item.config_type,
            n_atoms=n_atoms,
            energy_eV=item.energy_eV,
            energy_per_atom_eV=item.energy_eV / n_atoms,
            forces=pack(item.forces_eV_A),
            max_force_eV_A=float(np.linalg.norm(item.forces_eV_A, axis=1).max()),
            wall_s=0.0,
        )
        results.add_many([structure])
        results.add_many([label])
    spec = DatasetSpec(
        split=SplitSpec(test_fraction=0.25, seed=0),
        reference_energies={name: ATOM_ENERGY_EV[name] for name in elements},
    )
    return create_dataset(results, "teacher", FINGERPRINT, spec, where=[]).dataset
