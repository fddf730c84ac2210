"""`gst analyse`: trajectories, files, what is done already, and frames that cannot be analysed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.analysis.maker import AnalyseMaker
from gst_jobflow.analysis.motifs import motifs
from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import analyse_trajectory, summary
from gst_jobflow.analysis.series import Series, newest, series_of
from gst_jobflow.base import plugins
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from tests.analysis.runs import Gst, frame, stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytest.importorskip("ovito")


@pytest.mark.mongo
def test_each_frame_has_the_numbers_of_its_atoms_and_is_analysed_once(gst: Gst, project: Project, tmp_path: Path):
    results = Results.open(project)
    frames = {0: frame(0.1), 100: frame(0.27), 200: frame(0.8)}
    stored(results, tmp_path, frames)
    words = ("quench", "--what", "tellurium,grains,motifs", "--bond", "Ge-Te=3.4", "--bond", "Sb-Te=3.4",
             "--bond", "Te-Te=3.0", "--bond", "Ge-Ge=3.0", "--bond", "Ge-Sb=3.0", "--bond", "Sb-Sb=3.0")  # fmt: skip
    code, told, err = gst(*words)
    assert code == 0, err
    rows = told[0]["rows"]
    assert [row["time_ps"] for row in rows] == [0.0, 0.2, 0.4]
    expected = [crystallinity(atoms) for atoms in frames.values()]
    assert [row["crystalline_fraction"] for row in rows] == pytest.approx([each.fraction for each in expected])
    assert expected[0].fraction > 0.99 > 0.1 > expected[2].fraction
    bonds = {("Ge", "Te"): 3.4, ("Sb", "Te"): 3.4, ("Te", "Te"): 3.0} | dict.fromkeys(
        [("Ge", "Ge"), ("Ge", "Sb"), ("Sb", "Sb")], 3.0
    )
    assert rows[2]["homopolar_share"] == pytest.approx(motifs(frames[200], bonds).homopolar_share)
    assert (rows[0]["n_grains"], rows[2]["n_grains"]) == (1, 0)
    run = results.get(Trajectory, told[0]["id"])
    series = {each.name: each for each in series_of(run)}
    assert series["grains"].described["parameters"]["min_anions"] == 100
    assert set(series["grains"].described["versions"]) == {"gst_jobflow", "ovito"}
    arrays = series["tellurium"].arrays(results.artifacts, 100)
    assert arrays["crystalline"].dtype == np.float32
    assert np.array_equal(arrays["crystalline"], expected[1].mask)
    # a second run finds everything done, and changes nothing
    code, again, _ = gst(*words)
    assert code == 0 and again == told
    assert results.get(Trajectory, run.id) == run


@pytest.mark.mongo
def test_what_an_interrupted_run_left_is_done(gst: Gst, project: Project, tmp_path: Path):
    results = Results.open(project)
    stored(results, tmp_path, {0: frame(0.1), 100: frame(0.2)})
    code, told, err = gst("run", "--what", "tellurium")
    assert code == 0, err
    key = newest(results.get(Trajectory, "run"), "tellurium").key
    path = f"analysis.frames.{key}.rows"
    results.update("trajectories", "run", {f"{path}": {"0": {**told[0]["rows"][0], "crystalline_fraction": 0.123}}})
    code, told, _ = gst("run", "--what", "tellurium")
    # the first frame is not analysed again, the second is
    assert [row["crystalline_fraction"] for row in told[0]["rows"]] == [0.123, 1.0]
    series = newest(results.get(Trajectory, "run"), "tellurium")
    assert list(series.rows) == [0, 100] and "arrays" in series.rows[100]


@pytest.mark.mongo
def test_a_series_of_tellurium_is_found_as_that_of_the_anion(gst: Gst, project: Project, tmp_path: Path):
    results = Results.open(project)
    stored(results, tmp_path, {0: frame(0.1)})
    code, told, err = gst("run", "--what", "tellurium")
    assert code == 0, err
    run = results.get(Trajectory, "run")
    for words in (("--what", "anion"), ("--what", "anion,tellurium"), ()):
        assert gst("run", *words)[1] == told and results.get(Trajectory, "run") == run
    series = newest(run, "anion")
    assert series == newest(run, "tellurium") and (series.name, series.title) == ("tellurium", "anion")


def test_a_plugin_cannot_take_a_name_of_our_analyses(monkeypatch: pytest.MonkeyPatch):
    for name in ("anion", "tellurium"):
        point = EntryPoint(name, "gst_example.coordination:COORDINATION", "gst_jobflow.analyses")
        monkeypatch.setattr(plugins, "offered", lambda kind, point=point: {point.name: point})
        with pytest.raises(InputError, match=f"offers analysis '{name}', which gst_jobflow has itself"):
            AnalysisPlan(what=["nearly"])


def test_a_frame_that_cannot_be_analysed_is_named_and_others_go_on(gst: Gst, tmp_path: Path):
    bad = Atoms("Ge4", positions=np.eye(4, 3) * 3, cell=[9] * 3, pbc=True)
    write(tmp_path / "some.extxyz", [frame(0.1), bad, frame(0.15)])
    code, told, err = gst(str(tmp_path / "some.extxyz"), "--what", "tellurium")
    rows = told[0]["rows"]
    assert code == 1
    assert "no Te" in rows[1]["problem"] and "no Te" in err
    assert [row["crystalline_fraction"] for row in (rows[0], rows[2])] == [1.0, 1.0]


def test_k_bar_of_files_is_that_of_one_process(gst: Gst, tmp_path: Path):
    write(tmp_path / "salt.extxyz", frame(0.15))
    write(tmp_path / "some.extxyz", [frame(0.1), frame(0.8)])
    words = (str(tmp_path / "some.extxyz"), "--what", "k-bar", "--reference", str(tmp_path / "salt.extxyz"))
    code, told, err = gst(*words)
    assert code == 0, err
    _, one, _ = gst(*words, "--processes", "1")
    between = str(0.5 * sum(row["k_bar_mean"] for row in told[0]["rows"]))
    _, shares, _ = gst(*words, "--k-bar-cutoff", between)
    assert shares[0]["rows"][0]["k_bar_fraction"] > 0.9 > 0.5 > shares[0]["rows"][1]["k_bar_fraction"]
    assert one[0]["rows"] == told[0]["rows"]
    # no cut-off, no share
    assert set(told[0]["rows"][0]) == {"frame", "k_bar_mean"}
    assert told[0]["rows"][0]["k_bar_mean"] > told[0]["rows"][1]["k_bar_mean"] + 0.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--what", "k-baar"), "no analysis 'k-baar'"),
        (("--what", "k-bar", "--reference", "nothing"), "no reference crystal 'nothing'"),
        (("--what", "motifs", "--bond", "Ge=3"), "is no bond"),
    ],
)
def test_wrong_options_are_one_line(gst: Gst, tmp_path: Path, words: tuple[str, ...], message: str):
    write(tmp_path / "some.extxyz", frame(0.1))
    code, _, err = gst(str(tmp_path / "some.extxyz"), *words)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.mongo
def test_the_last_state_is_always_among_the_frames(gst: Gst, project: Project, tmp_path: Path):
    results = Results.open(project)
    frames = {step: frame(0.1) for step in range(0, 500, 100)}
    end = structure_document(frame(0.2), "other")
    results.add(end)
    stored(results, tmp_path, frames, final_structure_id=end.id, n_steps=450)
    code, told, err = gst("run", "--every", "3")
    assert code == 0, err
    # the dump ends at 400, the run at 450
    assert [row["step"] for row in told[0]["rows"]] == [0, 300, 450]
    code, told, _ = gst("run", "--frames", "2")
    assert [row["step"] for row in told[0]["rows"]] == [0, 200, 300, 400, 450]


@pytest.mark.mongo
def test_a_job_does_what_the_command_does_and_goes_on_where_time_was_up(
    results: Results, run: Callable[..., dict[str, Any]], tmp_path: Path
):
    trajectory = stored(results, tmp_path, {0: frame(0.1), 100: frame(0.3), 200: frame(0.8)})
    plan = AnalysisPlan(what=["tellurium", "grains"], min_grain=20)
    part = analyse_trajectory(results, trajectory, plan, time_is_up=lambda: True)
    assert part.left and [row["step"] for row in part.table()] == [0]
    told = run(AnalyseMaker(plan=plan, processes=1).make_runs(["run"]))
    assert told["analyse 1"] == {"trajectory_id": "run", "frames": 3, "problems": 0}
    once = results.get(Trajectory, "run")
    assert [len(each.rows) for each in series_of(once)] == [3, 3]
    run(AnalyseMaker(plan=plan, processes=2).make("run"))
    assert results.get(Trajectory, "run") == once


@pytest.mark.mongo
def test_structures_of_the_database_are_a_study_with_a_row_each(gst: Gst, project: Project):
    results = Results.open(project)
    documents = [structure_document(frame(stdev), "crystal") for stdev in (0.1, 0.8)]
    results.add_many(documents)
    code, told, err = gst("-w", "config_type=crystal", "--what", "tellurium")
    assert code == 0, err
    study = results.get(Study, told[0]["id"])
    assert study.state == "finished" and study.table == told[0]["rows"]
    assert {row["frame"]: row["crystalline_fraction"] > 0.5 for row in study.table} == {
        documents[0].id: True, documents[1].id: False,
    }  # fmt: skip
    assert gst("-w", "config_type=crystal", "--what", "tellurium")[1] == told
    assert results.get(Study, study.id) == study


@pytest.mark.mongo
def test_growth_is_followed_through_the_frames(gst: Gst, project: Project, tmp_path: Path):
    results = Results.open(project)
    half = frame(0.1)
    noise = np.random.default_rng(0).normal(0, 1.0, (len(half), 3))
    half.positions[half.positions[:, 2] > 9.0] += noise[half.positions[:, 2] > 9.0]
    half.wrap()
    stored(results, tmp_path, {0: half, 100: frame(0.1)})
    code, told, err = gst("run", "--what", "growth", "--min-grain", "20")
    assert code == 0, err
    rows = told[0]["rows"]
    assert rows[0]["new_atoms"] == 0
    assert rows[1]["growth_share"] == 1.0
    assert rows[1]["grown_atoms"] == rows[1]["new_atoms"] > 0.3 * len(half)


@pytest.mark.mongo
def test_an_unknown_source_is_refused(gst: Gst):
    code, _, err = gst("nothing")
    assert code == 1
    assert "'nothing' is not a file, and no trajectory or cycle 'nothing'" in err


def test_errors_count_correlated_frames_once():
    rng = np.random.default_rng(0)
    # each value five times: a fifth of the frames is independent
    values = np.repeat(rng.normal(2.0, 1.0, 400), 5)
    rows = {n: {"step": n, "a": float(v), "b": None, "c": 1.0} for n, v in enumerate(values)}
    found = summary(Series("x", {}, rows))
    assert found["a"]["mean"] == pytest.approx(2.0, abs=0.15)
    assert found["a"]["error"] == pytest.approx(1 / np.sqrt(400), rel=0.25)
    assert found["c"] == {"mean": 1.0, "error": None}
    assert "b" not in found and "step" not in found
