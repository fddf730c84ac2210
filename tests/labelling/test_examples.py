"""The examples of public makers run as they stand."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from jobflow import Flow

from gst_jobflow.base.settings import find_project
from gst_jobflow.datasets.maker import DatasetMaker
from gst_jobflow.evaluation.ensemble import EnsembleMaker
from gst_jobflow.fitting.config import PRESETS
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results, find
from tests.store.test_query import add_structures

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
NAMES: dict[str, Any] = {
    "DatasetMaker": DatasetMaker,
    "EnsembleMaker": EnsembleMaker,
    "FitMaker": FitMaker,
    "Flow": Flow,
    "LabelMaker": LabelMaker,
    "PRESETS": PRESETS,
    "backend_of": backend_of,
    "find": find,
    "find_project": find_project,
    "submit": submit,
}


@pytest.mark.parametrize("maker", [LabelMaker, DatasetMaker, EnsembleMaker])
def test_the_example_of_a_maker_runs(
    maker: Callable[..., Any], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    results = Results.open(project)
    add_structures(results, 3)
    results.database["structures"].update_many({}, {"$addToSet": {"tags": "iter-0"}})
    ids = [structure.id for structure in find(project, "structures")]
    given = {**NAMES, "structure_ids": ids, "dataset_id": "d" * 32}
    examples = doctest.DocTestParser().get_examples(maker.__doc__ or "")
    assert examples
    for example in examples:
        exec(example.source, given)
