"""A dataset as extended XYZ comes back with the same ids and numbers; as a dataframe it is what a fit is given."""

from __future__ import annotations

import gzip
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from ase.io import read

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Dataset, Label, Structure, unpack
from gst_jobflow.exporting.formats import export_dataset
from gst_jobflow.store import Results
from tests.report import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def training(project: Project) -> Iterator[Results]:
    """A dataset whose labels have stresses of all digits."""
    results = Results.open(project)
    rng = np.random.default_rng(3)
    synthetic.add_training(results, rng)
    for label in results.find(Label, {"state": "converged"}):
        values = {"stress_eV_A3": rng.normal(0, 0.1, 6).tolist(), "energy_eV": label.n_atoms * rng.normal(-60.2, 1e-3)}
        results.database["labels"].update_one({"_id": label.id}, {"$set": values})
    yield results
    results.database.client.close()


def dataset(results: Results) -> Dataset:
    return next(results.find(Dataset, {}))


@pytest.mark.parametrize("name", ["d.extxyz", "d.xyz.gz"])
def test_extended_xyz_comes_back_to_the_same_documents(training: Results, tmp_path: Path, name: str) -> None:
    from gst_jobflow.importing.run import ImportOptions, import_files

    file = tmp_path / name
    assert export_dataset(training, dataset(training), file) == dataset(training).n_members
    structures = {found.id: found for found in training.find(Structure, {})}
    labels = {found.id: found for found in training.find(Label, {"state": "converged"})}
    for collection in ("structures", "labels"):
        training.database[collection].delete_many({})
    options: dict[str, Any] = {"fingerprint": synthetic.FINGERPRINT, "method": synthetic.METHOD}
    report = import_files([file], training, ImportOptions(**options))
    assert report.n_bad == 0 and report.labels["new"] == len(labels)
    for back in training.find(Label, {}):
        before = labels.pop(back.id)
        assert (back.energy_eV, back.forces, back.stress_eV_A3) == (
            before.energy_eV,
            before.forces,
            before.stress_eV_A3,
        )
        structure, known = training.get(Structure, back.structure_id), structures[back.structure_id]
        assert (structure.positions, structure.cell_A, structure.config_type) == (
            known.positions,
            known.cell_A,
            known.config_type,
        )
    assert not labels


def test_other_programs_read_it(training: Results, tmp_path: Path) -> None:
    export_dataset(training, dataset(training), tmp_path / "d.xyz", split="test")
    images = read(tmp_path / "d.xyz", ":")
    assert len(images) == dataset(training).counts["test"] and {atoms.info["split"] for atoms in images} == {"test"}
    for atoms in images:
        label = training.get(Label, atoms.info["label_id"])
        assert atoms.get_potential_energy() == label.energy_eV
        assert np.array_equal(atoms.get_forces(), unpack(label.forces, 3))
        assert np.array_equal(atoms.get_stress(), label.stress_eV_A3)
        # QUIP's virial is -stress × volume
        virial = atoms.info["virial"]
        assert np.allclose(virial, -atoms.get_stress(voigt=False) * atoms.get_volume(), rtol=1e-12)
        assert atoms.info["structure_id"] == label.structure_id and atoms.pbc.all()


