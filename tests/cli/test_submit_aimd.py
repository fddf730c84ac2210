"""`gst submit aimd`: what it submits and would cost, and wrong input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ase.build import bulk
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.main import app
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, CarParrinello, md_method
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.connect import connect
from tests.cli.test_control import gst
from tests.datasets.conftest import add_labels

if TYPE_CHECKING:
    from gst_jobflow.labelling.method import Method

pytestmark = pytest.mark.mongo
AIMD = ("submit", "aimd")
MELT = (*AIMD, "GeTe", "--atoms", "64", "--stage", "1200:0.2")


@pytest.fixture
def with_cp2k(project: Project, tmp_path: Path) -> Project:
    """A project whose CP2K says its version, and can do no more."""
    program = tmp_path / "says_its_version"
    program.write_text("#!/bin/sh\necho ' CP2K version 2023.1'\n")
    program.chmod(0o755)
    (tmp_path / "GTH_POTENTIALS").touch()
    with project.file.open("a") as settings:
        settings.write(f"cp2k: {{command: '{program}', data_dir: '{tmp_path}'}}\n")
    return Project(project.root)


def fireworks(project: Project) -> list[dict[str, Any]]:
    return list(connect(project)["fireworks"].find({}))


def method(scheme: BornOppenheimer | CarParrinello) -> Method:
    return md_method(Cp2kBackend(settings=Cp2kSettings()), scheme, "2023.1")


def test_help_names_schemes_and_units() -> None:
    said = CliRunner().invoke(app, [*AIMD, "--help"], env={"COLUMNS": "200"})
    assert said.exit_code == 0
    for words in ("car-parrinello", "Kelvin:ps", "--timestep", "fs", "--estimate"):
        assert words in said.output


def test_label_job_requests_all_resources_of_its_category(with_cp2k: Project) -> None:
    gst(with_cp2k, *MELT, "--stage", "1200-300:0.3", "--scheme", "car-parrinello", "--scheme-option",
        "noisy_gamma_per_fs=2e-4", "--timestep", "1", "--every", "5", "--seed", "7", "--tag", "melt")  # fmt: skip
    (one,) = fireworks(with_cp2k)
    assert one["spec"]["_category"] == "labels"
    maker = one["spec"]["_tasks"][0]["job"]["function"]["@bound"]
    spec = maker["spec"]
    assert [stage["kind"] for stage in spec["stages"]] == ["anneal", "quench"]
    assert (spec["timestep_fs"], spec["every"], spec["seed"], maker["tags"]) == (1.0, 5, 7, ["melt"])
    assert spec["dynamics"]["kind"] == "car_parrinello" and spec["dynamics"]["noisy_gamma_per_fs"] == 2e-4
    assert maker["start"]["n_atoms"] == 64 and maker["start"]["seed"] == 7


def test_it_starts_from_a_stored_structure_by_the_beginning_of_its_id(with_cp2k: Project) -> None:
    from ase.build import bulk

    start = structure_document(bulk("GeTe", "rocksalt", a=6.0, cubic=True) * (2, 2, 2), "crystal")
    Results.open(with_cp2k).add(start)
    gst(with_cp2k, *AIMD, "--structure", start.id[:8])
    (one,) = fireworks(with_cp2k)
    assert one["spec"]["_tasks"][0]["job"]["function_args"] == [start.id]
    with pytest.raises(InputError, match="no structure 'ffffffff'"):
        gst(with_cp2k, *AIMD, "--structure", "ffffffff")


def test_an_estimate_is_by_steps_of_the_same_method_and_submits_nothing(with_cp2k: Project) -> None:
    results = Results.open(with_cp2k)
    assert "run a short one first" in gst(with_cp2k, *MELT, "--estimate")
    # single points of the method begin from nothing, and steps of another scheme are other work
    add_labels(results, 2, fingerprint=method(BornOppenheimer()).fingerprint(), wall_s=1e6)
    add_labels(results, 2, start=5, fingerprint=method(CarParrinello()).fingerprint(), config_type="aimd", wall_s=1e6)
    assert "run a short one first" in gst(with_cp2k, *MELT, "--estimate")
    add_labels(results, 2, start=9, fingerprint=method(BornOppenheimer()).fingerprint(), config_type="aimd", wall_s=0.9)
    said = gst(with_cp2k, *MELT, "--estimate")
    # 100 steps of 0.9 s, times the square of 64 over 2 atoms, in hours
    assert f"{100 * 0.9 * 32**2 / 3600:.3g}" in said and "2 steps of this method" in said
    assert not fireworks(with_cp2k)


def test_flow_above_the_budget_needs_yes(with_cp2k: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GST_LAUNCH__BUDGET_CORE_HOURS", "1")
    with pytest.raises(InputError, match="cost of aimd is unknown"):
        gst(with_cp2k, *MELT)
    assert not fireworks(with_cp2k)
    gst(with_cp2k, *MELT, "--yes")
    assert len(fireworks(with_cp2k)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "specify one start"),
        (("GeTe", "--structure", "0" * 32), "specify one start"),
        (("Xx2Te", "--atoms", "63"), "unknown element 'Xx'"),
        (("Ag2Te", "--atoms", "63"), "element Ag has no settings"),
        (("GeTe", "--atoms", "63"), "63 atoms cannot have exactly the composition"),
        (("GeTe", "--atoms", "8"), "below the 10 Å that the Gamma point"),
        (("GeTe", "--atoms", "64", "--density", "-1"), "density_g_cm3"),
        (("GeTe", "--atoms", "64", "--density", "30"), "pack"),
        (("GeTe", "--atoms", "64", "--timestep", "-2"), "timestep_fs"),
        (("GeTe", "--atoms", "64", "--timestep", "nan"), "timestep_fs"),
        (("GeTe", "--atoms", "64", "--stage", "1200:-1"), "duration_ps"),
        (("GeTe", "--atoms", "64", "--stage", "1200:inf"), "duration_ps"),
        (("GeTe", "--atoms", "64", "--stage", "1200:0.003"), "not a whole number of steps"),
        (("GeTe", "--atoms", "64", "--stage", "0:1"), "temperature_K"),
        (("GeTe", "--atoms", "64", "--stage", "hot:1"), "--stage hot:1"),
        (("GeTe", "--atoms", "64", "--stage", "1200"), "--stage 1200"),
        (("GeTe", "--atoms", "64", "--scheme", "car-parinello"), "did you mean 'car-parrinello'"),
        (("GeTe", "--atoms", "64", "--scheme-option", "history=3"), "unknown key 'history'"),
        (
            ("GeTe", "--atoms", "64", "--scheme", "car-parrinello", "--option", "k_spacing_per_A=0.3"),
            "Gamma point only",
        ),
        (("GeTe", "--atoms", "64", "--option", "cutof_Ry=150"), "did you mean 'cutoff_Ry'"),
    ],
)
def test_wrong_input_is_refused_before_submission(with_cp2k: Project, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as caught:
        gst(with_cp2k, *AIMD, *words)
    assert said in f"{caught.value.message} {caught.value.fix}" and caught.value.fix
    assert not fireworks(with_cp2k)


def test_a_launcher_that_is_missing_is_found_at_submission(with_cp2k: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GST_CP2K__MPI_COMMAND", "mpirnu -np {ranks}")
    monkeypatch.setenv("GST_CP2K__RANKS", "2")
    Results.open(with_cp2k).add(structure_document(bulk("Te", "sc", a=12.0), "crystal"))
    for words in (MELT, ("submit", "label", "--backend", "cp2k", "-w", "config_type=crystal")):
        done = CliRunner().invoke(app, ["-p", str(with_cp2k.root), *words])
        assert isinstance(done.exception, MissingProgramError)
        assert "no program 'mpirnu'" in done.exception.message and "cp2k.mpi_command" in done.exception.fix
    assert not fireworks(with_cp2k)
    monkeypatch.setenv("GST_CP2K__RANKS", "1")
    gst(with_cp2k, *MELT)


def test_without_cp2k_it_says_how_to_get_it(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(app, ["-p", str(project.root), *MELT])
    assert isinstance(done.exception, MissingProgramError)
    assert "no CP2K on PATH" in done.exception.message and "apt-get install cp2k" in done.exception.fix
    assert not fireworks(project)
