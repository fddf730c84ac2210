"""Structures → labels → dataset: every job records what it made, and a rerun makes nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jobflow import Flow

from gst_jobflow.documents import Dataset, Label, Structure
from gst_jobflow.errors import DataError, InputError
from gst_jobflow.fitting.dataset import DatasetMaker, SplitSpec, build_dataset, load_split, read_members
from gst_jobflow.flows.structures import CrystalMaker, CrystalSpec, HardSphereMaker
from gst_jobflow.labelling.ase_calculator import AseBackend
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.store import Results
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from tests.documents.test_documents import label, structure

pytestmark = pytest.mark.mongo
Run = Callable[[Any], dict[str, Any]]

PAIR_POTENTIAL = AseBackend(
    name="lennard-jones",
    calculator="ase.calculators.lj:LennardJones",
    package="ase",
    parameters={"sigma": 2.5, "epsilon": 0.1, "rc": 6.0},
    isolate=False,
)
SPEC = HardSphereSpec(formula="GeTe", n_atoms=6, density_g_cm3=(5.0, 6.0), min_distance_A=2.5, seed=3)


def test_structures_are_stored_once_and_dealt_out_in_chunks(run: Run, results: Results) -> None:
    maker = HardSphereMaker(specs=[SPEC], n_each=5, n_chunks=2, tags=["study:x"])
    first, second = run(maker.make())["hard-sphere structures"], run(maker.make())["hard-sphere structures"]
    assert (first["new"], second["new"], second["known"]) == (5, 0, 5)
    assert sorted(first["chunks"][0] + first["chunks"][1]) == sorted(first["structure_ids"])
    stored = results.get(Structure, first["structure_ids"][0])
    assert stored.config_type == "hard_sphere" and stored.tags == ["study:x"]
    assert stored.min_distance_A is not None and stored.min_distance_A >= 2.5
    assert stored.source["spec"]["seed"] == 3


def test_crystals_of_every_volume_and_rattle_differ(run: Run, results: Results) -> None:
    spec = CrystalSpec(
        kind="rocksalt", formula="Ge1Sb2Te4", repeat=(1, 1, 2), volume_scales=(0.9, 1.1), rattles_A=(0.0, 0.1), n_each=2
    )
    ids = run(CrystalMaker(specs=[spec]).make())["crystal structures"]["structure_ids"]
    found = list(results.get_many(Structure, ids))
    assert len({item.id for item in found}) == 8
    volumes = sorted({round(item.volume_per_atom_A3, 6) for item in found})
    assert volumes[1] / volumes[0] == pytest.approx(1.1 / 0.9)


def test_labels_are_stored_each_and_not_computed_twice(run: Run, results: Results) -> None:
    made = HardSphereMaker(specs=[SPEC], n_each=3).make()
    labels = LabelMaker(PAIR_POTENTIAL).make(made.output["structure_ids"])
    first = run(Flow([made, labels]))["label"]
    assert (first["converged"], first["failed"], first["known"]) == (3, 0, 0)
    again = run(LabelMaker(PAIR_POTENTIAL).make(first["structure_ids"]))["label"]
    assert (again["converged"], again["known"]) == (0, 3)
    stored = results.get(Label, Label.id_for(first["structure_ids"][0], first["fingerprint"]))
    assert stored.energy_eV == pytest.approx(stored.energy_per_atom_eV * 6)
    assert stored.job_uuid and stored.host
    assert np.isfinite(np.frombuffer(stored.forces)).all()


def test_a_failed_label_is_stored_as_failed_and_the_others_go_on(run: Run, results: Results) -> None:
    bounds = PAIR_POTENTIAL.bounds.model_copy(update={"upper_eV_per_atom": -1e9})
    broken = PAIR_POTENTIAL.model_copy(update={"bounds": bounds})
    made = HardSphereMaker(specs=[SPEC], n_each=2).make()
    output = run(Flow([made, LabelMaker(broken).make(made.output["structure_ids"])]))["label"]
    assert (output["converged"], output["failed"]) == (0, 2)
    for stored in results.find(Label, {}):
        assert (stored.state, stored.failure_class, stored.energy_eV) == ("failed", "unphysical", None)
        assert stored.reason
    retried = run(LabelMaker(PAIR_POTENTIAL, retry_failed=True).make(output["structure_ids"]))["label"]
    assert retried["converged"] == 2


def test_a_dataset_is_immutable_split_and_pinned(run: Run, results: Results) -> None:
    made = HardSphereMaker(specs=[SPEC], n_each=10).make()
    labels = LabelMaker(PAIR_POTENTIAL).make(made.output["structure_ids"])
    maker = DatasetMaker(dataset_name="d", split=SplitSpec(test_fraction=0.2, seed=1))
    data = maker.make([labels.output["structure_ids"]], labels.output["fingerprint"])
    output = run(Flow([made, labels, data]))
    dataset = results.get(Dataset, output["dataset"]["dataset_id"])
    assert dataset.counts == {"train": 8, "test": 2}
    assert dataset.counts_by_config_type == {"train": {"hard_sphere": 8}, "test": {"hard_sphere": 2}}
    assert set(dataset.reference_energies_eV) == {"Ge", "Te"}
    members = list(read_members(results.artifacts, dataset))
    assert len(members) == 10 and {member["split"] for member in members} == {"train", "test"}
    train = load_split(results, dataset, "train")
    assert len(train) == 8 and train[0].forces_eV_A.shape == (6, 3)
    again = run(maker.make([output["label"]["structure_ids"]], output["label"]["fingerprint"]))
    assert again["dataset"]["dataset_id"] == dataset.id


def add_labels(results: Results, number: int, **changes: Any) -> list[Label]:
    made = []
    for index in range(number):
        stored = structure(_id=f"{index:032d}", parents=changes.pop("parents", []) if index == 0 else [])
        results.add(stored)
        fingerprint = changes.get("fingerprint", "tblite:1")
        made.append(label(_id=Label.id_for(stored.id, fingerprint), structure_id=stored.id, **changes))
    return made


def test_methods_are_never_mixed(results: Results) -> None:
    mixed = add_labels(results, 3) + add_labels(results, 3, fingerprint="cp2k:1")
    with pytest.raises(DataError, match="cp2k:1, tblite:1"):
        build_dataset(results, mixed, DatasetMaker())


def test_a_label_without_an_energy_stops_a_dataset(results: Results) -> None:
    labels = add_labels(results, 3)
    # as if somebody had taken it out behind the model's back
    labels[1] = labels[1].model_copy(update={"energy_eV": None})
    with pytest.raises(DataError, match="no energy"):
        build_dataset(results, labels, DatasetMaker())


def test_large_forces_stay_out_when_asked_and_that_is_recorded(results: Results) -> None:
    labels = add_labels(results, 6)
    labels[0] = labels[0].model_copy(update={"max_force_eV_A": 80.0})
    references = {"Ge": -75.0, "Te": -75.0}
    dataset = build_dataset(results, labels, DatasetMaker(max_force_eV_A=60.0, reference_energies_eV=references))
    assert dataset.n_members == 5
    assert dataset.selection == {"max_force_eV_A": 60.0, "left_out": 1}
    with pytest.raises(DataError, match="every label"):
        build_dataset(results, labels, DatasetMaker(max_force_eV_A=-1.0))


def test_a_dataset_by_query_holds_no_ids_and_says_whose_labels_there_are(run: Run, results: Results) -> None:
    for stored in add_labels(results, 6):
        results.add(stored)
    maker = DatasetMaker(reference_energies_eV={"Ge": -75.0, "Te": -75.0})
    output = run(maker.make([], "tblite:1", ["n_atoms=2"]))["dataset"]
    assert sum(output["counts"].values()) == 6
    with pytest.raises(DataError, match="there are labels of tblite:1"):
        run(maker.make([], "cp2k:1", ["n_atoms=2"]))


def test_no_labels_and_unknown_weights_are_said(results: Results) -> None:
    with pytest.raises(DataError, match="there are none"):
        build_dataset(results, [], DatasetMaker())
    with pytest.raises(DataError, match=r"\['aimd'\]"):
        build_dataset(results, add_labels(results, 4), DatasetMaker(config_type_weights={"aimd": 2.0}))
    with pytest.raises(DataError, match="no test set"):
        build_dataset(results, add_labels(results, 1), DatasetMaker())


def test_relatives_never_straddle_the_split(results: Results) -> None:
    labels = []
    for index in range(40):
        stored = structure(_id=f"{index:032d}", parents=[f"parent {index % 8}"])
        results.add(stored)
        labels.append(label(_id=Label.id_for(stored.id, "tblite:1"), structure_id=stored.id))
    maker = DatasetMaker(split=SplitSpec(test_fraction=0.3), reference_energies_eV={"Ge": -75.0, "Te": -75.0})
    dataset = build_dataset(results, labels, maker)
    splits: dict[int, set[str]] = {}
    for member in read_members(results.artifacts, dataset):
        splits.setdefault(int(member["structure_id"]) % 8, set()).add(member["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert dataset.counts == {"train": 30, "test": 10}


def test_a_fit_refuses_elements_that_the_data_lacks(run: Run, results: Results) -> None:
    from gst_jobflow.fitting.maker import PacemakerFitMaker

    dataset = build_dataset(results, add_labels(results, 6), DatasetMaker())
    results.add(dataset)
    with pytest.raises(InputError, match="has no Sb"):
        run(PacemakerFitMaker().make(dataset.id))