def test_the_dataframe_is_that_of_a_fit(training: Results, tmp_path: Path) -> None:
    from gst_jobflow.fitting.frame import LabelledStructure, to_dataframe
    from gst_jobflow.store.atoms import atoms_of

    file = tmp_path / "train.pckl.gzip"
    chosen = dataset(training)
    assert export_dataset(training, chosen, file, split="train") == chosen.counts["train"]
    frame = pd.read_pickle(file, compression="gzip")
    items = [
        LabelledStructure(
            atoms=atoms_of(training.get(Structure, label.structure_id), training.artifacts),
            energy_eV=label.energy_eV,
            forces_eV_A=unpack(label.forces, 3),
            label_id=label.id,
            config_type=label.config_type,
        )
        for label in training.get_many(Label, list(frame["name"]))
    ]
    wanted = to_dataframe(items, chosen.reference_energies_eV)
    assert list(frame.columns) == list(wanted.columns) and list(frame.index) == list(wanted.index)
    for column in ("energy", "energy_corrected", "name", "config_type", "w_factor"):
        assert list(frame[column]) == list(wanted[column])
    for atoms, other in zip(frame["ase_atoms"], wanted["ase_atoms"], strict=True):
        assert atoms == other and atoms.calc is None and not atoms.info
    assert len({id(atoms.numbers) for atoms in frame["ase_atoms"]}) == len(frame)
    assert all(map(np.array_equal, frame["forces"], wanted["forces"]))
    first = file.read_bytes()
    export_dataset(training, chosen, file, split="train", force=True)
    assert file.read_bytes() == first and gzip.decompress(first)


def test_weights_of_the_dataset_are_those_of_the_rows(training: Results, tmp_path: Path) -> None:
    weighted = dataset(training).model_copy(update={"config_type_weights": {"hard_sphere": 2.5}})
    export_dataset(training, weighted, tmp_path / "d.pckl.gzip")
    frame = pd.read_pickle(tmp_path / "d.pckl.gzip", compression="gzip")
    weights = {kind: set(part) for kind, part in frame.groupby("config_type")["w_factor"]}
    assert weights == {"hard_sphere": {2.5}, "melt_quench": {1.0}}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("d.txt", {}, "says no format"),
        ("d.xyz", {"form": "extxzy"}, "did you mean 'extxyz'"),
        ("d.pckl", {"form": "pckl.gzip"}, "ending .pckl.gzip"),
        ("d.xyz", {"split": "tset"}, "did you mean 'test'"),
        ("no/d.xyz", {}, "is missing"),
        ("there.xyz", {}, "exists already"),
        ("folder.xyz", {"force": True}, "a file is to be written"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    training: Results, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    (tmp_path / "there.xyz").write_text("mine")
    (tmp_path / "folder.xyz").mkdir()
    (tmp_path / "folder.xyz" / "mine").write_text("mine")
    with pytest.raises(InputError) as raised:
        export_dataset(training, dataset(training), tmp_path / name, **options)
    assert said in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "project") == ["folder.xyz", "there.xyz"]
    assert (tmp_path / "there.xyz").read_text() == "mine"


@pytest.mark.parametrize("name", ["d.extxyz", "d.extxyz.gz", "d.pckl.gzip"])
@pytest.mark.parametrize(
    ("collection", "change", "said"),
    [
        ("labels", None, "does not exist"),
        ("structures", None, "does not exist"),
        ("labels", {"state": "failed", "failure_class": "crash"}, "no energy"),
        ("labels", {"fingerprint": "other:1"}, "of other:1"),
    ],
)
def test_a_dataset_that_is_not_whole_is_not_written(
    training: Results, tmp_path: Path, name: str, collection: str, change: dict[str, Any] | None, said: str
) -> None:
    label = training.database["labels"].find_one({"state": "converged"})
    id = label["_id"] if collection == "labels" else label["structure_id"]
    if change is None:
        training.database[collection].delete_one({"_id": id})
    else:
        training.database[collection].update_one({"_id": id}, {"$set": change})
    with pytest.raises(DataError, match=said):
        export_dataset(training, dataset(training), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gzip")]


def test_force_replaces_a_file_and_a_failure_keeps_it(training: Results, tmp_path: Path) -> None:
    file = tmp_path / "d.xyz"
    file.write_text("older")
    export_dataset(training, dataset(training), file, force=True, split="test")
    whole = file.read_bytes()
    training.database["structures"].delete_many({})
    with pytest.raises(DataError):
        export_dataset(training, dataset(training), file, force=True)
    assert file.read_bytes() == whole
