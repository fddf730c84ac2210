"""The commands and programs that pages show are run as they stand."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.cli.main import app, main
from gst_jobflow.devices.programme import load_programme
from gst_jobflow.store import Results, find
from scripts._pages import DOCS, blocks, run_page

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

GST_CP2K = DOCS.parent / "tests" / "data" / "cp2k_gst"


def gst(project: Project, *words: str) -> None:
    """Run a command in this process; a refusal is an error."""
    app(["-p", str(project.root), *words], standalone_mode=False)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launchers see sooner that nothing is left."""
    monkeypatch.setenv("GST_LAUNCH__POLL_S", "0.5")


@pytest.fixture
def labelled(project: Project) -> Project:
    """A project with 71 labels of CP2K and a dataset of them."""
    files = (str(GST_CP2K / "labels.extxyz"), "--method", str(GST_CP2K / "method.yaml"), "--tag", "cp2k-gst")
    gst(project, "structures", "import", *files)
    gst(project, "dataset", "create", "cp2k-gst", "-w", "tags=cp2k-gst")
    return project


def shown_commands(page: str) -> Iterator[list[str]]:
    for block in blocks(page):
        if block.kind == "sh":
            yield from (shlex.split(line)[1:] for line in block.text.splitlines() if line.startswith("gst "))


@pytest.mark.mongo
def test_every_query_of_the_cookbook_is_answered(labelled: Project, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    commands = list(shown_commands("queries.md"))
    assert len(commands) > 20
    for words in commands:
        gst(labelled, *words)
    assert (tmp_path / "labels.xyz").is_file()


@pytest.mark.mongo
def test_python_of_the_cookbook_runs(labelled: Project, monkeypatch, capsys) -> None:
    monkeypatch.setenv("GST_PROJECT", str(labelled.root))
    programs = [block.text for block in blocks("queries.md") if block.kind == "python"]
    assert len(programs) == 4
    for text in programs:
        exec(compile(text, "queries.md", "exec"), {})
    said = capsys.readouterr().out
    assert "hard_sphere" in said, "the counts by config type"
    tested = next(find(labelled, "datasets", "name=cp2k-gst")).counts["test"]
    assert len([line for line in said.splitlines() if len(line.split()) == 4 and len(line.split()[0]) == 32]) >= tested


@pytest.mark.mongo
@pytest.mark.fresh_database
def test_flows_of_the_python_page_run(project: Project) -> None:
    run_page("python.md", project.root)
    database = Results.open(project).database
    assert {tag for item in find(project, "structures") for tag in item.tags} == {"by-script", "by-file", "plain"}
    assert next(find(project, "datasets", "name=by-script")).counts["train"] > 0
    # as the page says, plain jobflow records no attempt: three jobs of the first flow and one of the file
    assert database["attempts"].count_documents({"state": "finished"}) == 4


@pytest.mark.parametrize("words", [["query", "structures", "-w", "nonsense=1"]])
def test_a_wrong_query_would_fail_these_tests(words: list[str], monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gst", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.fresh_database
def test_commands_of_the_labelling_campaign_run(project: Project) -> None:
    said = run_page("campaign.md", project.root)
    assert "campaign" in said and (project.root / "train.extxyz").is_file()
    labels = [*find(project, "labels", "tags=campaign")]
    assert len(labels) == 14 and {label.state for label in labels} <= {"converged", "failed"}
    assert next(find(project, "datasets", "name=campaign")).counts["test"] > 0


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.lammps
@pytest.mark.pacemaker
@pytest.mark.fresh_database
def test_commands_of_the_ablation_run(project: Project, monkeypatch) -> None:
    monkeypatch.setenv("GST_SOURCE", str(DOCS.parent))
    run_page("ablation.md", project.root)
    study = next(find(project, "studies", "name=shares"))
    assert study.state == "finished" and len(study.table) == 4
    assert list((project.root / "reports" / "figures").glob("*.csv"))


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.lammps
@pytest.mark.pacemaker
@pytest.mark.fresh_database
def test_commands_of_the_training_protocol_run(project: Project) -> None:
    run_page("protocol.md", project.root)
    study = next(find(project, "studies", "name=two-rounds"))
    assert study.state == "finished" and len(study.table) == 2
    assert len([*find(project, "potentials", "name~two-rounds")]) == 2


def test_programme_of_the_device_page_is_read(tmp_path: Path) -> None:
    file = tmp_path / "cycle.yaml"
    file.write_text(next(block.text for block in blocks("device_cycle.md") if block.file == "cycle.yaml"))
    assert [item.kind for item in load_programme(str(file)).operations] == ["HOLD", "RESET", "READ", "SET"]


@pytest.mark.slow
@pytest.mark.mongo
@pytest.mark.lammps
@pytest.mark.pacemaker
@pytest.mark.fresh_database
def test_notebook_runs_and_shows_what_it_made(project: Project, monkeypatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    notebook = nbformat.read(DOCS.parent / "examples" / "flow.ipynb", 4)
    shown = [kinds_of_output(cell) for cell in notebook.cells]
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(project.root)}}).execute()
    assert [kinds_of_output(cell) for cell in notebook.cells] == shown, "run the notebook anew and save it"
    assert "image/png" in shown[-1]
    assert next(find(project, "potentials", "name=notebook")).rmse["train"].force_meV_per_A < 2000


def kinds_of_output(cell: dict) -> list[str]:
    """The kinds of what a cell printed and drew on standard output."""
    outputs = [item for item in cell.get("outputs", []) if item.get("name") != "stderr"]
    return sorted({kind for item in outputs for kind in item.get("data", {item.get("name", ""): ""})})
