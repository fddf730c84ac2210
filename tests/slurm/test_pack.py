"""Several fireworks in one SLURM job: side by side, each with its part, recovered and cancelled one by one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from jobflow import Flow

from gst_jobflow.base.resources import Resources, request_resources
from gst_jobflow.base.settings import Project
from gst_jobflow.launch.control import cancel, pause, resume
from gst_jobflow.launch.queue import QueueLauncher
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.spent import spent_by_job
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store.connect import connect
from scripts._slurm import Slurm
from tests.slurm.jobs import wait_once, where_label
from tests.slurm.test_queue import LIMIT_S, attempts, launch, outputs, until

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.fresh_database]


@pytest.fixture
def launching(cluster: Project) -> Callable[..., tuple[list[str], Callable[[], None]]]:
    """Start a launcher in a thread; return its lines, and a function that waits for its end."""

    def start(**options: int) -> tuple[list[str], Callable[[], None]]:
        lines: list[str] = []
        stop = Event()
        launcher = QueueLauncher(cluster, tell=lines.append, **options)
        thread = threading.Thread(target=launcher.run, args=(stop,))
        thread.start()

        def end() -> None:
            thread.join(LIMIT_S)
            alive = thread.is_alive()
            stop.set()
            thread.join()
            assert not alive, "\n".join(lines)

        return lines, end

    return start


def test_fireworks_share_a_job_side_by_side_and_each_has_its_part(cluster: Project) -> None:
    jobs = [where_label(5.0) for _ in range(4)]
    submit(Flow(jobs), cluster)
    lines: list[str] = []
    launch(cluster, lines, pack=2)
    got = outputs(cluster, *(job.uuid for job in jobs))
    assert Counter(each["cores"] for each in got) == {1: 4} and {each["ranks"] for each in got} == {1}
    assert sorted(Counter(each["SLURM_JOB_ID"] for each in got).values()) == [2, 2]
    pairs = [[each for each in got if each["SLURM_JOB_ID"] == job] for job in {each["SLURM_JOB_ID"] for each in got}]
    assert all(max(a["began"], b["began"]) < min(a["ended"], b["ended"]) for a, b in pairs)
    assert sum(line.startswith("submitted where_label, where_label (labels)") for line in lines) == 2
    # status and cost are those of each alone
    assert status(connect(cluster))["counts"] == {"COMPLETED": 4}
    done = attempts(cluster)
    assert {attempt.cores for attempt in done} == {1} and len({attempt.directory for attempt in done}) == 4
    for attempt in done:
        spent = spent_by_job(connect(cluster), [attempt.job_uuid])[attempt.job_uuid]
        assert spent.core_hours == pytest.approx((attempt.ended_at - attempt.started_at).total_seconds() / 3600)


def test_what_needs_more_than_is_left_or_other_resources_gets_a_job_of_its_own(cluster: Project) -> None:
    small, wide, elsewhere = [where_label() for _ in range(3)], where_label(), where_label()
    request_resources(wide, Resources(ranks=2))
    request_resources(elsewhere, Resources(threads=2))
    longer = where_label()
    request_resources(longer, Resources(walltime="00:20:00"))
    jobs = [small[0], wide, small[1], elsewhere, small[2], longer]
    submit(Flow(jobs), cluster)
    launch(cluster, pack=2)
    got = dict(zip((job.uuid for job in jobs), outputs(cluster, *(job.uuid for job in jobs)), strict=True))
    at = {uuid: each["SLURM_JOB_ID"] for uuid, each in got.items()}
    together = Counter(at.values())
    assert together[at[wide.uuid]] == together[at[elsewhere.uuid]] == 1
    assert got[wide.uuid]["ranks"] == 2 and got[elsewhere.uuid]["cores"] == 2
    # of any time: the job takes the longest
    assert at[small[0].uuid] == at[small[1].uuid] and at[small[2].uuid] == at[longer.uuid]


def test_fireworks_of_an_allocation_that_ends_run_again(
    cluster: Project, slurm: Slurm, launching: Callable[..., tuple[list[str], Callable[[], None]]], tmp_path: Path
) -> None:
    markers = [tmp_path / "one", tmp_path / "two"]
    submit(Flow([wait_once(str(marker)) for marker in markers]), cluster)
    lines, end = launching(pack=2)
    try:
        until(lambda: all(marker.exists() for marker in markers) and len(attempts(cluster)) == 2)
        (job_id,) = {attempt.slurm_job_id for attempt in attempts(cluster)}
        slurm.ask("scancel", job_id)
    finally:
        end()
    assert Counter((each.state, each.failure_class) for each in attempts(cluster)) == {
        ("lost", "cancelled"): 2,
        ("finished", ""): 2,
    }
    assert recover(cluster) == [] and "no job is left" in lines


def test_one_that_is_cancelled_or_paused_leaves_the_others_alone(
    cluster: Project, slurm: Slurm, launching: Callable[..., tuple[list[str], Callable[[], None]]], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    stopped, other = wait_once(str(marker)), where_label(15.0)
    ids = submit(Flow([stopped, other]), cluster)
    _, end = launching(pack=2)
    try:
        until(lambda: marker.exists() and len(attempts(cluster)) == 2)
        (change,) = cancel(cluster, [ids[stopped.uuid]])
        assert "signalled to stop" in change.what and "SLURM job" not in change.what
    finally:
        end()
    assert status(connect(cluster))["counts"] == {"COMPLETED": 1, "DEFUSED": 1}
    assert len(outputs(cluster, other.uuid)) == 1

    blocker = slurm.ask("sbatch", "--parsable", "-N", "3", "--exclusive", "--wrap", "sleep 300").strip()
    waiting = [where_label(), where_label()]
    ids = submit(Flow(waiting), cluster)
    lines, end = launching(pack=2)
    try:
        until(lambda: any(line.startswith("submitted where_label, where_label") for line in lines))
        (change,) = pause(cluster, [ids[waiting[0].uuid]])
        assert change.what == "paused"
        slurm.ask("scancel", blocker)
    finally:
        end()
    assert len(outputs(cluster, waiting[1].uuid)) == 1
    assert status(connect(cluster))["counts"] == {"COMPLETED": 2, "DEFUSED": 1, "PAUSED": 1}
    resume(cluster, [ids[waiting[0].uuid]])
    launch(cluster, pack=2)
    assert status(connect(cluster))["counts"] == {"COMPLETED": 3, "DEFUSED": 1}
