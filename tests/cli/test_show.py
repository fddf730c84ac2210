"""`gst show`: text for people, JSON for programs, one line for what cannot be shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.store import Results
from tests.cli.test_main import gst
from tests.documents.test_documents import label, structure
from tests.report import synthetic

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


@pytest.mark.mongo
def test_document_is_found_by_the_beginning_of_its_id(project: Project) -> None:
    results = Results.open(project)
    results.add(structure(_id="abcdef" + "0" * 26, parents=["nowhere"], source={"builder": "rocksalt"}))
    file = results.artifacts.put_bytes(b"output", "out.log")
    results.add(label(_id="fedcba" + "0" * 26, structure_id="abcdef" + "0" * 26, files=[file]))
    here = ["-p", str(project.root)]
    shown = gst(*here, "show", "abcdef")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("structures abcdef0000")
    assert "made from: 1 structures  nowhere (not in the database)" in shown.stdout
    assert f"labels: 1 labels  fedcba{'0' * 26}" in shown.stdout
    assert '"builder": "rocksalt"' in shown.stdout
    found = json.loads(gst(*here, "show", "fedcba", "--json").stdout)
    assert found["collection"] == "labels" and found["origins"][0]["ids"] == ["abcdef" + "0" * 26]
    assert [(item["name"], item["size_bytes"], item["state"]) for item in found["files"]] == [("out.log", 6, "there")]
    results.add(structure(_id="abcdef" + "1" * 26))
    for word in ("abcdef", "abcdeg", "abc"):
        wrong = gst(*here, "show", word)
        assert wrong.returncode == 1 and not wrong.stdout
        first, second = wrong.stderr.strip().splitlines()
        assert first.startswith("error: ") and second.startswith("  → ")


@pytest.mark.mongo
def test_every_document_of_a_study_can_be_shown(project: Project) -> None:
    synthetic.add_study(Results.open(project))
    for id in (synthetic.STUDY_ID, synthetic.CYCLE_ID, synthetic.POTENTIAL_ID, "synthetic-dataset"):
        shown = gst("-p", str(project.root), "show", id)
        assert shown.returncode == 0, shown.stderr
        assert "where it came from" in shown.stdout and "what was made from it" in shown.stdout


@pytest.mark.mongo
def test_cost_is_a_tree_with_sums_and_what_they_rest_on(project: Project) -> None:
    synthetic.add_study(Results.open(project))
    here = ["-p", str(project.root)]
    shown = gst(*here, "show", synthetic.CYCLE_ID, "--cost")
    assert shown.returncode == 0, shown.stderr
    assert "in all" in shown.stdout and "energy unknown" in shown.stdout and "cost.node_power_W" in shown.stdout
    assert "without an attempt in this database" in shown.stdout
    priced = ["--set", "cost.price_per_core_hour=2", "--set", "cost.node_power_W=1000", "--set", "cost.node_cores=10"]
    found = json.loads(gst(*here, *priced, "show", synthetic.CYCLE_ID, "--cost", "--json").stdout)
    hours = found["in_all"]["core_hours"]
    assert found["collection"] == "cycles" and found["parts"] and found["in_all"]["co2_kg"] is None
    assert found["in_all"]["price"] == pytest.approx(2 * hours) and found["in_all"]["kWh"] == pytest.approx(hours / 10)
    assert found["total"]["core_hours"] == hours
