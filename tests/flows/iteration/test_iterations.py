"""A training protocol through FireWorks, with real runs of LAMMPS and real fits; labels are of Lennard-Jones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from gst_jobflow.base.errors import DataError, InputError, MissingProgramError
from gst_jobflow.cli.main import app
from gst_jobflow.datasets.members import load_members
from gst_jobflow.documents import Dataset, Potential, Structure, Study
from gst_jobflow.flows.iteration.maker import STEPS, backend_for, iteration_plan, new_study, submit_iteration
from gst_jobflow.flows.iteration.plan import IterationPlan
from gst_jobflow.launch.keys import STUDY_KEY
from gst_jobflow.launch.launches import rerun
from gst_jobflow.report.pages.study import build_page
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect, launchpad
from tests.cli.test_control import data, gst
from tests.launch.test_launching import run_all

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo

PLAN: dict[str, Any] = {
    "name": "lj",
    "compositions": ["SbTe", "Sb2Te3"],
    "labels": {
        "backend": "ase",
        "options": {
            "calculator": "ase.calculators.lj:LennardJones",
            "parameters": {"sigma": 2.5, "epsilon": 0.3, "rc": 6.0, "smooth": True},
        },
        "jobs": 2,
    },
    "test": {"fraction": 0.2, "seed": 1},
    "data": {"reference_energies": {"Sb": 0.0, "Te": 0.0}},
    "fit": {
        "preset": "linear",
        "options": {
            "functions": {
                "number_of_functions_per_element": 4,
                "nradmax_by_orders": [4],
                "lmax_by_orders": [0],
            },
            "radial": {"rcut_A": 5.0},
        },
    },
    "robustness": {"runs": 1, "n_atoms": 40, "duration_ps": 0.2, "look_every_ps": 0.04},
    "gate": {"rmse": {"all": {"energy_meV_per_atom": 1e-6}}},
    "iterations": [
        {"sources": [{"kind": "hard-spheres", "number": 14, "n_atoms": [12, 16], "min_distance_A": [2.3, 2.7]}]},
        {
            "sources": [
                {
                    "kind": "domain",
                    "n_atoms": 16,
                    "every_ps": 0.02,
                    "stages": [{"kind": "anneal", "temperature_K": 600, "duration_ps": 0.1}],
                    "choose": {"number": 3, "by": "farthest"},
                },
                {"kind": "search", "cells": 4, "number": 2, "n_atoms": [8, 10], "relax": {"steps": 10}},
                {"kind": "failures", "frames": {"number": 2, "spacing_ps": 0.04}},
            ]
        },
    ],
}


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(PLAN))
    return file


def states(project: Project, study_id: str) -> dict[str, str]:
    """State of each job of a study by the end of its name."""
    database = connect(project)
    nodes = [id for flow in database["workflows"].find({f"metadata.{STUDY_KEY}": study_id}) for id in flow["nodes"]]
    found = database["fireworks"].find({"fw_id": {"$in": nodes}}, {"name": 1, "state": 1})
    return {each["name"].rpartition(": ")[2]: each["state"] for each in found}


@pytest.mark.slow
@pytest.mark.pacemaker
@pytest.mark.lammps
@pytest.mark.fresh_database
def test_two_iterations_grow_dataset_and_potential_until_the_plan_ends(project: Project, plan_file: Path) -> None:
    pytest.importorskip("pyace")
    plan_file.write_text(yaml.safe_dump(PLAN | {"labels": PLAN["labels"] | {"jobs": 1}}))
    gst(project, "submit", "iterate", str(plan_file))
    run_all(project)
    results = Results.open(project)
    (study,) = results.find(Study, {"kind": "iteration"})
    assert study.state == "finished" and study.outcome["gate_met"] is False
    assert study.outcome["unmet"][0].startswith("energy_meV_per_atom of all is ")
    first, second = study.table
    assert (first["state"], second["state"]) == ("finished", "finished")

    before, after = (results.get(Dataset, row["dataset_id"]) for row in study.table)
    assert after.parent_id == before.id and (before.iteration, after.iteration) == (0, 1)
    old, new = load_members(results, before), load_members(results, after)
    assert set(old.label_ids) < set(new.label_ids)
    assert set(old.label_ids[old.test]) <= set(new.label_ids[new.test]), "known groups keep their side"
    assert {row["source"] for row in second["by_source"]} >= {"domain", "search"}
    assert sum(row["chosen"] for row in second["by_source"] if row["source"] == "domain") == 3
    potentials = [results.get(Potential, row["potential_id"]) for row in study.table]
    assert [each.dataset_id for each in potentials] == [before.id, after.id]
    assert first["force_meV_per_A"] == potentials[0].rmse["test"].force_meV_per_A
    tests = [results.get(Study, row["robustness_id"]) for row in study.table]
    assert [row["success"] for row in study.table] == [each.table[0]["fraction"] for each in tests]
    made = list(results.find(Structure, {"tags": f"study:{study.id}"}))
    assert {each.iteration for each in made} == {0, 1} and len(made) >= 16

    page = build_page(results, "study", study.id, project.root / "page.html").read_text()
    assert "Iterations" in page and "The gate was not met" in page
    count = connect(project)["fireworks"].count_documents({})
    submit_iteration(project, study, 1)
    assert connect(project)["fireworks"].count_documents({}) == count, "an iteration is submitted once"

    with pytest.raises(InputError, match="none is left after iteration 1"):
        gst(project, "submit", "iterate", str(plan_file), "--from", "lj:1")
    gst(project, "submit", "iterate", str(plan_file), "--from", "lj:0", "--name", "branch")
    (branch,) = results.find(Study, {"name": "branch"})
    assert [row["iteration"] for row in branch.table] == [1]
    assert branch.plan["begin"]["dataset_id"] == before.id


def test_steps_wait_for_an_approval_one_after_the_other(project: Project, plan_file: Path) -> None:
    gst(project, "submit", "iterate", str(plan_file), "--pause-before", "label", "--pause-before", "fit")
    (study,) = Results.open(project).find(Study, {})
    before = states(project, study.id)
    assert {name for name, state in before.items() if state == "PAUSED"} == {"label 1", "label 2", "fit lj iter-0"}
    assert before["begin"] == "READY"
    with pytest.raises(InputError, match="no step of study lj waits") as error:
        gst(project, "approve", "lj")
    assert "3 paused jobs are not reached yet" in error.value.fix
    run_all(project)
    assert states(project, study.id)["label 1"] == "PAUSED", "nothing was labelled"
    approved = sorted(each["name"] for each in data(project, "approve", "lj"))
    assert approved == ["lj iter-0: label 1", "lj iter-0: label 2"]
    assert states(project, study.id)["label 1"] == "READY" and states(project, study.id)["fit lj iter-0"] == "PAUSED"


def test_recovery_of_a_job_keeps_what_waits_for_an_approval(project: Project, plan_file: Path) -> None:
    """FireWorks' own rerun would set all that follows to WAITING."""
    gst(project, "submit", "iterate", str(plan_file), "--pause-before", "choose", "--pause-before", "label")
    (study,) = Results.open(project).find(Study, {})
    assert len(study.workflow_ids) == 10, "cost and page find its jobs"
    pad = launchpad(project)
    first = pad.fireworks.find_one({"name": "lj iter-0: structures"})
    rerun(pad, first["fw_id"])
    waiting = {name for name, state in states(project, study.id).items() if state == "PAUSED"}
    assert waiting == {"choose", "label 1", "label 2"}


