"""Plans of training protocols: what they fill in, and wrong input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.flows.iteration.maker import backend_for
from gst_jobflow.flows.iteration.plan import PLANS, IterationPlan
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.structures.material import shipped_material

SMALL: dict[str, Any] = {
    "name": "small",
    "compositions": ["GeTe", "Sb2Te3"],
    "labels": {"backend": "tblite"},
    "fit": {"preset": "small"},
    "iterations": [
        {"sources": [{"kind": "hard-spheres", "number": 10}]},
        {"repeat": 2, "sources": [{"kind": "domain", "n_atoms": 60}, {"kind": "search", "cells": 8, "number": 4}]},
    ],
}


@pytest.mark.parametrize("name", PLANS.names())
def test_shipped_plans_can_be_read_and_written_again(name: str) -> None:
    plan = checked(IterationPlan, yaml.safe_load(PLANS.text(name)), name)
    assert plan.name == name
    assert IterationPlan.model_validate(plan.model_dump(mode="json")) == plan


def test_the_preset_has_the_numbers_of_the_paper() -> None:
    plan = checked(IterationPlan, yaml.safe_load(PLANS.text("gst-ace-24")), "")
    kinds = [[source.kind for source in sources] for sources in plan.steps]
    assert kinds[1:] == [["domain", "hard-spheres"]] * 3 + [["search"]] * 2
    random = [source for sources in plan.steps[1:] for source in sources if source.kind in ("hard-spheres", "search")]
    assert sum(source.most or 0 for source in random) == pytest.approx(319 + 587, abs=5)
    assert plan.robustness is not None and len(plan.robustness.compositions) * plan.robustness.runs == 70
    assert (plan.robustness.n_atoms, plan.robustness.temperature_K, plan.robustness.duration_ps) == (1000, 3000, 500)
    assert plan.fit.search is not None and (plan.fit.search.fits, plan.fit.search.iterations) == (32, [0])


def test_sources_and_robustness_runs_take_the_compositions_of_the_plan() -> None:
    plan = IterationPlan.model_validate(SMALL | {"robustness": {"runs": 2, "n_atoms": 50}})
    assert [source.formulas for sources in plan.steps for source in sources] == [["GeTe", "Sb2Te3"]] * 5
    assert plan.robustness is not None and plan.robustness.compositions == ["GeTe", "Sb2Te3"]
    assert plan.all_elements == ("Ge", "Sb", "Te") and plan.number_of_iterations == 3


KNOWN = {"start": {"potential": "p"}}


def _with_source(**source: Any) -> dict[str, Any]:
    return {"iterations": [{"sources": [source]}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iteratons": []}, "iterations"),
        (_with_source(kind="hardspheres", number=3), "hard-spheres"),
        (_with_source(kind="hard-spheres", number=3, sigma=1), "unknown key 'sigma'"),
        (_with_source(kind="hard-spheres", number=3, compositions=["Xx2"]), "Xx"),
        (_with_source(kind="search", number=3), "needs a potential"),
        (_with_source(kind="hard-spheres", number=3, choose={"gamma": [2, 25]}), "needs a potential"),
        (_with_source(kind="failures"), "no failures yet"),
        (_with_source(kind="crystals", crystals=[{"kind": "rocksalt", "formula": "SbTe"}]), "SbTe is not on"),
        ({"iterations": [{"sources": []}]}, "no sources"),
        ({"gate": {"success": 1.0}}, "not measured"),
        ({"gate": {"spread_meV_per_A": 50}}, "fit.ensemble is 1"),
        ({"gate": {"sucess": 1.0}}, "success"),
        ({"elements": ["Sb", "Te"]}, "Ge, which is not among elements"),
        ({"fit": {"preset": "smal"}}, "small"),
        ({"fit": {"preset": "small", "options": {"loss": {"kapa": 0.3}}}}, "kappa"),
        ({"test": {"fraction": 1.5}}, "less than 1"),
        ({"robustness": {"runs": 0}}, "at least 1"),
        (
            {
                "robustness": {"runs": 2, "n_atoms": 500},
                "iterations": [SMALL["iterations"][0], {"sources": [{"kind": "failures"}]}],
            },
            "lower robustness.n_atoms",
        ),
        ({"iterations": 5}, "list"),
        ({"data": {"config_type_weights": {"crystall": 2}}}, "crystal"),
        ({"data": {"reference_energies": {"Sb": 0.0}}}, "has no Ge, Te"),
        ({"gate": {"rmse": {"nosuch": {"force_meV_per_A": 1}}}}, "no config type 'nosuch'"),
        ({"gate": {"rmse": {"all": {}}}}, "names none"),
        ({"fit": {"preset": "small", "search": {"iterations": [9]}}}, "there are 3"),
        (_with_source(kind="stored", where=["nope>3"]), "nope"),
        ({**KNOWN, **_with_source(kind="domain", every_ps=0.0007)}, "whole number of steps"),
        ({**KNOWN, **_with_source(kind="domain", every_ps=1000)}, "longer than a run"),
        (
            {"start": {"potential": "p"}, **_with_source(kind="cycle", programme="cross-point", gamma=[25, 2])},
            "no window",
        ),
        (
            {"start": {"potential": "p"}, **_with_source(kind="cycle", programme="cross-point", max_atoms=10**6)},
            "larger",
        ),
    ],
)
def test_wrong_plans_are_refused_with_the_way_out(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        checked(IterationPlan, merged(SMALL, changes), "plan.yaml")
    assert said in f"{error.value.message} {error.value.fix}" and "plan.yaml" in str(error.value.message)


def test_a_material_in_a_plan_is_compared_with_its_phases_when_the_plan_is_read() -> None:
    material = shipped_material("sb-te").model_dump(mode="json")
    own = SMALL | {"compositions": ["Sb2Te3"]}
    assert IterationPlan.model_validate(own | {"material": material}).material.name == "sb-te"
    material["trigonal"]["Sb2Te3"]["sites"].pop()
    for plan in (own | {"material": material}, merged(own, {"robustness": {"material": material}})):
        with pytest.raises(InputError, match=r"^plan.yaml: material: trigonal.Sb2Te3: its sites build Sb6Te3"):
            checked(IterationPlan, plan, "plan.yaml")


def test_labels_are_made_with_the_settings_of_the_plans_own_material(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text("material: sb-te\n")
    project = Project(tmp_path)
    plan = IterationPlan.model_validate(
        SMALL | {"material": "cr-sb-te", "compositions": ["Cr1Sb4Te6"], "labels": {"backend": "vasp"}}
    )
    of_plan, of_project = backend_for(plan, project), backend_of("vasp", project)
    assert of_plan.settings.potcars == {"Cr": "Cr_pv", "Sb": "Sb", "Te": "Te"} and of_plan.settings.ispin == 2
    assert of_project.settings.potcars == {"Sb": "Sb", "Te": "Te"} and of_project.settings.ispin == 1
