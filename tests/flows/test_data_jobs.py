"""Structures → labels → dataset: every job records what it made, and a rerun makes nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jobflow import Flow

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets import SplitSpec, create_dataset, load_split, read_members
from gst_jobflow.datasets.maker import DatasetMaker
from gst_jobflow.documents import Dataset, Label, Structure
from gst_jobflow.flows.structures import CrystalMaker, HardSphereMaker
from gst_jobflow.labelling.ase_calculator import AseBackend
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.store import Results
from gst_jobflow.structures.families import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from tests.datasets.conftest import add_labels

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


def test_structures_are_stored_once_and_divided_into_chunks(run: Run, results: Results) -> None:
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


def test_a_dataset_by_query_holds_no_ids_and_says_whose_labels_there_are(run: Run, results: Results) -> None:
    add_labels(results, 6)
    maker = DatasetMaker(reference_energies_eV={"Ge": -75.0, "Te": -75.0})
    output = run(maker.make([], "tblite:1", ["n_atoms=2"]))["dataset"]
    assert sum(output["counts"].values()) == 6
    with pytest.raises(DataError, match="there are labels of tblite:1"):
        run(maker.make([], "cp2k:1", ["n_atoms=2"]))


def test_a_fit_refuses_elements_that_the_data_lacks(run: Run, results: Results) -> None:
    from gst_jobflow.fitting.maker import FitMaker

    add_labels(results, 6)
    dataset = create_dataset(results, "d", "tblite:1", where=[]).dataset
    with pytest.raises(InputError, match="has no Sb"):
        run(FitMaker().make(dataset.id))