def test_what_a_later_iteration_could_not_do_is_refused_now(project: Project, plan_file: Path) -> None:
    tight = {"kind": "hard-spheres", "number": 3, "volume_per_atom_A3": [1, 2], "min_distance_A": [5, 6]}
    later = [PLAN["iterations"][0], {"sources": [tight]}]
    for changes, said in (
        ({"iterations": later}, "packed"),
        ({"data": {"reference_energies": "backend"}}, "no free-atom energy"),
        ({"fit": {"preset": "linear", "first_guess": True}}, "first guess"),
    ):
        plan_file.write_text(yaml.safe_dump(PLAN | changes))
        with pytest.raises(InputError, match=said):
            gst(project, "submit", "iterate", str(plan_file))
    assert connect(project)["studies"].count_documents({}) == connect(project)["fireworks"].count_documents({}) == 0


def test_a_branch_keeps_the_settings_that_a_search_found(project: Project, plan_file: Path) -> None:
    results = Results.open(project)
    plan = IterationPlan.model_validate(PLAN)
    fingerprint = backend_for(plan, project).method().fingerprint()
    study = new_study(plan, fingerprint, 0, {}, fit_config=plan.fit.config(("Sb", "Te")).model_dump() | {"seed": 4242})
    study.table[0] |= {"state": "finished"}
    results.add(study)
    gst(project, "submit", "iterate", str(plan_file), "--from", f"{study.id}:0", "--name", "branch")
    (branch,) = results.find(Study, {"name": "branch"})
    assert branch.plan["fit_config"]["seed"] == 4242 and "fit_config" not in branch.plan["begin"]


