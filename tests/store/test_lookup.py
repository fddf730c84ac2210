"""A document is found by its id, its name, or the beginning of its id; a second meaning is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Cycle, Study, Trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located, locate, located_runs
from tests.documents.test_documents import label, structure
from tests.report import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def results(project: Project) -> Results:
    return Results.open(project)


def test_an_id_is_found_by_its_beginning(results: Results) -> None:
    for letters in ("abcdef1", "abcdef2", "abcdef"):
        results.add(structure(_id=letters.ljust(32, "0")))
    results.add(structure(_id="short"))
    results.add(label(_id="fedcba" + "0" * 26))
    assert locate(results.database, "abcdef1") == ("structures", "abcdef1".ljust(32, "0"))
    assert locate(results.database, "fedcba") == ("labels", "fedcba" + "0" * 26)
    assert locate(results.database, "short") == ("structures", "short")  # whole ids may be of any length
    for text, words in (
        ("abcdef", "several structures"),
        ("abcde", "at least 6 characters"),
        ("abcdef9", "no document"),
        (".*.*.*", "no document"),
        ("$where", "no document"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            locate(results.database, text)
        assert caught.value.fix and "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no label"):
        locate(results.database, "abcdef1", "labels")


def test_what_people_named_is_found_by_its_name(results: Results) -> None:
    study = synthetic.add_study(results, name="ablations of iteration 5")
    assert locate(results.database, study.name) == ("studies", study.id)
    assert locate(results.database, study.name, "studies") == ("studies", study.id)
    with pytest.raises(InputError, match="no document") as caught:
        locate(results.database, "ablation of iteration 5")
    assert "did you mean 'ablations of iteration 5'?" in caught.value.fix
    with pytest.raises(InputError, match="no label"):
        locate(results.database, study.name, "labels")
    twin = study.model_copy(update={"id": "twin"})
    results.add(twin)
    with pytest.raises(InputError, match="several studies: synthetic-study, twin"):
        locate(results.database, study.name)
    # an id is an id even where something else has it for a name
    results.add(study.model_copy(update={"id": "other", "name": "twin"}))
    assert locate(results.database, "twin") == ("studies", "twin")


def test_runs_are_found_by_their_trajectory_or_cycle(results: Results) -> None:
    synthetic.add_study(results)
    cycle = results.get(Cycle, synthetic.CYCLE_ID)
    ran = [each.trajectory_id for each in cycle.operations if each.trajectory_id]
    assert len(ran) > 1
    for text in (cycle.id, cycle.id[:-2], cycle.name):
        assert [run.id for run in located_runs(results, text)] == ran
    assert [run.id for run in located_runs(results, f"{cycle.name}:2")] == [cycle.operations[1].trajectory_id]
    assert [run.id for run in located_runs(results, ran[0])] == [ran[0]]
    results.add(cycle.model_copy(update={"id": "twin"}))
    for text in (cycle.name, f"{cycle.name}:2"):
        with pytest.raises(InputError, match=f"several cycles: {cycle.id}, twin"):
            located_runs(results, text)
    run = results.get(Trajectory, ran[0])
    results.add(run.model_copy(update={"id": "other", "name": cycle.name}))
    with pytest.raises(InputError, match=rf"several documents: other \(trajectories\), {cycle.id} \(cycles\)"):
        located_runs(results, cycle.name)
    with pytest.raises(InputError, match="no trajectory or cycle 'nothing'"):
        located_runs(results, "nothing")


def test_a_document_of_one_model_is_read(results: Results) -> None:
    study = synthetic.add_study(results)
    assert get_located(results, Study, study.name) == get_located(results, Study, study.id[:10])
    with pytest.raises(InputError, match="no cycle") as caught:
        get_located(results, Cycle, study.id)
    assert caught.value.fix
