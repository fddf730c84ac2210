"""`gst query`: formats, files, groups, and what does not go together."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.store import Results
from tests.cli.test_main import gst
from tests.store.test_query import add_structures, number_id

if TYPE_CHECKING:
    from pathlib import Path

    from gst_jobflow.base.settings import Project


@pytest.mark.mongo
def test_formats_hold_the_same_documents(project: Project, tmp_path: Path) -> None:
    from ase.io import read

    add_structures(Results.open(project), 30)
    query = ["-p", str(project.root), "query"]
    by_json = json.loads(gst(*query, "structures", "--format", "json").stdout)
    assert by_json == json.loads(gst(*query, "structures", "--json").stdout) and len(by_json) == 30
    file = tmp_path / "out.jsonl"
    assert gst(*query, "structures", "-f", "jsonl", "-o", str(file)).returncode == 0
    assert [json.loads(line) for line in file.read_text().splitlines()] == by_json
    few = ["structures", "--fields", "id,dmin,tags", "--sort", "dmin", "--limit", "3"]
    rows = list(csv.reader(gst(*query, *few, "-f", "csv").stdout.splitlines()))
    assert rows[0] == ["id", "dmin", "tags"] and rows[1] == [
        number_id(29),
        repr(3.2 - 0.029),
        '["all", "melt-quench.2"]',
    ]
    assert json.loads(gst(*query, *few, "--json").stdout)[0]["dmin"] == 3.2 - 0.029
    table = gst(*query, "structures")
    assert len(table.stdout.splitlines()) == 22 and "20 of 30" in table.stderr
    named = gst(*query, "potentials", "-w", "dataset_id=first converged=true")
    assert "dataset_id=first: the field holds whole ids, no names" in named.stderr and "converged" not in named.stderr
    assert "whole ids" not in gst(*query, "labels", "-w", f"structure_id={number_id(29)}").stderr
    done = gst(*query, "labels", "-f", "extxyz", "--sort", "structure_id", "-o", str(tmp_path / "labels.xyz"))
    assert "27 frames; left out: 3 labels that did not converge" in done.stderr
    images = read(tmp_path / "labels.xyz", ":")
    assert len(images) == 27 and images[4].get_potential_energy() == -150.0
    assert np.allclose(images[4].get_forces(), 0.4, atol=1e-8)  # extended XYZ holds eight decimals
    # ASE reads the matrix of the file back in Voigt order
    assert np.allclose(images[4].get_stress(), [0.01, 0.02, 0.03, 0.004, 0.005, 0.006], atol=1e-8)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.mongo
def test_groups_are_shown(project: Project) -> None:
    add_structures(Results.open(project), 30)
    query = ["-p", str(project.root), "query", "labels", "--group-by"]
    counts = json.loads(gst(*query, "state", "--json").stdout)
    assert counts == [{"group": "converged", "count": 27}, {"group": "failed", "count": 3}]
    rows = list(csv.DictReader(gst(*query, "state", "--stats", "-f", "csv").stdout.splitlines()))
    assert float(rows[0]["max max_force_eV_A"]) == pytest.approx(2.8, abs=1e-12)  # 0.1 × 28 in doubles
    assert rows[1]["mean energy_per_atom_eV"] == ""  # failed labels have none
    groups = gst(*query, "structure_id").stdout.splitlines()
    assert len(groups) == 32  # a table of groups is never cut unless a limit is given
    only = gst(*query, "state", "--stats-of", "wall_s").stdout
    assert "mean wall_s" in only and "energy" not in only


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["structures", "--format", "cvs"], "did you mean 'csv'"),
        (["structures", "--json", "--format", "csv"], "exclude each other"),
        (["structures", "--count", "--group-by", "config_type"], "--count excludes"),
        (["structures", "--count", "--output", "n.csv"], "--count excludes"),
        (["structures", "--fields", "formla"], "did you mean 'formula'"),
        (["structures", "--stats"], "needs --group-by"),
        (["structures", "--group-by", "formula", "-f", "extxyz"], "no atoms"),
        (["structures", "-w", "$where=1"], "cannot read"),
        (["structures", "--sort", "$where"], "not the name of a field"),
    ],
)
def test_wrong_options_are_refused_before_the_database_is_asked(words: list[str], said: str, tmp_path: Path) -> None:
    done = gst("query", *words, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr and not done.stdout


@pytest.mark.mongo
def test_output_file_is_complete_or_absent(project: Project, tmp_path: Path) -> None:
    query = ["-p", str(project.root), "query"]
    done = gst(*query, "structures", "-f", "csv", "-o", str(tmp_path / "no" / "x.csv"))
    assert done.returncode == 1 and "mkdir -p" in done.stderr
    assert gst(*query, "cycles", "-f", "extxyz", "-o", str(tmp_path / "x.xyz")).returncode == 1
    (tmp_path / "kept.csv").write_text("mine")
    for options, code in (([], 1), (["--force"], 0)):
        done = gst(*query, "structures", "-f", "csv", "-o", str(tmp_path / "kept.csv"), *options)
        assert done.returncode == code
        assert ((tmp_path / "kept.csv").read_text() == "mine") == bool(code)
    assert not (tmp_path / "x.xyz").exists() and not list(tmp_path.glob(".*part"))
