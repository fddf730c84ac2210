"""The stored labels of CP2K: whole, of the method that they say, and what CP2K computes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from ase.io import read

from gst_jobflow.documents import Label, Structure
from gst_jobflow.flows.presets_cp2k import K_SPACING_PER_A, crystals, hard_sphere
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.run import import_files
from gst_jobflow.labelling import cp2k
from gst_jobflow.labelling.backend import checked_label
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.method import Method
from gst_jobflow.store import Results
from gst_jobflow.structures.document_fields import content_hash
from gst_jobflow.structures.families import crystal_family, hard_sphere_family

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.base.settings import Project

DATA = Path(__file__).parents[1] / "data" / "cp2k_gst"
FINGERPRINT = "cp2k:7c9cb7c281dc494a"

needs_cp2k = pytest.mark.skipif(not any(shutil.which(name) for name in cp2k.PROGRAMS), reason="CP2K is not installed")


@pytest.fixture(scope="module")
def stored() -> list[Atoms]:
    return read(DATA / "labels.extxyz", index=":")


def method() -> Method:
    return Method(**yaml.safe_load((DATA / "method.yaml").read_text()))


def test_the_method_is_that_of_our_backend_with_loose_k_points():
    backend = Cp2kBackend(settings=Cp2kSettings(k_spacing_per_A=K_SPACING_PER_A))
    assert method().fingerprint() == backend.method_of("2023.1").fingerprint() == FINGERPRINT


def test_labels_are_those_of_the_structures_of_the_preset(stored):
    made = [atoms for atoms, _ in hard_sphere_family(hard_sphere(), 1)]
    made += [atoms for spec in crystals() for atoms, _ in crystal_family(spec)]
    # whoever makes them again finds them labelled
    assert {content_hash(atoms) for atoms in made} == {atoms.info["structure_id"] for atoms in stored}
    assert len(stored) == 71 and all(content_hash(atoms) == atoms.info["structure_id"] for atoms in stored)


@pytest.mark.mongo
def test_they_are_imported_as_labels_of_that_method(project: Project):
    results = Results.open(project)
    options = ImportOptions(fingerprint=method().fingerprint(), method=method().model_dump(mode="json"), tags=["pbe"])
    report = import_files([DATA / "labels.extxyz"], results, options)
    assert (report.n_bad, report.structures, report.labels) == (0, {"new": 71, "known": 0}, {"new": 71, "known": 0})
    assert results.database[Label.collection].count_documents({"fingerprint": FINGERPRINT, "state": "converged"}) == 71
    kinds = {kind: len(list(results.find(Structure, {"config_type": kind}))) for kind in ("hard_sphere", "crystal")}
    assert kinds == {"hard_sphere": 34, "crystal": 37}


@pytest.mark.cp2k
@pytest.mark.slow
@needs_cp2k
def test_cp2k_computes_what_is_stored(stored, tmp_path):
    atoms = min(stored, key=lambda one: (len(one), one.cell.volume))
    backend = Cp2kBackend(settings=Cp2kSettings.discover(k_spacing_per_A=K_SPACING_PER_A))
    if backend.method().version != "2023.1":
        pytest.skip("the labels are CP2K 2023.1's")
    label = checked_label(backend, atoms, tmp_path)
    assert label.converged, label.reason
    # EPS_SCF 1e-6 leaves this much to the order of the arithmetic
    assert label.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(label.forces_eV_A, atoms.get_forces(), atol=1e-3)
    np.testing.assert_allclose(label.stress_eV_A3, atoms.get_stress(), atol=1e-4)
