"""Labels that a person leaves out: they stay, with reason, name and time, and enter no new dataset."""

from __future__ import annotations

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.datasets import create_dataset, load_split
from gst_jobflow.datasets.exclude import exclude_labels, include_labels
from gst_jobflow.documents import Label
from gst_jobflow.store import Results
from tests.cli.test_control import data, gst
from tests.datasets.conftest import add_labels, number_id

pytestmark = pytest.mark.mongo


def test_excluded_labels_enter_no_new_dataset_and_old_ones_stay(results: Results) -> None:
    labels = add_labels(results, 12)
    before = create_dataset(results, "before", "tblite:1", where=[]).dataset
    failed = add_labels(
        results, 1, start=20, state="failed", failure_class="unphysical", energy_eV=None, energy_per_atom_eV=None,
        forces=None, max_force_eV_A=None,
    )  # fmt: skip
    ids = [labels[0].id, labels[1].id, failed[0].id]
    assert exclude_labels(results, ids, "wrong smearing", "ada") == {"excluded": 2, "failed": 1}
    assert exclude_labels(results, ids[:1], "again", "bob") == {"were excluded": 1}
    kept = results.get(Label, ids[0])
    assert kept.exclusion is not None and (kept.exclusion.reason, kept.exclusion.by) == ("wrong smearing", "ada")
    assert kept.energy_eV == labels[0].energy_eV
    after = create_dataset(results, "after", "tblite:1", where=[]).dataset
    assert (before.n_members, after.n_members) == (12, 10)
    assert sum(1 for split in ("train", "test") for _ in load_split(results, before, split)) == 12
    assert include_labels(results, ids[:2]) == {"converged": 2}
    assert create_dataset(results, "again", "tblite:1", where=[]).dataset.id == before.id


def test_the_same_label_from_an_import_does_not_undo_an_exclusion(results: Results) -> None:
    (label,) = add_labels(results, 1)
    exclude_labels(results, [label.id], "magnetic", "ada")
    assert results.put_labels([label]) == (0, {})
    assert results.get(Label, label.id).state == "excluded"


def test_commands_take_labels_structures_and_conditions(project: Project, results: Results) -> None:
    labels = add_labels(results, 4, max_force_eV_A=1.0)
    add_labels(results, 2, start=10, max_force_eV_A=90.0)
    assert data(project, "label", "exclude", labels[0].id, number_id(1), "--reason", "odd") == {"excluded": 2}
    assert data(project, "label", "exclude", "-w", "max_force_eV_A>80", "--reason", "too hot") == {"excluded": 2}
    assert len(data(project, "query", "labels", "-w", "state=excluded")) == 4
    assert data(project, "label", "include", "-w", "state=excluded") == {"converged": 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("exclude", "--reason", "x"), "which labels"),
        (("exclude", number_id(0)), "no reason"),
        (("exclude", "-w", "n_atoms>100", "--reason", "x"), "no label meets"),
        (("exclude", number_id(7), "--reason", "x"), "7"),
        (("include", number_id(3)), "has 0 labels"),
    ],
)
def test_wrong_use_is_refused(project: Project, results: Results, words: tuple[str, ...], said: str) -> None:
    add_labels(results, 4)
    results.database["labels"].delete_one({"structure_id": number_id(3)})
    with pytest.raises(InputError, match=said):
        gst(project, "label", *words)
    assert results.database["labels"].count_documents({"state": "excluded"}) == 0
