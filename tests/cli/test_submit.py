"""`gst submit`: what it would cost, a budget, and how many jobs a study is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ase.build import bulk
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.cli.main import app
from gst_jobflow.documents import ArtifactRef, Dataset, Potential
from gst_jobflow.documents.potential import PotentialArtifacts
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.launch import workflow
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst
from tests.datasets.conftest import add_labels, number_id
from tests.documents.test_documents import structure
from tests.fitting.stored import teacher_dataset
from tests.flows.test_estimate import add_run

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
MELT = ("submit", "melt-quench", "GeTe", "--potential", "p", "--atoms", "1000")


@pytest.fixture
def potential(project: Project) -> None:
    file = ArtifactRef(sha256="0" * 64, size_bytes=0, name="potential.yaml")
    files = PotentialArtifacts(yaml=file, yace=file)
    made = Potential(
        _id="p", name="p", elements=["Ge", "Te"], n_densities=1, n_functions=1, cutoff_A=5.0, artifacts=files
    )
    Results.open(project).add(made)


def fireworks(project: Project) -> int:
    return connect(project)["fireworks"].count_documents({})


def test_an_estimate_submits_nothing(project: Project, potential: None) -> None:
    assert "unknown" in gst(project, *MELT, "--estimate")
    add_run(Results.open(project), "a")
    said = gst(project, *MELT, "--estimate")
    # 1,000 atoms, 15,000 steps, 200 core µs
    assert "0.833" in said and "1 run of this potential" in said and "total" in said
    assert fireworks(project) == 0


@pytest.mark.parametrize("command", [("fit", "--name", "one"), ("hyperopt", "--preset", "xpot-gst")])
def test_fits_are_estimated_and_keep_the_budget(project: Project, monkeypatch: Any, command: tuple[str, ...]) -> None:
    dataset = teacher_dataset(Results.open(project))
    words = ("submit", command[0], dataset.id, *command[1:])
    said = gst(project, *words, "--estimate")
    assert "unknown" in said and "no CPU fit by pacemaker" in said
    monkeypatch.setenv("GST_LAUNCH__BUDGET_CORE_HOURS", "0.5")
    refused = CliRunner().invoke(app, ["--project", str(project.root), *words]).exception
    assert isinstance(refused, InputError) and "there is a budget" in refused.message
    database = connect(project)
    assert fireworks(project) == database["studies"].count_documents({}) == 0, "nothing is stored"
    gst(project, *words, "--yes")
    assert fireworks(project) == (33 if command[0] == "hyperopt" else 1)


def test_labels_by_vasp_need_its_command_and_potcars_where_they_run(
    project: Project, monkeypatch: Any, tmp_path: Path
) -> None:
    """Else each structure would get a failed label, or its job would fail."""
    from pymatgen.io.vasp import inputs

    Results.open(project).add(structure_document(bulk("Te", "sc", a=3.2), "crystal"))
    words = ("submit", "label", "--backend", "vasp", "-w", "config_type=crystal")
    sets = tmp_path / "POT_PAW_PBE_54"
    sets.mkdir()
    monkeypatch.setitem(inputs.SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    monkeypatch.setitem(inputs.PotcarSingle.functional_dir, "PBE_54", sets.name)
    for command, said in (("no-such-vasp", "no program 'no-such-vasp'"), ("/bin/true", "no POTCAR of Te")):
        monkeypatch.setenv("GST_VASP__COMMAND", command)
        refused = CliRunner().invoke(app, ["-p", str(project.root), *words]).exception
        assert isinstance(refused, MissingProgramError) and said in refused.message
        assert fireworks(project) == 0
    (sets / "POTCAR.Te").write_text("stand-in")
    gst(project, *words)
    assert fireworks(project) == 1


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("LAMMPS__COMMAND", "lpm", "LAMMPS command 'lpm': no program 'lpm'"),
        ("LAMMPS__COMMAND", __file__, "is not executable"),
        ("LAMMPS__COMMAND", "/bin/true", "no LAMMPS with pair styles pace"),
        ("LAMMPS__MPI_COMMAND", "mpirnu -np {ranks}", "no program 'mpirnu'"),
        ("LAMMPS__MPI_COMMAND", "mpirun -np '{ranks}", "no closing quotation"),
    ],
)
def test_dynamics_need_lammps_where_they_run(
    project: Project, potential: None, monkeypatch: Any, setting: str, value: str, said: str
) -> None:
    """Else a wrong setting is found only inside the job."""
    monkeypatch.setenv("GST_LAMMPS__RANKS", "2")
    monkeypatch.setenv(f"GST_{setting}", value)
    refused = CliRunner().invoke(app, ["-p", str(project.root), *MELT]).exception
    assert isinstance(refused, MissingProgramError) and said in refused.message
    assert f"correct lammps.{setting.partition('__')[2].lower()}" in refused.fix or "pair styles" in said
    melts = ("submit", "robustness", "p", "--compositions", "GeTe", "--runs", "1")
    done = CliRunner().invoke(app, ["-p", str(project.root), *melts])
    runs_on_one_rank = "MPI" in setting
    assert (done.exception is None) == runs_on_one_rank and fireworks(project) == 2 * runs_on_one_rank, done.output
    gst(project, *MELT, "--estimate")


def test_dynamics_for_a_queue_need_no_lammps_here(project: Project, potential: None, monkeypatch: Any) -> None:
    """The nodes of a cluster may have what its login node lacks."""
    monkeypatch.setenv("GST_LAMMPS__COMMAND", "/only/on/the/nodes/lmp")
    monkeypatch.setenv("GST_PROFILE", "slurm")
    gst(project, *MELT)
    assert fireworks(project) == 1


def test_fits_need_pacemaker_where_they_run(project: Project, monkeypatch: Any, tmp_path: Path) -> None:
    dataset = teacher_dataset(Results.open(project))
    monkeypatch.setenv("GST_PACEMAKER__BIN_DIR", str(tmp_path))
    search = ("hyperopt", dataset.id, "--preset", "xpot-gst")
    for words in (("fit", dataset.id), search):
        refused = CliRunner().invoke(app, ["-p", str(project.root), "submit", *words]).exception
        assert isinstance(refused, MissingProgramError) and "pacemaker.bin_dir" in refused.fix
    # without LAMMPS the fit would be stored unchecked
    words = ("--set", "lammps.command=lpm", "submit", "fit", dataset.id)
    refused = CliRunner().invoke(app, ["-p", str(project.root), *words]).exception
    assert isinstance(refused, MissingProgramError) and "lammps.command" in refused.fix
    assert fireworks(project) == connect(project)["studies"].count_documents({}) == 0


def test_flow_above_the_budget_needs_yes(project: Project, potential: None, monkeypatch: Any) -> None:
    monkeypatch.setenv("GST_LAUNCH__BUDGET_CORE_HOURS", "0.5")
    with pytest.raises(InputError, match="is unknown"):
        gst(project, *MELT)
    add_run(Results.open(project), "a")
    with pytest.raises(InputError, match=r"the budget is 0\.5"):
        gst(project, *MELT)
    assert fireworks(project) == 0
    gst(project, *MELT, "--yes")
    assert fireworks(project) == 1
    monkeypatch.setenv("GST_LAUNCH__BUDGET_CORE_HOURS", "5")
    gst(project, *MELT)
    assert fireworks(project) == 2


def test_structures_are_distributed_in_chunks_of_twenty_and_short_labels_in_larger_ones(project: Project) -> None:
    Results.open(project).add_many([structure(_id=number_id(number)) for number in range(45)])
    calculator = ("--option", "calculator=ase.calculators.lj:LennardJones")
    gst(project, "submit", "label", "--backend", "ase", *calculator)
    assert fireworks(project) == 3
    gst(project, "submit", "label", "--backend", "tblite")
    assert fireworks(project) == 4


def test_labels_that_failed_before_are_counted_as_skipped(project: Project) -> None:
    results = Results.open(project)
    fingerprint = backend_of("tblite", project, {}).method().fingerprint()
    add_labels(results, 2, fingerprint=fingerprint, state="failed", failure_class="not_converged", reason="60 cycles")
    add_labels(results, 1, fingerprint=fingerprint, start=2)
    command = ["-p", str(project.root), "submit", "label", "--backend", "tblite"]
    said = CliRunner().invoke(app, command).output
    assert "3 structures" in said and "2 failed before and are skipped (--retry-failed" in said
    assert "skipped" not in CliRunner().invoke(app, [*command, "--retry-failed"]).output


def test_an_impossible_melt_is_not_submitted(project: Project, potential: None) -> None:
    with pytest.raises(InputError, match="cannot have exactly"):
        gst(project, "submit", *MELT[1:-2], "--atoms", "15")
    assert fireworks(project) == 0


def test_fit_in_stages_is_a_job_a_stage(project: Project, tmp_path: Path) -> None:
    dataset = teacher_dataset(Results.open(project), number=12)
    gst(project, "submit", "fit", dataset.id[:8], "--solver", "linear", "--name", "quick")
    assert fireworks(project) == 1
    gst(project, "submit", "fit", dataset.id, "--first-guess", "--upfit", "0.1", "--ensemble", "2")
    # two members of a linear fit, the fit and its upfit each, and the job that holds them together
    assert fireworks(project) == 1 + 2 * 3 + 1
    file = tmp_path / "fit.yaml"
    file.write_text(gst(project, "submit", "fit", dataset.id, "--show-config", "--option", "loss.kappa=0.2"))
    assert "kappa: 0.2" in file.read_text() and "elements: [Sb, Te]" in file.read_text()
    gst(project, "submit", "ablation", dataset.id, "--config", str(file), "--vary", "loss.kappa=0.1,0.3")
    assert fireworks(project) == 8 + 3
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x89\x00")
    for words, said in (
        (("fit", dataset.id, "--option", "loss.kapa=1"), "did you mean 'kappa'"),
        (("fit", dataset.id, "--upfit", "0.7"), "smaller kappa"),
        (("fit", dataset.id, "--preset", "smal"), "did you mean 'small'"),
        (("fit",), "no dataset to fit to"),
        (("fit", dataset.id, "--name", " "), "the name is empty"),
        (("fit", dataset.id, "--config", str(binary)), "is not text"),
        (("ablation", dataset.id, "--vary", "loss.kappa"), "not FIELD=VALUES"),
        (("ablation", dataset.id), "nothing to vary"),
        (("ablation", dataset.id, "--share", "half=1"), "not random=SHARES"),
        (("ablation", dataset.id, "--share", "random=1,1.5"), "not random=SHARES"),
        (("ablation", dataset.id, "--share", "random=1,0.5", "--random-types", "aimd"), "no training structure is of"),
        (("ablation", dataset.id, "--vary", "loss.kappa=0.1", "--robustness"), "hot melts have Ge"),
    ):
        with pytest.raises(InputError, match=said):
            gst(project, "submit", *words)
    assert fireworks(project) == 11


def test_an_ablation_that_is_only_estimated_or_above_the_budget_stores_no_dataset(project: Project) -> None:
    results = Results.open(project)
    dataset = teacher_dataset(results, number=12)
    ablation = ("submit", "ablation", dataset.id, "--share", "random=1,0")
    words = (*ablation, "--estimate")
    assert "fit ablation-random_share0" in gst(project, *words)
    with pytest.raises(InputError, match="budget"):
        gst(project, "--set", "launch.budget_core_hours=0.001", *ablation)
    assert [each.id for each in results.find(Dataset, {})] == [dataset.id]
    with pytest.raises(InputError, match="no training structure is of"):
        gst(project, *words, "--random-types", "aimd")


def test_cycle_explains_its_pulses_and_is_a_job_an_operation(project: Project, potential: None) -> None:
    results = Results.open(project)
    results.add(results.get(Potential, "p").model_copy(update={"id": "all", "elements": ["Ge", "Sb", "Te"]}))
    command = ("submit", "cycle", "mushroom", "--programme", "mushroom-small", "--potential", "all", "--no-gamma")
    said = CliRunner().invoke(app, ["-p", str(project.root), *command, "--estimate"]).output
    assert "2 RESET: 476.28 eV, 0.42 eV/atom, 7.631e-05 pJ on 1,134 of 8,064 mobile atoms" in said
    assert "10,080 atoms" in said and fireworks(project) == 0
    gst(project, *command, "--replicas", "2")
    # barrier and cell once; five operations of each replica, each with the analysis of its frames
    assert fireworks(project) == 2 + 2 * 5 * 2
    for words, message in (
        (("cross-pont",), "did you mean 'cross-point'"),
        (("mushroom", "--from", "x"), "needs operations"),
        (("cross-point", "--potential", "p"), "has no Sb"),
        (("cross-point", "--programme", "mushroom", "--potential", "all"), "has a mushroom cell"),
    ):
        with pytest.raises(InputError, match=message):
            gst(project, "submit", "cycle", *words)
    assert fireworks(project) == 22


def test_a_workflow_is_written_for_lpad_instead_of_submitted(project: Project, tmp_path: Path) -> None:
    """`lpad add` of the file gives the same fireworks as submitting."""
    target = tmp_path / "label.yaml"
    results = Results.open(project)
    atoms = bulk("Ge")
    results.add(structure_document(atoms, "crystal"))
    words = ("label", "--backend", "tblite", "--option", "electronic_temperature_K=1000")
    said = CliRunner().invoke(app, ["-p", str(project.root), "submit", "--to", str(target), *words])
    assert said.exit_code == 0 and f"next: lpad add {target}" in said.stderr
    fireworks = connect(project)["fireworks"]
    assert fireworks.count_documents({}) == 0
    lpad = Path(sys.executable).with_name("lpad")
    command = [lpad, "-c", str(project.fw_configs_dir), "add", str(target)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **project.environment()})
    added = fireworks.find_one({})
    gst(project, "submit", *words)
    submitted = fireworks.find_one({"fw_id": {"$ne": added["fw_id"]}})
    assert {key: added["spec"][key] for key in ("_gst_project", "_category")} == {
        key: submitted["spec"][key] for key in ("_gst_project", "_category")
    }
    inputs = [each["spec"]["_tasks"][0]["job"]["function_args"] for each in (added, submitted)]
    assert inputs[0] == inputs[1] != []
    with pytest.raises(InputError, match="exists"):
        gst(project, "submit", "--to", str(target), *words)
    with pytest.raises(InputError, match="does not end with"):
        gst(project, "submit", "--to", str(tmp_path / "x.txt"), *words)


def test_what_cannot_be_submitted_stores_no_study_and_no_dataset(
    project: Project, tmp_path: Path, monkeypatch: Any
) -> None:
    dataset = teacher_dataset(Results.open(project))
    there = tmp_path / "there.yaml"
    there.touch()
    search, shares = ("hyperopt", dataset.id, "--preset", "xpot-gst"), ("ablation", dataset.id, "--share", "random=1,0")
    for words in (search, (*shares, "--random-types", "rss")):
        with pytest.raises(InputError, match="exists"):
            gst(project, "submit", "--to", str(there), *words)
    monkeypatch.setattr(workflow, "MAX_FIREWORKS", 5)
    with pytest.raises(InputError, match="at most 5 are allowed"):
        gst(project, "submit", *search)
    database = connect(project)
    assert database["datasets"].count_documents({}) == 1
    assert fireworks(project) == database["studies"].count_documents({}) == 0
