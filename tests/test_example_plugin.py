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
from gst_jobflow.documents import Label, Potential, Study, Trajectory
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

    def run(*words: object, program: str = "gst", code: int = 0, alone: bool = False) -> str:
        environment = {**os.environ, "PYTHONPATH": "" if alone else str(target), "GST_PROJECT": str(project.root)}
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


@pytest.mark.lammps
def test_a_kind_of_potentials_of_the_plugin_is_fitted_evaluated_and_run(gst, project: Project, tmp_path: Path) -> None:
    def launch() -> None:
        gst("-c", project.fw_configs_dir, "rapidfire", program="rlaunch")

    gst("structures", "hard-sphere", "Sb2Te3", "--atoms", 20, "-N", 12, "--min-distance", 2.6)
    gst("submit", "label", "--backend", "morse", "--option", "well_eV=0.2", "-w", "config_type=hard_sphere")
    launch()
    gst("dataset", "create", "pairs", "--reference-energies", "Sb=0,Te=0", "--test-fraction", 0.25)
    assert "cutoff_A: 7.0" in gst("submit", "fit", "pairs", "--model", "morse", "--show-config")
    assert "--upfit: for ACE fits only" in gst("submit", "fit", "pairs", "--model", "morse", "--upfit", 0.1, code=1)
    gst("submit", "fit", "pairs", "--model", "morse", "--name", "pairs", "--option", "cutoff_A=7.5")
    launch()
    results = Results.open(project)
    potential = next(results.find(Potential, {"name": "pairs"}))
    assert (potential.kind, potential.n_functions, potential.n_parameters, potential.cutoff_A) == ("morse", 3, 9, 7.5)
    assert potential.lammps_check.state == "passed" and potential.lammps_check.styles == ["morse 7.5"]
    assert potential.speed.pair_style == "morse 7.5" and potential.versions["gst-example"] == "0.1.0"
    # the labels' own wells come back, but for their smooth end
    (file,) = potential.artifacts.other
    fitted = json.loads(results.artifacts.path(file).read_text())
    for depth, steepness, bond in fitted["parameters"]:
        assert (depth, steepness, bond) == pytest.approx((0.2, 5 / 2.9, 2.9), rel=0.1)

    said = gst("evaluate", "pairs", "--json", "-o", tmp_path / "errors.html")
    row = json.JSONDecoder().raw_decode(said)[0]["rows"][0]
    assert row["force_rmse_meV_per_A"] == pytest.approx(potential.rmse["test"].force_meV_per_A, rel=1e-6)
    assert row["timed_by"] == "LAMMPS" and row["us_per_atom_step"] > 0
    gst("submit", "melt-quench", "Sb2Te3", "--potential", "pairs", "--atoms", 30, "--melt-ps", 0.2, "--quench-ps", 0.2)
    gst("submit", "robustness", "pairs", "--compositions", "Sb2Te3", "--runs", 2, "--atoms", 40, "--duration-ps", 0.5)
    launch()
    (quenched,) = results.find(Trajectory, {"protocol": "melt_quench", "name": {"$not": {"$regex": "^robustness"}}})
    assert quenched.state == "finished" and quenched.potential_id == potential.id
    (study,) = results.find(Study, {"kind": "robustness"})
    assert study.table[0]["runs"] == 2 and "error" not in study.table[0]["outcomes"]
    _what_only_ace_has_is_refused_with_a_way_out(gst, tmp_path)
    _is_shown_and_exported_but_not_run_without_the_package(gst, tmp_path)


def _what_only_ace_has_is_refused_with_a_way_out(gst, tmp_path: Path) -> None:
    cell = {"kind": "mushroom", "formula": "Sb2Te3", "repeat": [12, 4, 12], "barrier_thickness_A": 12}
    hold = {"kind": "HOLD", "temperature_K": 300, "duration_ps": 4, "output": {"gamma_every": 100}}
    (tmp_path / "graded.yaml").write_text(yaml.safe_dump({"cell": cell, "operations": [hold]}))
    (tmp_path / "halt.yaml").write_text("halt_gamma: 30\ncompositions: [Sb2Te3]\n")
    graded = "pairs is morse: only ACE has active sets"
    for words, why, fix in (
        (
            ("submit", "cycle", "mushroom", "--potential", "pairs", "--programme", "graded.yaml"),
            graded,
            "--no-gamma",
        ),
        (("structures", "gamma", "--potential", "pairs", "-w", "n_atoms=20"), graded, "structures sample"),
        (("structures", "select", "--gamma", "2:25", "--potential", "pairs", "-w", "n_atoms=20"), graded, "sample"),
        (("submit", "robustness", "pairs", "--config", "halt.yaml"), graded, "leave halt_gamma out"),
        (("submit", "fit", "pairs", "--model", "morse", "--ensemble", 3), "--ensemble: for ACE fits only", "seed=2"),
        (("submit", "fit", "pairs", "--parent", "pairs", "--upfit", 0.1), "is morse, not ACE", "from an ACE potential"),
    ):
        said = gst(*words, code=1)
        assert why in said and fix in said and "Traceback" not in said, said


def _is_shown_and_exported_but_not_run_without_the_package(gst, tmp_path: Path) -> None:
    gst("export", "potential", "pairs", "-o", "with")
    assert (
        "pair_style morse 7.5\npair_modify shift yes\npair_coeff 1 1 " in (tmp_path / "with" / "README.md").read_text()
    )
    gst("report", "potential", "pairs", "-o", "pairs.html", alone=True)
    assert "MORSE" in (tmp_path / "pairs.html").read_text()
    gst("export", "potential", "pairs", "-o", "without", alone=True)
    assert "fit engine morse runs it" in (tmp_path / "without" / "README.md").read_text()
    assert (tmp_path / "without" / "morse.json").is_file()
    for words in (
        ("evaluate", "pairs"),
        ("submit", "melt-quench", "Sb2Te3", "--potential", "pairs", "--atoms", 30),
        ("submit", "fit", "pairs", "--model", "morse"),
    ):
        said = gst(*words, alone=True, code=1)
        assert "no installed package knows potentials of the kind morse" in said or "no model 'morse'" in said


def test_choices_and_help_name_the_plugin(gst) -> None:
    assert "morse" in gst("submit", "fit", "--help")
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
    assert "fit engines: morse (gst-example)" in checks["plugins"]["found"]
