"""Projects about another material than Ge-Sb-Te: what commands make by default, and what they refuse."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.lj import LennardJones
from ase.io import read
from typer.testing import CliRunner, Result

from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.common import set_global_options
from gst_jobflow.cli.main import app
from gst_jobflow.datasets import LabelledStructure
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.fitting.config import FitConfig, FunctionsConfig, RadialConfig
from gst_jobflow.fitting.parse import evaluate_directory
from gst_jobflow.fitting.run import run_fit
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.launch import doctor
from gst_jobflow.selection.random_search import RandomSearchPlan, draw_cells
from gst_jobflow.structures.lammps_data import read_data
from gst_jobflow.structures.material import material_of, shipped_material
from tests.fitting.conftest import tiny_config
from tests.structures.test_material import SELENIDE


def gst(*arguments: object) -> Result:
    set_global_options(project=None, overrides={})
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


def project_about(folder: Path, material: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    done = gst("init", folder, "--material", material)
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(folder)
    return folder


def test_a_material_file_is_copied_into_the_project(tmp_path: Path) -> None:
    file = tmp_path / "selenide.yml"
    file.write_text(yaml.safe_dump(SELENIDE))
    assert gst("init", tmp_path / "p", "--material", file).exit_code == 0
    file.unlink()
    assert material_of(Project(tmp_path / "p")).elements == ("Bi", "Se")
    again = gst("init", tmp_path / "p", "--force", "--material", "sb-te")
    assert again.exit_code == 1 and "this project is about bi-se" in str(again.exception)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**SELENIDE, "anion": "Te"}, "anion Te"),
        (None, "no material or file"),
        ([], "not a mapping"),
        ({**SELENIDE, "labels": {"vaps": {"ispin": 2}}}, "no label backend 'vaps' (did you mean 'vasp'?)"),
        ({**SELENIDE, "labels": {"vasp": {"isspin": 2}}}, "did you mean 'ispin'"),
        ({**SELENIDE, "programmes": {"mushroom": {"cell": 3}}}, "material: programmes.mushroom: "),
        ({**SELENIDE, "programmes": {"own": {"operations": [{"kind": "RESTE"}]}}}, "material: programmes.own: "),
    ],
)
def test_a_bad_material_leaves_no_project_behind(tmp_path: Path, content: object, said: str) -> None:
    if content is not None:
        (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    done = gst("init", tmp_path / "p", "--material", tmp_path / "m.yaml")
    assert done.exit_code == 1 and said in str(done.exception)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"labels": {"vaps": {"ispin": 2}}}, "material", "material: labels: no label backend 'vaps'"),
        ({"labels": {"vasp": {"isspin": 2}}}, "material", "unknown key 'isspin'"),
        ({"programmes": {"own": {"operations": []}}}, "programmes", "material: programmes.own: operations: "),
    ],
)
def test_doctor_names_settings_and_programmes_that_cannot_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], check: str, said: str
) -> None:
    (tmp_path / "gst.yaml").write_text(yaml.safe_dump({"material": {**SELENIDE, **changes}}))
    monkeypatch.setattr(doctor, "TABLE", [entry for entry in doctor.TABLE if entry.name == "material"])
    monkeypatch.chdir(tmp_path)
    done = gst("doctor", "--json")
    (found,) = [each for each in json.loads(done.stdout)["checks"] if each["name"] == check]
    assert done.exit_code == 1 and not found["ok"] and found["required"] and said in found["found"]


def test_the_demo_is_the_next_step_of_a_project_about_ge_sb_te_only(tmp_path: Path) -> None:
    of_gst, of_antimony = gst("init", tmp_path / "gst"), gst("init", tmp_path / "p", "--material", "sb-te")
    assert "gst db up" in of_gst.output and "gst demo" in of_gst.output
    assert "gst db up" in of_antimony.output and "gst demo" not in of_antimony.output


@pytest.mark.parametrize(
    "words",
    [
        ("structures", "crystal"),
        ("structures", "hard-sphere"),
        *(("submit", name) for name in ("aimd", "melt-quench", "random-search", "robustness")),
    ],
)
def test_help_says_that_formulas_are_of_the_material_and_its_examples_of_ge_sb_te(words: tuple[str, ...]) -> None:
    shown = " ".join(gst(*words, "--help").output.split()).replace("- ", "-")
    assert re.search(r"of the material.*for Ge-Sb-Te: \w", shown)


def test_settings_may_hold_the_material_itself(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text(yaml.safe_dump({"material": SELENIDE}))
    assert material_of(Project(tmp_path)).name == "bi-se"


def test_commands_take_the_materials_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project_about(tmp_path / "p", "cr-sb-te", monkeypatch)
    plan = gst("submit", "robustness", "--show-config")
    assert RobustnessPlan(**yaml.safe_load(plan.output)) == RobustnessPlan(material="cr-sb-te")
    assert yaml.safe_load(gst("submit", "fit", "--show-config").output)["elements"] == ["Cr", "Sb", "Te"]
    refused = gst("structures", "crystal", "rocksalt", "Ge2Sb2Te5", "-o", "x.xyz")
    assert "Ge2Sb2Te5 has Ge, and cr-sb-te is of Cr, Sb, Te" in str(refused.exception)
    refused = gst("submit", "cycle", "cross-point", "--potential", "x")
    assert "programmes of cr-sb-te: mushroom" in str(refused.exception)
    refused = gst("submit", "iterate", "gst-ace-24")
    assert "has Ge" in str(refused.exception)
    vasp = backend_of("vasp", Project(Path.cwd()))
    assert vasp.settings.potcars == {"Cr": "Cr_pv", "Sb": "Sb", "Te": "Te"} and vasp.settings.ispin == 2


def test_random_structures_and_a_device_of_doped_sb2te3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project_about(tmp_path / "p", "cr-sb-te", monkeypatch)
    made = gst("structures", "hard-sphere", "Cr4Sb32Te48", "--atoms", 84, "-o", "random.xyz", "--min-distance", 2.4)
    assert made.exit_code == 0, made.output
    random = read("random.xyz")
    assert Counter(random.get_chemical_symbols()) == {"Cr": 4, "Sb": 32, "Te": 48}
    made = gst("structures", "device", "mushroom", "--repeat", "8x5x8", "--barrier-thickness", 12,
               "--barrier", "hard-sphere", "-o", "cell.data")  # fmt: skip
    assert made.exit_code == 0, made.output
    cell = read_data(Path("cell.data"), ["Cr", "Sb", "Te"])
    counts = Counter(cell.get_chemical_symbols())
    assert counts["Te"] == 4 * 8 * 5 * 8 and counts["Sb"] == pytest.approx(8 * counts["Cr"], rel=0.02)


@pytest.mark.parametrize("phase", ["rocksalt", "trigonal"])
def test_crystal_like_atoms_of_another_anion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    pytest.importorskip("ovito")
    trigonal = {"Bi2Se3": {**shipped_material("sb-te").trigonal["Sb2Te3"].model_dump(), "a_A": 4.14, "c_A": 28.64,
                           "sites": [["Bi", [0, 0, 0.399]], ["Se", [0, 0, 0]], ["Se", [0, 0, 0.206]]]}}  # fmt: skip
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({**SELENIDE, "trigonal": trigonal}))
    project_about(tmp_path / "p", tmp_path / "m.yaml", monkeypatch)
    repeat = "4x4x4" if phase == "rocksalt" else "5x3x1"
    assert gst("structures", "crystal", phase, "Bi2Se3", "--repeat", repeat, "-o", "crystal.xyz").exit_code == 0
    glass = ("structures", "hard-sphere", "Bi2Se3", "--atoms", 500, "--min-distance", 2.4, "-o", "glass.xyz")
    assert gst(*glass).exit_code == 0
    shares = []
    for file in ("crystal.xyz", "glass.xyz"):
        done = gst("analyse", file, "--json")
        assert done.exit_code == 0, done.output
        shares.append(yaml.safe_load(done.stdout)[0]["rows"][0]["crystalline_fraction"])
    assert shares[0] > 0.95 and shares[1] < 0.05


@pytest.mark.pacemaker
def test_a_linear_potential_of_three_other_elements(tmp_path: Path) -> None:
    plan = RandomSearchPlan(material="cr-sb-te", cells=30, n_atoms=(8, 10), min_distance_A=(2.4, 2.5), seed=3)
    labels = []
    for number, cell in enumerate(draw_cells(plan)):
        cell.atoms.calc = LennardJones(sigma=2.5, epsilon=0.2, rc=5.0, smooth=True)
        energy, forces = cell.atoms.get_potential_energy(), cell.atoms.get_forces()
        labels.append(LabelledStructure(cell.atoms.copy(), energy, forces, str(number), "rss", 1.0))
    functions = FunctionsConfig(number_of_functions_per_element=12, nradmax_by_orders=(4, 2), lmax_by_orders=(0, 1))
    config = FitConfig.linear(material_elements := shipped_material("cr-sb-te").elements).model_copy(
        update={"functions": functions, "radial": RadialConfig(rcut_A=5.0), "backend": tiny_config(1, 1).backend}
    )
    zero = dict.fromkeys(material_elements, 0.0)
    fitted = run_fit(PacemakerRunner.discover(), config, labels[:25], labels[25:], zero, tmp_path)
    assert read_yace_elements(fitted.yace) == {"Cr", "Sb", "Te"}
    train = evaluate_directory(tmp_path).rmse["train"]
    forces = np.concatenate([label.forces_eV_A.ravel() for label in labels[:25]])
    assert train.force_meV_per_A < 500 * float(np.sqrt((forces**2).mean()))


def read_yace_elements(file: Path) -> set[str]:
    listed = re.search(r"elements: \[(.*?)\]", file.read_text())
    return set(listed[1].split(", ")) if listed else set()