def test_the_estimate_lists_labels_and_submits_nothing(project: Project, plan_file: Path) -> None:
    content = PLAN | {"assumed": {"core_us_per_atom_step": 100, "core_hours_per_label": 2, "core_hours_per_fit": 3}}
    plan_file.write_text(yaml.safe_dump(content))
    said = gst(project, "submit", "iterate", str(plan_file), "--estimate")
    assert "up to 14 labels" in said and "assumed" in said and "28" in said
    assert connect(project)["fireworks"].count_documents({}) == connect(project)["studies"].count_documents({}) == 0


@pytest.mark.parametrize("setting", ["LAMMPS__COMMAND", "PACEMAKER__BIN_DIR"])
def test_a_missing_program_is_found_before_the_first_iteration(
    project: Project, plan_file: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv(f"GST_{setting}", "/no/such/place")
    refused = CliRunner().invoke(app, ["-p", str(project.root), "submit", "iterate", str(plan_file)]).exception
    assert isinstance(refused, MissingProgramError) and setting.lower().replace("__", ".") in refused.fix
    assert connect(project)["fireworks"].count_documents({}) == connect(project)["studies"].count_documents({}) == 0


def test_a_method_that_changed_is_refused(project: Project, plan_file: Path) -> None:
    plan = IterationPlan.model_validate(PLAN)
    study = new_study(plan, "lennardjones:other", 0, {})
    with pytest.raises(DataError, match="do not mix"):
        submit_iteration(project, study, 0)
    assert iteration_plan(study) == plan and backend_for(plan, project) is not None and STEPS[0] == "candidates"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which plan"),
        (("no-such-plan",), "no plan or file"),
        (("iterate-small", "--pause-before", "labels"), "no such step"),
        (("iterate-small", "--from", "study"), "not STUDY:ITERATION"),
        (("iterate-small", "--from", "none:1"), "none"),
    ],
)
def test_wrong_use_is_refused_in_one_line(project: Project, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        gst(project, "submit", "iterate", *words)
    assert connect(project)["fireworks"].count_documents({}) == 0


def test_names_of_what_is_missing_are_refused_before_anything_is_stored(project: Project, plan_file: Path) -> None:
    for changes in ({"start": {"dataset": "nothing"}}, {"test": {"dataset": "nothing"}}):
        plan_file.write_text(yaml.safe_dump(PLAN | changes))
        with pytest.raises(InputError, match="nothing"):
            gst(project, "submit", "iterate", str(plan_file))
    assert connect(project)["studies"].count_documents({}) == 0
