"""The package in examples/plugin, installed into a folder of its own, works without a change to ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Label
from gst_jobflow.store import Results

pytestmark = pytest.mark.mongo
ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as pip installs it, without network."""
    folder = tmp_path_factory.mktemp("plugin")
    # pip leaves build/ in the source
    source = shutil.copytree(ROOT / "examples" / "plugin", folder / "source")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(folder / "target"), str(source)], check=True)
    return folder / "target"


@pytest.fixture
def gst(target: Path, project: Project, tmp_path: Path):
    """`gst(*words)` runs a program beside the example and returns its output."""

    def run(*words: object, program: str = "gst", code: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(target), "GST_PROJECT": str(project.root)}
        done = subprocess.run(
            [PROGRAMS / program, *map(str, words)], env=environment, cwd=tmp_path, capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_labels_analysis_and_figure_of_the_plugin(gst, project: Project, tmp_path: Path) -> None:
    gst("structures", "hard-sphere", "Sb2Te3", "--atoms", 20, "-N", 2, "--min-distance", 2.6)
    gst("submit", "label", "--backend", "morse", "--option", "well_eV=0.2", "-w", "config_type=hard_sphere")
    gst("-c", project.fw_configs_dir, "rapidfire", program="rlaunch")
    labels = list(Results.open(project).find(Label, {}))
    assert len(labels) == 2 and all(label.state == "converged" and label.method["code"] == "morse" for label in labels)
    assert all(label.method["parameters"]["well_eV"] == 0.2 for label in labels)

    rows = json.loads(gst("analyse", "-w", "config_type=hard_sphere", "--what", "coordination", "--json"))
    assert all(row.keys() == {"frame", "coordination_mean"} for row in rows[0]["rows"]) and len(rows[0]["rows"]) == 2
    gst("figure", "coordination", "-o", "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000 and (tmp_path / "picture.csv").is_file()
    assert "Neighbours within 3.2" in gst("figure")


def test_choices_and_help_name_the_plugin(gst) -> None:
    assert "coordination" in gst("analyse", "--help")
    assert "pillar" in gst("submit", "cycle", "--help")
    assert "cloud" in gst("init", "--help")
    assert "did you mean 'morse'" in gst("submit", "label", "--backend", "mors", "-w", "config_type=crystal", code=1)


def test_a_cell_of_the_plugin_in_a_programme(gst, tmp_path: Path) -> None:
    operations = [{"kind": "HOLD", "temperature_K": 300, "duration_ps": 4}]
    plan = {"cell": {"kind": "pillar", "repeat": [3, 3, 4], "barrier_thickness_A": 12}, "operations": operations}
    (tmp_path / "pillar.yaml").write_text(yaml.safe_dump(plan))
    words = ("submit", "cycle", "pillar", "--potential", "x", "--programme", "pillar.yaml")
    assert "is no pillar" in gst(*words, code=1)
    plan["cell"]["repeat"] = [3, 3, 8]
    (tmp_path / "pillar.yaml").write_text(yaml.safe_dump(plan))
    assert "no potentials" in (said := gst(*words, code=1)) or "'x'" in said


def test_a_cluster_profile_of_the_plugin(gst, tmp_path: Path) -> None:
    gst("init", "new", "--profile", "cloud")
    project = tmp_path / "new"
    assert "_fw_q_type: SLURM" in (project / "fw_configs" / "my_qadapter.yaml").read_text()
    assert yaml.safe_load((project / "fw_configs" / "qadapter_labels.yaml").read_text())["ntasks"] == 2
    listed = gst("--project", project, "doctor", "--json", code=1)
    checks = {each["name"]: each for each in json.loads(listed[listed.index("{") :])["checks"]}
    assert "label backends: morse (gst-example)" in checks["plugins"]["found"] and "slurm" in checks
