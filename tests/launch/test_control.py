"""Cancel, pause and resume with local workers; logs of what ran."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fireworks import FWAction, FWorker, LaunchPad
from jobflow import Flow

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt
from gst_jobflow.launch import control, slurm
from gst_jobflow.launch.attempts import _begin
from gst_jobflow.launch.control import ChangedJob, cancel, pause, resume
from gst_jobflow.launch.logs import attempts_of, logs, tail
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workers import Workers, wait
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect, launchpad
from tests.launch.test_launching import add, sleep_once

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]


@pytest.fixture(autouse=True)
def _tests_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def run_all(project: Project) -> None:
    with Workers(project, 1) as workers:
        wait(workers, 0.2, lambda: None)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def counts(project: Project) -> dict[str, int]:
    return status(connect(project))["counts"]


def test_paused_work_waits_until_it_is_resumed(project: Project) -> None:
    first = add(1, 2)
    second = add(first.output, 3)
    ids = submit(Flow([first, second]), project)
    assert [item.what for item in pause(project)] == ["paused", "paused"]
    assert pause(project) == [], "a second time there is nothing to pause"
    run_all(project)
    assert counts(project) == {"PAUSED": 2}
    resume(project, [ids[first.uuid]])
    run_all(project)
    assert counts(project) == {"COMPLETED": 1, "PAUSED": 1}
    resume(project)
    run_all(project)
    assert counts(project) == {"COMPLETED": 2}


def test_cancelled_run_ends_and_its_worker_continues(project: Project, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    sleeping, other = sleep_once(str(marker), 600.0), add(1, 1)
    ids = submit(Flow([sleeping]), project)
    with Workers(project, 1) as workers:
        until(lambda: marker.exists() and marker.read_text())
        submit(other, project)
        (item,) = cancel(project, [ids[sleeping.uuid]])
        assert item.what.startswith("cancelled; process")
        wait(workers, 0.2, lambda: None)
        assert workers.restarts == 0
    assert counts(project) == {"COMPLETED": 1, "DEFUSED": 1}
    assert recover(project, failed=True) == [], "what a person stopped stays stopped"
    (attempt,) = Results.open(project).find(Attempt, {"job_uuid": sleeping.uuid})
    assert (attempt.state, attempt.failure_class) == ("failed", "cancelled")
    resume(project, [ids[sleeping.uuid]])
    run_all(project)
    assert counts(project) == {"COMPLETED": 2}


def test_cancelling_a_run_keeps_its_workers_allocation(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, cancelled = tmp_path / "marker", []
    monkeypatch.setattr(slurm, "scancel", cancelled.extend)
    # as in a shell of salloc
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    ids = submit(sleep_once(str(marker), 600.0), project)
    with Workers(project, 1) as workers:
        until(lambda: marker.exists() and marker.read_text())
        (item,) = cancel(project, list(ids.values()))
        assert "signalled to stop" in item.what and cancelled == []
        wait(workers, 0.2, lambda: None)
    assert Results.open(project).database["attempts"].find_one({})["failure_class"] == "cancelled"


def test_waiting_job_is_cancelled_without_a_process(project: Project) -> None:
    ids = submit(add(1, 1), project)
    (fw_id,) = ids.values()
    assert [item.what for item in cancel(project)] == ["cancelled"]
    assert [item.what for item in cancel(project, [fw_id])] == ["unchanged: it is DEFUSED"]
    with pytest.raises(InputError, match="no job 999"):
        cancel(project, [999])


@pytest.mark.parametrize(("change", "state"), [(cancel, "COMPLETED"), (pause, "RUNNING")])
def test_firework_that_changed_meanwhile_is_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch, change: Callable[..., list[ChangedJob]], state: str
) -> None:
    first, second = sorted(submit(Flow([add(1, 1), add(2, 2)]), project).values())
    unreserve = control._unreserve

    def beside(pad: LaunchPad, fw_id: int) -> list[str]:
        if fw_id == first:
            _, launch_id = pad.checkout_fw(FWorker(), str(project.root), second)
            if state == "COMPLETED":
                pad.complete_launch(launch_id, FWAction(), state)
        return unreserve(pad, fw_id)

    monkeypatch.setattr(control, "_unreserve", beside)
    assert [item.fw_id for item in change(project)] == [first]
    assert connect(project)["fireworks"].find_one({"fw_id": second})["state"] == state


def test_cancelling_a_run_that_just_ended_spares_the_workers_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fw_id,) = submit(add(1, 1), project).values()
    results, killed = Results.open(project), []
    launchpad(project).checkout_fw(FWorker(), str(project.root), fw_id)
    begun = _begin(results, "u", "add", fw_id, "", 1)
    defuse = LaunchPad.defuse_fw

    def beside(pad: LaunchPad, fw_id: int) -> None:
        defuse(pad, fw_id)
        results.update("attempts", begun.id, {"state": "finished"})

    monkeypatch.setattr(LaunchPad, "defuse_fw", beside)
    monkeypatch.setattr(control.os, "kill", lambda *words: killed.append(words))
    (item,) = cancel(project)
    assert killed == [] and "has just ended" in item.what
    assert results.get(Attempt, begun.id).state == "finished"


def test_logs_show_the_end_of_the_newest_files(project: Project, tmp_path: Path) -> None:
    ids = submit(add(1, 1), project)
    (fw_id,) = ids.values()
    with pytest.raises(InputError, match="has not started: it is READY"):
        attempts_of(connect(project), fw_id)
    run_all(project)
    (attempt,) = attempts_of(connect(project), fw_id)
    folder = Path(attempt["directory"])
    (folder / "md-1").mkdir()
    (folder / "md-1" / "log.lammps").write_text("".join(f"step {i}\n" for i in range(100)))
    (folder / "empty.out").touch()
    (shown,) = [log for log in logs(folder, 2) if log.file.name == "log.lammps"]
    assert shown.lines == ["step 98", "step 99"]
    assert not [log for log in logs(folder, 2) if log.file.name == "empty.out"]


@pytest.mark.parametrize("n", [1, 3, 50_000])
def test_the_tail_of_a_large_file(tmp_path: Path, n: int) -> None:
    lines = [f"line {i}" for i in range(30_000)]
    (tmp_path / "large").write_text("\n".join(lines) + "\n")
    assert tail(tmp_path / "large", n) == lines[-n:]
