"""`gst export` and `gst import bundle` by hand: what is said, exit codes, nothing left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.store import Results
from tests.cli.test_main import gst
from tests.report import synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from gst_jobflow.base.settings import Project


@pytest.mark.mongo
def test_study_is_exported_and_imported(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    synthetic.add_study(results)
    command, tar = ["-p", str(project.root)], str(tmp_path / "s.tar")
    plan = gst(*command, "export", "study", "synth", "-o", tar, "--dry-run")
    assert plan.returncode == 1 and "at least 6 characters" in plan.stderr
    plan = json.loads(gst(*command, "export", "study", "synthetic", "-o", tar, "--dry-run", "--json").stdout)
    assert plan["documents"]["studies"] == 1 and plan["files"]["count"] > 0 and not list(tmp_path.glob("s.tar"))
    done = gst(*command, "export", "study", "synthetic", "-o", tar, "--title", "T", "--authors", "Doe, J; Roe, R")
    assert done.returncode == 0 and "NO LICENCE IS STATED" in done.stderr
    again = gst(*command, "export", "study", "synthetic", "-o", tar, "--licence", "CC0-1.0")
    assert again.returncode == 1 and "exists already" in again.stderr and "--force" in again.stderr
    done = gst(*command, "export", "study", "synthetic", "-o", tar, "--licence", "CC0-1.0", "--force")
    assert done.returncode == 0 and "LICENCE" not in done.stderr
    assert "nothing new" in gst(*command, "import", "bundle", tar).stdout
    assert "complete" in gst("import", "bundle", tar, "--dry-run", cwd=tmp_path).stdout  # without a project
    results.database["labels"].update_one({"state": "converged"}, {"$set": {"energy_eV": 1e3}})
    refused = gst(*command, "import", "bundle", tar, "--json")
    assert refused.returncode == 1 and json.loads(refused.stdout)["n_problems"] == 1
    results.database.client.close()


@pytest.mark.mongo
def test_files_of_a_dataset_and_a_potential(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    synthetic.add_study(results)
    command = ["-p", str(project.root), "export"]
    done = gst(*command, "dataset", "synthetic-dataset", "-o", str(tmp_path / "d.xyz"), "--split", "test")
    assert done.returncode == 0 and "structures of dataset synthetic-dataset" in done.stdout
    done = gst(
        *command, "dataset", "synthetic-dataset", "-o", str(tmp_path / "d"), "-f", "bundle", "--licence", "CC0-1.0"
    )
    assert done.returncode == 0 and (tmp_path / "d" / "manifest.json").is_file()
    done = gst(*command, "potential", "synthetic-potential", "-o", str(tmp_path / "p"))
    assert done.returncode == 0 and "README.md" in done.stdout
    results.database.client.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "dataset", "abcdef", "-o", "d.txt"], "says no format"),
        (["export", "dataset", "abcdef", "-o", "d", "-f", "bundel"], "did you mean 'bundle'"),
        (["export", "dataset", "abcdef", "-o", "d", "-f", "bundle", "--split", "test"], "whole dataset"),
        (["export", "dataset", "abcdef", "-o", "d.xyz", "--licence", "CC0-1.0"], "--licence is for bundles"),
        (["export", "potential", "abcdef", "-o", "d", "-f", "file"], "did you mean 'files'"),
        (["export", "potential", "abcdef", "-o", "d.tar.gz"], "go into a folder"),
        (["export", "all", "-o", "x.zip"], "folder, .tar or .tar.gz"),
        (["import", "bundle", "nowhere", "--dry-run"], "no bundle nowhere"),
        (["import", "bundle", ".", "--dry-run"], "no manifest.json"),
    ],
)
def test_wrong_conditions_are_refused_before_the_database_is_asked(words: list[str], said: str, tmp_path: Path) -> None:
    done = gst(*words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and not done.stdout
    assert not list(tmp_path.iterdir())
