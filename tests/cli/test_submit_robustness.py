"""`gst submit robustness`: what it submits, its plan as YAML, and wrong input in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.main import app
from gst_jobflow.documents import ArtifactRef, Potential, PotentialArtifacts
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst

pytestmark = pytest.mark.mongo
ROBUSTNESS = ("submit", "robustness")


@pytest.fixture
def potential(project: Project) -> str:
    ref = ArtifactRef(sha256="0" * 64, size_bytes=1, name="a.yace")
    Results.open(project).add(
        Potential(
            _id="8" * 32, name="st", elements=["Sb", "Te"], n_densities=1, n_functions=4, cutoff_A=5.0,
            artifacts=PotentialArtifacts(yace=ref),
        )
    )  # fmt: skip
    return "8" * 32


def test_shown_plan_is_read_back_unchanged(project: Project, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, [*ROBUSTNESS, "--atoms", "200", "--compositions", "GeTe,Sb2Te3", "--show-config"])
    assert said.exit_code == 0
    assert RobustnessPlan(**yaml.safe_load(said.output)) == RobustnessPlan(n_atoms=200, compositions=["GeTe", "Sb2Te3"])


def test_runs_of_several_potentials_share_a_few_jobs(project: Project, potential: str) -> None:
    gst(project, *ROBUSTNESS, "st", "--compositions", "Sb2Te3,Sb4Te5", "--runs", "3", "--jobs", "2")
    jobs = [each["spec"]["_tasks"][0]["job"] for each in connect(project)["fireworks"].find({})]
    parts = [job["function_args"][2] for job in jobs if job["name"].startswith("robustness")]
    assert sorted(parts) == [[0, 2], [1, 2]] and len(jobs) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which potentials"),
        (("st",), "has no Ge"),
        (("st", "--compositions", "Sb2Te3,Sb2Te3"), "given twice"),
        (("st", "--compositions", "Sb2Te3", "--duration-ps", "0.0005"), "whole number of steps"),
        (("none",), "none"),
        (("st", "--compositions", "Sb2Te3", "--runs", "0"), "greater than or equal to 1"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_submitted(
    project: Project, potential: str, arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        gst(project, *ROBUSTNESS, *arguments)
    assert connect(project)["fireworks"].count_documents({}) == 0
