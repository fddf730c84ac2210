"""A chunk of structures in one job: several at a time, stored as they end, stopped in time, gone on with."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gst_jobflow.base.deadline import STOP_SIGNAL, Deadline
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.processes import run_program
from gst_jobflow.documents import Label, Structure, now
from gst_jobflow.labelling import maker
from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend
from gst_jobflow.labelling.backend import BackendModel, RawLabel, failed
from gst_jobflow.labelling.cost import CostModel, cost_model, fitted
from gst_jobflow.labelling.maker import MOST_JOBS, LabelMaker, _Chunk, chunks, slots
from gst_jobflow.labelling.method import Method
from gst_jobflow.launch.attempts import failure_class
from gst_jobflow.store import Results, share
from tests.flows.conftest import results, run  # noqa: F401

if TYPE_CHECKING:
    from ase import Atoms

pytestmark = pytest.mark.mongo

MEETING = threading.Barrier(2)
RUNS: Counter[tuple[int, int]] = Counter()
"""How often each (job index, number of atoms) was computed; the number of atoms tells structures apart."""


class Stand(BackendModel):
    """Numbers out of nothing; `does` says what happens to structures of three atoms."""

    does: str = "nothing"

    @property
    def cores(self) -> int | None:
        return 1

    def method(self) -> Method:
        return Method(code="stand-in", version="1", parameters={})

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        from jobflow import CURRENT_JOB

        index = CURRENT_JOB.job.index
        RUNS[index, len(atoms)] += 1
        if self.does == "meet":
            MEETING.wait(60)
        if len(atoms) == 3 and "ask to stop" in self.does:
            os.kill(os.getpid(), STOP_SIGNAL)
        if len(atoms) == 3 and "raise" in self.does:
            raise KeyError("a calculator's own mistake")
        if len(atoms) == 3 and self.does == "full disk":
            Path("/dev/full").write_text("more")
        if len(atoms) == 3 and self.does == "program says full":
            return failed("crash", "forrtl: No space left on device")
        if self.does == "sleep for ever" or (len(atoms) == 3 and self.does == "sleep" and index == 1):
            run_program(["sleep", "600"], directory, output="out", death_signal=signal.SIGKILL)
        return RawLabel(converged=True, energy_eV=-float(len(atoms)), forces_eV_A=np.zeros((len(atoms), 3)))


@pytest.fixture(autouse=True)
def _clean() -> None:
    RUNS.clear()


def add_structures(results: Results, sizes: list[int]) -> list[str]:  # noqa: F811
    """Chains of Te, one of each size."""
    from ase import Atoms

    from gst_jobflow.store.atoms import structure_document

    ids = []
    for size in sizes:
        positions = [(3.0 * place, 0, 0) for place in range(size)]
        document = structure_document(
            Atoms(f"Te{size}", positions=positions, cell=[3.0 * size, 9, 9], pbc=True), "crystal"
        )
        results.add(document)
        ids.append(document.id)
    return ids


def states(results: Results) -> Counter[str]:  # noqa: F811
    return Counter(label.state for label in results.find(Label, {}))


def test_as_many_run_at_a_time_as_there_are_cores(run: Any, results: Results, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setenv("GST_CORES", "2")
    ids = add_structures(results, [2, 3, 4, 5])
    # each waits for another one
    output = run(LabelMaker(Stand(does="meet")).make(ids))["label"]
    assert (output["converged"], output["failed"], output["known"]) == (4, 0, 0)


def test_a_running_job_takes_the_cores_that_other_jobs_leave(
    run: Any, results: Results, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    # what the job sets is put back
    monkeypatch.setenv("GST_CORES", "1")
    monkeypatch.setattr(share, "_share", share._Share(now()))
    monkeypatch.setenv("GST_WORKERS", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(maker, "_SHARED_AGAIN_S", 0.0)
    ids = add_structures(results, [2, 3, 4, 5])
    # it began with one core, and each label waits for another one
    output = run(LabelMaker(Stand(does="meet")).make(ids))["label"]
    assert output["converged"] == 4


def test_a_calculator_that_raises_fails_its_structure_only(run: Any, results: Results) -> None:  # noqa: F811
    run(LabelMaker(Stand(does="raise")).make(add_structures(results, [2, 3, 4])))
    assert states(results) == {"converged": 2, "failed": 1}
    (label,) = results.find(Label, {"state": "failed"})
    assert label.failure_class == "crash" and "a calculator's own mistake" in label.reason


def test_labels_that_end_together_share_one_write_and_none_is_counted_before_it(
    run: Any, results: Results, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr(maker, "_TOGETHER_S", 1000.0)
    written: list[int] = []
    put = Results.put_labels

    def counted(self: Results, labels: Any) -> Any:
        written.append(len(labels))
        stored = put(self, labels)
        assert states(results)["converged"] == sum(written), "on disk and in the database when it returns"
        return stored

    monkeypatch.setattr(Results, "put_labels", counted)
    output = run(LabelMaker(Stand()).make(add_structures(results, list(range(2, 12)))))["label"]
    assert written == [1, 9], "the first at once, the others together"
    assert output["converged"] == 10 and states(results) == {"converged": 10}


def test_a_stopped_chunk_continues_with_the_next_structure(run: Any, results: Results) -> None:  # noqa: F811
    run(LabelMaker(Stand(does="ask to stop")).make(add_structures(results, [2, 3, 4, 5])))
    assert states(results) == {"converged": 4}
    assert RUNS == {(1, 5): 1, (1, 4): 1, (1, 3): 1, (2, 2): 1}, "the largest first, nothing twice"


def test_a_continuation_does_not_retry_failures(run: Any, results: Results) -> None:  # noqa: F811
    ids = add_structures(results, [3, 2, 1])
    run(LabelMaker(Stand(does="raise")).make(ids[:1]))
    RUNS.clear()
    run(LabelMaker(Stand(does="raise and ask to stop"), retry_failed=True).make(ids))
    assert states(results) == {"converged": 2, "failed": 1}
    assert RUNS == {(1, 3): 1, (2, 2): 1, (2, 1): 1}


def test_labels_cut_off_by_the_walltime_are_recomputed(
    run: Any, results: Results, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("GST_LAUNCH__WALLTIME", "00:00:05")
    run(LabelMaker(Stand(does="sleep")).make(add_structures(results, [2, 3, 4])))
    assert states(results) == {"converged": 3}
    assert RUNS == {(1, 4): 1, (1, 3): 1, (2, 3): 1, (2, 2): 1}


def test_a_walltime_shorter_than_a_label_is_an_error(run: Any, results: Results, monkeypatch: Any) -> None:  # noqa: F811
    monkeypatch.setenv("GST_LAUNCH__WALLTIME", "00:00:01")
    with pytest.raises(RunError, match="no label ended") as caught:
        run(LabelMaker(Stand(does="sleep for ever")).make(add_structures(results, [2])))
    assert caught.value.failure_class == "no_progress"
    assert states(results) == {}


def test_places_have_their_own_cores_if_the_job_owns_all(monkeypatch: Any) -> None:
    class Wide(Stand):
        @property
        def cores(self) -> int | None:
            return 2

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("GST_CORES", "8")
    assert slots(Wide()) == [None] * 4, "local workers share a machine"
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert slots(Wide()) == [{0, 1}, {2, 3}, {4, 5}, {6, 7}]
    monkeypatch.setenv("GST_CORES", "5")
    assert slots(Wide()) == [None, None], "the node's other cores are somebody else's"
    monkeypatch.setenv("GST_CORES", "1")
    assert slots(Wide()) == [None]


def test_labels_that_would_not_end_are_left_and_smaller_ones_fill_the_time(
    results: Results, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    class Short(Deadline):
        def left_s(self) -> float:
            return 10.0

    monkeypatch.setenv("GST_CORES", "3")
    chunk = _Chunk(Stand(), results, False, Short(0.0, 0.0))
    ids = add_structures(results, [2, 40, 30])
    begun: list[Any] = []

    class Pool:
        def submit(self, _: Any, structure: Any, directory: Path) -> int:
            begun.append(structure.n_atoms)
            return len(begun)

    # the last one, of 100 atoms, took 30 s
    chunk.last.append((100, 30.0))
    chunk._begin(chunk._missing(ids), {}, Pool())  # type: ignore[arg-type]
    assert begun == [2], "40 and 30 atoms would take up to 12 and 9 s, and 1.2 times that are not left"
    assert [results.get(Structure, id).n_atoms for id in chunk.left] == [40, 30]


def test_a_full_disk_ends_the_job_with_one_line(run: Any, results: Results, monkeypatch: Any) -> None:  # noqa: F811
    def full(*_: Any) -> RawLabel:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Stand, "compute", full)
    with pytest.raises(RunError, match="no room on the disk") as caught:
        run(LabelMaker(Stand()).make(add_structures(results, [2, 3])))
    assert caught.value.failure_class == "disk_full"
    assert states(results) == {}


def test_many_structures_are_few_jobs() -> None:
    ids = [f"{number:064x}" for number in range(100_003)]
    dealt = chunks(ids)
    assert len(dealt) <= MOST_JOBS and [id for part in dealt for id in part] == ids
    assert [len(part) for part in chunks(ids[:45])] == [20, 20, 5]
    assert [len(part) for part in chunks(ids[:45], 40)] == [40, 5]
    assert [len(part) for part in chunks(ids[:45], fewest=30)] == [30, 15]
    assert [len(part) for part in chunks(ids[:45], 40, fewest=30)] == [40, 5]
    with pytest.raises(InputError, match="more than the 5,000"):
        chunks(ids, 100_000)


def test_jobs_of_short_labels_hold_more() -> None:
    unknown = AseBackend(name="lj", calculator="ase.calculators.lj:LennardJones", package="ase")
    assert (Stand().fewest_in_a_job, unknown.fewest_in_a_job, tblite_backend().fewest_in_a_job) == (20, 20, 200)


def test_jobs_cost_the_same_and_begin_with_their_longest() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(6, 200, 1_000)
    ids = [f"{number:064x}" for number in range(len(sizes))]
    of = dict(zip(ids, sizes.tolist(), strict=True))
    costs = CostModel(2.0).costs(sizes)
    dealt = chunks(ids, costs=costs)
    assert sorted(id for part in dealt for id in part) == ids
    assert len(dealt) == len(chunks(ids)) == 50
    loads = [sum(of[id] ** 2.0 for id in part) for part in dealt]
    # in the order of ids, the longest job would be twice the shortest
    assert max(loads) < 1.01 * min(loads)
    assert all([of[id] for id in part] == sorted((of[id] for id in part), reverse=True) for part in dealt)
    # one that costs as much as all others has a job of its own
    assert sorted(map(len, chunks(ids[:40], costs=np.array([1e6, *[1.0] * 39])))) == [1, 39]


def test_cost_is_learned_from_labels_of_different_sizes() -> None:
    sizes = np.array([6, 12, 24, 48, 6, 12, 24, 48], dtype=float)
    learned = fitted(sizes, 0.02 * sizes**1.7, 2.0)
    assert learned.exponent == pytest.approx(1.7)
    assert learned.costs([100])[0] == pytest.approx(0.02 * 100**1.7)
    alike = fitted(np.full(20, 30.0), np.full(20, 9.0), 2.0)
    assert (alike.exponent, alike.costs([60])[0]) == (2.0, pytest.approx(36.0))
    assert fitted(np.array([]), np.array([]), 2.0) == CostModel(2.0)


def test_steps_of_dynamics_do_not_predict_the_cost_of_single_points(run: Any, results: Results) -> None:  # noqa: F811
    backend, ids = Stand(), add_structures(results, [2, 3, 4])
    run(LabelMaker(backend).make(ids))
    labels = results.database["labels"]
    labels.update_many({}, {"$set": {"wall_s": 10.0, "n_atoms": 10}})
    labels.update_one({"structure_id": ids[0]}, {"$set": {"wall_s": 1.0, "config_type": "aimd"}})
    known = cost_model(results.database, backend)
    assert (known.n_measured, known.costs([10])[0]) == (2, pytest.approx(10.0))
    assert cost_model(results.database, backend, where={"config_type": "aimd"}).costs([10])[0] == pytest.approx(1.0)
    labels.delete_many({"config_type": {"$ne": "aimd"}})
    assert cost_model(results.database, backend).n_measured == 1, "better than nothing"


@pytest.mark.parametrize("does", ["full disk", "program says full"])
def test_a_full_disk_is_no_failed_label(run: Any, results: Results, does: str) -> None:  # noqa: F811
    with pytest.raises(Exception, match="No space left on device") as caught:
        run(LabelMaker(Stand(does=does)).make(add_structures(results, [2, 3, 4])))
    assert failure_class(caught.value) == "disk_full"
    assert states(results) == {"converged": 1}
