"""The whole way with real programs, killed twice on the way: nothing is computed twice that was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, Cycle, Label, Potential, Structure, Study, Trajectory
from gst_jobflow.store import Results

pytestmark = [pytest.mark.mongo, pytest.mark.lammps, pytest.mark.pacemaker, pytest.mark.slow]
GST = [sys.executable, "-c", "from gst_jobflow.cli.main import main; main()"]
LIMIT_S = 1500.0


def gst(folder: Path, *words: str) -> str:
    done = subprocess.run([*GST, "-p", str(folder), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*GST, "--set", "launch.poll_s=0.5", "demo", str(folder), "--size", "tiny", "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def running(results: Results, name: str) -> Attempt | None:
    return next(results.find(Attempt, {"state": "running", "job_name": name}), None)


def kill_when(folder: Path, condition: Callable[[Results], Attempt | None]) -> Attempt:
    """Start the demo, and SIGKILL it and the worker of the attempt that `condition` finds."""
    demo = start(folder)
    deadline = time.monotonic() + LIMIT_S
    results: Results | None = None
    while time.monotonic() < deadline:
        assert demo.poll() is None, demo.communicate()[0]
        if results is None and (folder / ".gst" / "mongod" / "state.json").exists():
            try:
                results = Results.open(Project(folder))
            except Exception:  # the database is only just starting
                time.sleep(0.2)
                continue
        found = condition(results) if results is not None else None
        if found is not None:
            os.kill(found.pid, signal.SIGKILL)
            demo.kill()
            demo.wait()
            return found
        time.sleep(0.05)
    demo.kill()
    raise AssertionError("the demo never got there")


def in_the_middle_of_the_fit(results: Results) -> Attempt | None:
    from gst_jobflow.fitting.progress import progress

    attempt = running(results, "fit")
    for folder in Path(attempt.directory).glob("fit-*") if attempt else ():
        if (progress(folder)["iteration"] or 0) >= 10:
            return attempt
    return None


def in_the_middle_of_the_cycle(results: Results) -> Attempt | None:
    return running(results, "2 RESET")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo") / "project"
    killed = [kill_when(folder, in_the_middle_of_the_fit), kill_when(folder, in_the_middle_of_the_cycle)]
    last = start(folder)
    output = last.communicate(timeout=LIMIT_S)[0]
    assert last.returncode == 0, output
    yield {"folder": folder, "killed": killed, "output": output, "results": Results.open(Project(folder))}
    gst(folder, "db", "down")


def test_it_ends_and_says_where_the_page_is(demo: dict[str, Any]) -> None:
    study = next(demo["results"].find(Study, {}))
    assert study.state == "finished"
    assert {member.role for member in study.members} == {"dataset", "potential", "barrier", "cycle"}
    page = Path(demo["output"].split("\npage: ")[1].splitlines()[0])
    text = page.read_text()
    assert text.count("data:image/png;base64,") >= 6
    assert "<script" not in text and "http://" not in text.replace("http://www.w3.org", "")


def test_every_attempt_is_listed_and_only_what_was_killed_ran_twice(demo: dict[str, Any]) -> None:
    attempts = list(demo["results"].find(Attempt, {}, sort=[("started_at", 1)]))
    states: dict[str, list[str]] = {}
    for attempt in attempts:
        states.setdefault(attempt.job_name, []).append(attempt.state)
    assert states.pop("fit") == ["lost", "finished"]
    assert states.pop("2 RESET") == ["lost", "finished"]
    assert set(map(tuple, states.values())) == {("finished",)}
    lost = {attempt.pid for attempt in attempts if attempt.state == "lost"}
    assert lost == {attempt.pid for attempt in demo["killed"]}


def test_the_fit_went_on_where_it_was_killed(demo: dict[str, Any]) -> None:
    first = demo["killed"][0]
    (folder,) = Path(first.directory).glob("fit-*")
    continued = json.loads((folder / "continued.json").read_text())
    assert continued["iterations_before"] >= 10


def test_labels_and_structures_are_there_once(demo: dict[str, Any]) -> None:
    results = demo["results"]
    tagged = [item.id for item in results.find(Structure, {"config_type": {"$in": ["crystal", "hard_sphere"]}})]
    labels = list(results.find(Label, {}))
    assert len(labels) >= 16
    assert {label.structure_id for label in labels} <= set(tagged)
    assert len({label.fingerprint for label in labels}) == 1


def test_potentials_are_what_programs_expect(demo: dict[str, Any]) -> None:
    (potential,) = json.loads(gst(demo["folder"], "query", "potentials", "--json"))
    assert potential["n_densities"] == 3 and set(potential["elements"]) == {"Ge", "Sb", "Te"}
    for split in ("train", "test"):
        assert potential["rmse"][split]["energy_meV_per_atom"] > 0
        assert potential["rmse"][split]["force_meV_per_A"] > 0
        for errors in potential["rmse_by_config_type"][split].values():
            assert errors["n_structures"] >= 1
    assert set(potential["rmse_by_config_type"]["train"]) == {"crystal", "hard_sphere"}
    assert {name for name, file in potential["artifacts"].items() if file} == {"yaml", "yace", "asi"}
    assert potential["cost"]["core_hours"] > 0
    results = demo["results"]
    stored = results.get(Potential, potential["id"])
    assert all(results.artifacts.path(ref).stat().st_size > 0 for ref in (stored.artifacts.yace, stored.artifacts.asi))


def test_the_cost_of_the_cycle_is_that_of_its_attempts_down_to_its_labels(demo: dict[str, Any]) -> None:
    results = demo["results"]
    cycle, study = next(results.find(Cycle, {})), next(results.find(Study, {}))
    tree = json.loads(gst(demo["folder"], "show", cycle.id, "--cost", "--json"))
    every = list(results.database["attempts"].find({}))
    hours = {each["_id"]: (each["ended_at"] - each["started_at"]).total_seconds() / 3600 for each in every}

    def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield node
        for part in node["parts"]:
            yield from walk(part)

    nodes = list(walk(tree))
    counted = [uuid for node in nodes for uuid in node["jobs"]]
    assert len(counted) == len(set(counted))
    labels = next(node for node in nodes if node["collection"] == "labels")
    assert set(results.database["labels"].distinct("job_uuid")) <= {*labels["jobs"], *counted}
    # a lost attempt ends before recovery found it; all others count as they are
    found = {"finished": 0.0, "lost": 0.0}
    for each in every:
        if each["job_uuid"] in counted:
            found[each["state"]] += hours[each["_id"]] * each["cores"]
    spent = tree["in_all"]
    assert spent["core_hours"] - spent["failed_core_hours"] == pytest.approx(found["finished"])
    assert 0 < spent["failed_core_hours"] <= found["lost"] and spent["failed_attempts"] == 2
    whole = json.loads(gst(demo["folder"], "show", study.id, "--cost", "--json"))
    assert whole["in_all"]["attempts"] == len(every) and whole["in_all"]["jobs"] == len({e["job_uuid"] for e in every})


def test_the_cycle_is_finished_and_its_energy_adds_up(demo: dict[str, Any]) -> None:
    (cycle,) = json.loads(gst(demo["folder"], "query", "cycles", "--json"))
    assert (cycle["device"], cycle["state"], cycle["formula"]) == ("cross-point", "finished", "Ge1Sb2Te4")
    assert [operation["kind"] for operation in cycle["operations"]] == ["HOLD", "RESET", "SET", "RESET"]
    assert {operation["state"] for operation in cycle["operations"]} == {"finished"}
    for operation in cycle["operations"]:
        if operation["kind"] == "RESET":
            assert operation["asked_energy_eV"] > 0
            assert operation["added_energy_eV"] == pytest.approx(operation["asked_energy_eV"], rel=1e-3)
            assert operation["max_temperature_K"] > operation["final_temperature_K"]
    stored = demo["results"].get(Cycle, cycle["id"])
    assert stored.n_atoms == 252
    assert stored.groups["barrier"][1] == 252


def test_trajectories_hold_series_and_profiles_and_their_files(demo: dict[str, Any]) -> None:
    results = demo["results"]
    trajectories = list(results.find(Trajectory, {"cycle_id": {"$ne": None}}, sort=[("operation_index", 1)]))
    assert [trajectory.operation_index for trajectory in trajectories] == [0, 1, 2, 3]
    for trajectory in trajectories:
        lengths = {len(values) for values in trajectory.thermo.values()}
        assert len(lengths) == 1 and lengths.pop() > 5
        profile = trajectory.analysis["temperature_profile"]
        assert len(profile["temperature_K"]) == len(profile["time_ps"]) > 0
        assert trajectory.analysis["crystalline"]["fraction"]
        assert all(results.artifacts.path(ref).is_file() for ref in trajectory.files)
    killed_and_continued = trajectories[1]
    assert sum(kick.asked_eV for kick in killed_and_continued.kicks if kick.asked_eV > 0) == pytest.approx(
        killed_and_continued.asked_energy_eV
    )


def test_the_same_command_again_computes_nothing(demo: dict[str, Any]) -> None:
    before = demo["results"].database["attempts"].count_documents({})
    again = subprocess.run([*GST, "demo", str(demo["folder"])], capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "page: " in again.stdout
    assert demo["results"].database["attempts"].count_documents({}) == before
