"""`gst submit scaling`: what it submits, its plan as YAML, and wrong input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.main import app
from gst_jobflow.documents import Cost, Trajectory
from gst_jobflow.evaluation.scaling import ScalingPlan
from gst_jobflow.flows.estimate import estimate
from gst_jobflow.flows.scaling import ScalingMaker
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst
from tests.cli.test_submit_robustness import potential

__all__ = ["potential"]
pytestmark = pytest.mark.mongo
SCALING = ("submit", "scaling")


def test_shown_plan_is_read_back_unchanged(project: Project) -> None:
    said = CliRunner().invoke(app, [*SCALING, "strong", "--atoms", "2000", "--ranks", "1,2", "--show-config"])
    assert said.exit_code == 0
    assert ScalingPlan(**yaml.safe_load(said.output)) == ScalingPlan(mode="strong", n_atoms=[2000], ranks=[1, 2])


def test_jobs_of_one_machine_run_one_after_the_other(
    project: Project, potential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GST_CORES", "4")
    gst(project, *SCALING, "strong", "st", "--atoms", "2000", "--composition", "Sb2Te3", "--ranks", "1,2,4")
    database = connect(project)
    names = {each["fw_id"]: each["name"] for each in database["fireworks"].find({})}
    links = database["workflows"].find_one({})["links"]
    after = {names[int(one)]: {names[other] for other in others} for one, others in links.items()}
    assert after["scaling 1 rank"] == {"scaling 2 ranks", "collect"}
    assert after["scaling 2 ranks"] == {"scaling 4 ranks", "collect"}


@pytest.mark.lammps
def test_pair_styles_of_a_file_need_no_potential(project: Project, tmp_path: Path) -> None:
    lines = ["pair_style lj/cut 5.0", "pair_coeff * * 0.01 2.6"]
    plan = {"n_atoms": [500, 1000], "ranks": [1], "composition": "Te",
            "pair_styles": [{"name": "lj", "elements": ["Te"], "lines": lines}]}  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    gst(project, *SCALING, "size", "--config", str(tmp_path / "plan.yaml"))
    assert connect(project)["fireworks"].count_documents({}) == 2


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("profile", "lines", "said"),
    [
        ("laptop", ["pair_style sw", "pair_coeff * * /nowhere/Te.sw Te"], "/nowhere/Te.sw"),
        ("laptop", ["pair_style sw", "pair_coeff * * Te.sw Te"], "Te.sw"),
        ("laptop", ["pair_style lj/cut 5.0", "pair_coeff * * 0.01"], "Incorrect args"),
        ("slurm", ["pair_style quip", "pair_coeff * * '/no where/gap.xml' xml_label=A 52 # ours"], "/no where/gap.xml"),
    ],
)
def test_lines_that_lammps_would_refuse_in_the_job_are_refused_now(
    project: Project, tmp_path: Path, profile: str, lines: list[str], said: str
) -> None:
    style = {"name": "mine", "elements": ["Te"], "lines": lines}
    layout: dict[str, Any] = {"ranks": [1]} if profile == "laptop" else {"nodes": [1], "ranks_per_node": 4}
    plan = {"n_atoms": [500, 1000], "composition": "Te", "pair_styles": [style], **layout}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    words = ["--set", f"profile={profile}", *SCALING, "size", "--config", str(tmp_path / "plan.yaml")]
    error = CliRunner().invoke(app, ["--project", str(project.root), *words]).exception
    assert isinstance(error, InputError) and "pair style mine" in error.message and said in error.message, error
    assert connect(project)["fireworks"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("strnog", "st", "--atoms", "9"), "did you mean 'strong'"),
        (("size", "st"), "how many atoms"),
        (("size", "st", "--atoms", "1000,many"), "not positive whole numbers"),
        (("size", "st", "--atoms", "1000"), "one point is no curve"),
        (("strong", "st", "--atoms", "1000", "--ranks", "1"), "one point is no curve"),
        (("size", "st", "--atoms", "1000,2000"), "has no Ge"),
        (("size", "--atoms", "1000,2000"), "which potentials"),
        (("size", "none", "--atoms", "1000,2000"), "none"),
        (("size", "st", "--atoms", "1000,2000", "--composition", "Xx"), "Xx"),
        (
            ("strong", "st", "--atoms", "1000", "--composition", "Sb2Te3", "--ranks", f"1,{cores() + 1}"),
            "more than the",
        ),
        (
            ("weak", "st", "--atoms", "1000", "--composition", "Sb2Te3", "--nodes", "1,2", "--ranks-per-node", "4"),
            "no queue and so no nodes",
        ),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_submitted(
    project: Project, potential: str, arguments: tuple[str, ...], said: str
) -> None:
    refused = CliRunner().invoke(app, ["--project", str(project.root), *SCALING, *arguments])
    error = refused.exception
    assert isinstance(error, InputError) and said in f"{error.message} {error.fix}", error
    assert connect(project)["fireworks"].count_documents({}) == 0


def test_the_estimate_follows_the_speed_of_earlier_runs(
    project: Project, potential: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GST_CORES", "2")
    plan = ScalingPlan(mode="size", n_atoms=[1000, 100_000], ranks=[2], repeats=3, seconds=4.0, composition="Sb2Te3")
    flow = ScalingMaker(plan=plan).make([potential])
    (unknown,) = [cost for cost in estimate(flow, project) if cost.name.startswith("scaling")]
    assert unknown.wall_h is not None and unknown.wall_h == pytest.approx(2 * 3 * 4.0 / 3600)
    assert unknown.core_hours == pytest.approx(2 * unknown.wall_h)
    run = Trajectory(
        _id="t" * 32, name="anneal", protocol="anneal", potential_id=potential, start_structure_id="s", formula="Te",
        n_atoms=100, groups={"mobile": 100}, timestep_fs=2, n_steps=10, duration_ps=0.02, state="finished", seed=1,
        stages=[], n_frames=0, us_per_atom_step=50.0, cost=Cost.of(1.0, 4),
    )  # fmt: skip
    Results.open(project).add(run)
    (known,) = [cost for cost in estimate(flow, project) if cost.name.startswith("scaling")]
    # seven steps of the large cell at 200 core µs take longer than the plan aims at
    assert known.wall_h == pytest.approx(3 * (4.0 + 7 * 100_000 * 200e-6 / 2) / 3600)
