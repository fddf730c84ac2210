"""From labels to a dataset: what is selected, refused, counted and pinned."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets import DatasetSpec, SplitSpec, create_dataset, load_members, load_split, read_members
from gst_jobflow.datasets import create as create_module
from gst_jobflow.datasets.exclude import exclude_labels
from gst_jobflow.documents import Dataset, Label
from gst_jobflow.store import Results
from tests.datasets.conftest import add_labels, number_id

pytestmark = pytest.mark.mongo
PINNED = {"Ge": -75.0, "Te": -75.0}


def make(results: Results, name: str = "d", fingerprint: str = "tblite:1", where: Any = (), **spec: Any) -> Dataset:
    return create_dataset(results, name, fingerprint, DatasetSpec(**spec), where=where).dataset


def test_a_dataset_says_what_it_holds(results: Results) -> None:
    add_labels(results, 20)
    add_labels(results, 10, start=20, config_type="aimd", groups=["run"] * 10)
    dataset = make(results, config_type_weights={"aimd": 2.0}, split=SplitSpec(test_fraction=0.2, seed=3))
    assert dataset.counts == {"train": 26, "test": 4}
    assert dataset.counts_by_config_type == {"train": {"aimd": 10, "crystal": 16}, "test": {"crystal": 4}}
    assert (dataset.n_members, dataset.n_atoms, dataset.elements) == (30, 60, ["Ge", "Te"])
    assert dataset.reference_energies_eV == pytest.approx(PINNED)
    assert dataset.selection == {"structures": 30, "where": []}
    assert dataset.split == {"rule": create_module.SPLIT_RULE, "test_fraction": 0.2, "seed": 3}
    rows = list(read_members(results.artifacts, dataset))
    assert [row["label_id"] for row in rows] == sorted(Label.id_for(number_id(i), "tblite:1") for i in range(30))
    assert {row["group"] for row in rows if row["config_type"] == "aimd"} == {"run"}
    assert results.get(Dataset, dataset.id) == dataset


def test_ids_do_not_depend_on_the_order_of_insertion_or_the_name(results: Results) -> None:
    def fill(order: list[int]) -> str:
        for collection in ("structures", "labels", "datasets"):
            results.database[collection].delete_many({})
        for index in order:
            add_labels(results, 1, start=index, config_type=("aimd", "rss")[index % 2])
        return make(results).id

    assert fill(list(range(12))) == fill(list(reversed(range(12))))
    first = make(results)
    again = create_dataset(results, "other", "tblite:1", where=[])
    assert (again.new, again.dataset.id, again.dataset.name) == (False, first.id, "d")
    others = [make(results, split=SplitSpec(seed=5)), make(results, config_type_weights={"aimd": 2.0})]
    others.append(make(results, reference_energies=PINNED | {"Ge": -70.0}))
    assert len({first.id, *(other.id for other in others)}) == 4


def test_methods_never_mix_and_known_ones_are_named(results: Results) -> None:
    add_labels(results, 4)
    add_labels(results, 4, fingerprint="cp2k:1", energy_eV=-140.0)
    assert make(results).reference_energies_eV == pytest.approx(PINNED)
    assert make(results, fingerprint="cp2k:1").reference_energies_eV == pytest.approx({"Ge": -70.0, "Te": -70.0})
    with pytest.raises(DataError, match="there are labels of cp2k:1, tblite:1"):
        make(results, fingerprint="vasp:1")
    with pytest.raises(DataError, match="is of method tblite:1, not of cp2k:1"):
        make(results, fingerprint="cp2k:1", parent_id=make(results).id)


def test_structures_without_a_converged_label_are_counted(results: Results) -> None:
    add_labels(results, 6)
    add_labels(
        results, 2, start=6, state="failed", failure_class="unphysical", energy_eV=None, energy_per_atom_eV=None,
        forces=None, max_force_eV_A=None,
    )  # fmt: skip
    results.database["labels"].delete_one({"structure_id": number_id(0)})
    dataset = make(results)
    assert (dataset.n_members, dataset.selection["structures_without_label"]) == (5, 3)
    results.database["structures"].delete_one({"_id": number_id(1)})
    assert make(results).selection["labels_without_structure"] == 1


@pytest.mark.parametrize("few", [1, 10**9])
def test_conditions_choose_structures_and_labels(results: Results, few: int, monkeypatch: Any) -> None:
    """Labels are looked up by id or read in one go: the same are found."""
    monkeypatch.setattr("gst_jobflow.datasets.select._FEW", few)
    add_labels(results, 10)
    add_labels(results, 10, start=10, of_structure={"iteration": 2}, config_type="rss")
    add_labels(results, 3, start=20, of_structure={"iteration": 2}, max_force_eV_A=50.0)
    add_labels(results, 10, fingerprint="cp2k:1")
    dataset = make(results, where=["iteration=2"], labels_where=["max_force_eV_A<10"])
    assert dataset.n_members == 10 and dataset.selection["structures_without_label"] == 3
    by_id = create_dataset(
        results, "d", "tblite:1", DatasetSpec(), structure_ids=[number_id(i) for i in (11, 12, 11, 99, 13)]
    ).dataset
    assert by_id.n_members == 3 and by_id.selection == {"structures": 3, "structures_not_there": 1}
    with pytest.raises(InputError, match="iteraton"):
        make(results, where=["iteraton=2"])


@pytest.mark.parametrize("few", [1, 10**9])
def test_either_option_takes_conditions_on_labels_and_on_structures(
    results: Results, few: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr("gst_jobflow.datasets.select._FEW", few)
    add_labels(results, 10, of_structure={"tags": ["a"]})
    add_labels(results, 10, start=10, of_structure={"tags": ["a", "b"]}, max_force_eV_A=2.0)
    add_labels(results, 10, start=20, of_structure={"tags": ["b"]}, max_force_eV_A=50.0)
    one = make(results, where=["tags=b max_force_eV_A<10"])
    other = make(results, where=["tags=b"], labels_where=["max_force_eV_A<10"])
    third = make(results, labels_where=["tags=b max_force_eV_A<10"], split=SplitSpec(test_fraction=0.3))
    assert one.id == other.id and one.n_members == third.n_members == 10
    assert one.selection == {"structures": 20, "structures_without_label": 10, "where": ["tags=b max_force_eV_A<10"]}
    assert third.selection["structures"] == 30 and third.selection["structures_without_label"] == 20
    named = create_dataset(
        results,
        "d",
        "tblite:1",
        DatasetSpec(labels_where=["tags=a"]),
        structure_ids=[number_id(i) for i in range(9, 22)],
    ).dataset
    assert named.n_members == 11 and named.selection["structures_without_label"] == 2
    with pytest.raises(InputError, match=r"write label\.created_at or structure\.created_at"):
        make(results, where=["max_force_eV_A<10 created_at>2020-01-01"])
    assert make(results, where=["tags=b created_at>2020-01-01"]).n_members == 20


def test_large_forces_stay_out_when_asked_and_that_is_recorded(results: Results) -> None:
    add_labels(results, 5)
    add_labels(results, 1, start=5, max_force_eV_A=80.0)
    dataset = make(results, max_force_eV_A=60.0)
    assert dataset.n_members == 5
    assert dataset.selection == {"structures": 6, "where": [], "max_force_eV_A": 60.0, "large_forces": 1}
    with pytest.raises(DataError, match="every label"):
        make(results, max_force_eV_A=-1.0)


def test_wrong_weights_and_references_are_refused(results: Results) -> None:
    add_labels(results, 4)
    with pytest.raises(DataError, match=r"\['aimd'\].*\['crystal'\]"):
        make(results, config_type_weights={"aimd": 2.0})
    with pytest.raises(ValueError, match="not a positive number"):
        DatasetSpec(config_type_weights={"crystal": 0.0})
    with pytest.raises(ValueError, match="not a finite number"):
        DatasetSpec(reference_energies={"Ge": float("nan")})
    with pytest.raises(ValueError, match="unknown element 'te'"):
        DatasetSpec(reference_energies={"Ge": 1.0, "Te": 1.0, "te": 2.0})
    with pytest.raises(DataError, match="no reference energy for Te"):
        make(results, reference_energies={"Ge": 1.0})


def test_a_label_that_lost_its_energy_is_refused(results: Results) -> None:
    add_labels(results, 4)
    dataset = make(results)
    id = Label.id_for(number_id(0), "tblite:1")
    # as if somebody had taken it out behind the validator's back
    results.database.command("collMod", "labels", validationLevel="off")
    results.database["labels"].update_one({"_id": id}, {"$set": {"energy_eV": None, "state": "quarantined"}})
    results.database["labels"].update_one({"_id": id}, {"$set": {"failure_class": "by hand"}})
    with pytest.raises(DataError, match="is quarantined and has no energy"):
        [load_split(results, dataset, split) for split in ("train", "test")]
    results.database["labels"].update_one({"_id": id}, {"$set": {"state": "converged"}})
    with pytest.raises(DataError, match="converged and has no energy"):
        make(results, max_force_eV_A=1.0)


def test_random_structures_are_thinned_in_train_only(results: Results) -> None:
    add_labels(results, 20, config_type="rss")
    add_labels(results, 10, start=20)
    whole, half = make(results), make(results, random_fraction=0.5)
    assert whole.counts_by_config_type["train"] == {"crystal": 9, "rss": 18}
    assert half.counts_by_config_type["train"] == {"crystal": 9, "rss": 9}
    assert half.counts_by_config_type["test"] == whole.counts_by_config_type["test"]
    assert half.selection["random_left_out"] == 9


def test_members_of_older_datasets_are_read_and_completed(results: Results) -> None:
    add_labels(results, 6, groups=["run"] * 3 + [number_id(i) for i in range(3, 6)])
    dataset = make(results)
    keys = ("label_id", "structure_id", "config_type", "split")
    rows = [{key: row[key] for key in keys} for row in read_members(results.artifacts, dataset)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    old = dataset.model_copy(
        update={"members": results.artifacts.put_bytes(gzip.compress(lines.encode(), mtime=0), "members.jsonl.gz")}
    )
    found, expected = load_members(results, old), load_members(results, dataset)
    for name in ("label_ids", "structure_ids", "groups", "n_atoms", "energies_eV", "test"):
        assert (getattr(found, name) == getattr(expected, name)).all(), name
    assert found.config_types.list() == expected.config_types.list()
    assert len(load_split(results, old, "train")) == dataset.counts["train"]


def test_a_damaged_member_file_is_refused(results: Results) -> None:
    add_labels(results, 6)
    dataset = make(results)
    path = results.artifacts.path(dataset.members)
    data = path.read_bytes()
    lines = gzip.decompress(data).splitlines(keepends=True)
    short = gzip.compress(b"".join(lines[:-1]))
    path.chmod(0o644)
    for damaged in (data[: len(data) // 2], b"no gzip", gzip.compress(b"{}\n"), gzip.compress(b"[]\n"), short):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            list(read_members(results.artifacts, dataset))
    path.write_bytes(gzip.compress(b"".join(reversed(lines))))
    with pytest.raises(DataError, match="not in order"):
        list(read_members(results.artifacts, dataset))


@pytest.mark.parametrize("middle", [1, 9])
def test_descendants_of_trained_structures_are_not_tested(results: Results, middle: int) -> None:
    # run ← middle ← 5: the parent has the middle one, the dataset that goes on only what was made from it
    add_labels(results, 1, start=middle, groups=["run"])
    add_labels(results, 20, start=20, config_type="aimd")
    first = make(results, split=SplitSpec(test_fraction=0.5, seed=1), where=["config_type=crystal,aimd"])
    side = {row["structure_id"]: row["split"] for row in read_members(results.artifacts, first)}
    assert side[number_id(middle)] == "train"
    add_labels(results, 1, start=5, groups=[number_id(middle)])
    add_labels(results, 1, start=6)
    for seed in range(8):
        spec = DatasetSpec(split=SplitSpec(test_fraction=0.5, seed=seed), parent_id=first.id)
        ids = [number_id(5), number_id(6), *(number_id(20 + index) for index in range(20))]
        second = create_dataset(results, "on", "tblite:1", spec, structure_ids=ids).dataset
        rows = {row["structure_id"]: row for row in read_members(results.artifacts, second)}
        assert (rows[number_id(5)]["split"], rows[number_id(5)]["group"]) == ("train", "run")


def test_a_given_test_set_is_that_of_every_dataset(results: Results) -> None:
    add_labels(results, 10, config_type="aimd")
    given = make(results, "given", split=SplitSpec(test_fraction=0.3, seed=1))
    tested = [row["structure_id"] for row in read_members(results.artifacts, given) if row["split"] == "test"]
    add_labels(results, 12, start=20, config_type="rss")
    made = make(results, where=["config_type=rss"], test_dataset_id=given.id)
    assert made.counts == {"train": 12, "test": 3} and made.split == {"rule": "given", "test_dataset": given.id}
    again = make(results, where=["config_type=rss,aimd", f"id!={tested[0]}"], test_dataset_id=given.id)
    assert again.counts == {"train": 19, "test": 3}, "its own members stay in the test set"
    assert made.counts_by_config_type["test"] == {"aimd": 3}


def test_training_on_groups_of_a_given_test_set_is_refused_by_name(results: Results) -> None:
    add_labels(results, 10, config_type="aimd", groups=[f"run-{index}" for index in range(10)])
    given = make(results, "given", split=SplitSpec(test_fraction=0.1, seed=1))
    (group,) = {row["group"] for row in read_members(results.artifacts, given) if row["split"] == "test"}
    add_labels(results, 2, start=20, config_type="rss", groups=[group, "other"])
    with pytest.raises(DataError, match=f"1 structure to train on share a group with the test set: {group}"):
        make(results, where=["config_type=rss"], test_dataset_id=given.id)
    add_labels(results, 4, start=30, fingerprint="cp2k:1")
    with pytest.raises(DataError, match="choose another test set or none"):
        make(results, fingerprint="cp2k:1", test_dataset_id=given.id)


def test_an_excluded_label_leaves_a_given_test_set_and_an_empty_side_is_refused(results: Results) -> None:
    add_labels(results, 10, config_type="aimd")
    given = make(results, "given", split=SplitSpec(test_fraction=0.2, seed=1))
    tested = [row for row in read_members(results.artifacts, given) if row["split"] == "test"]
    add_labels(results, 4, start=20, config_type="rss")
    exclude_labels(results, [tested[0]["label_id"]], "odd", "ada")
    assert make(results, where=["config_type=rss"], test_dataset_id=given.id).counts == {"train": 4, "test": 1}
    with pytest.raises(DataError, match="no label is left to train on"):
        make(results, where=[f"id={tested[1]['structure_id']}"], test_dataset_id=given.id)
