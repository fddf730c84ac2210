"""The job of a random structure search, with a real relaxation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.documents import Structure
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.relax import RelaxOptions
from gst_jobflow.flows.random_search import RandomSearchMaker
from gst_jobflow.selection.random_search import RandomSearchPlan
from gst_jobflow.store import Results
from tests.dynamics.conftest import engine
from tests.flows.test_robustness import stored

__all__ = ["engine"]
pytestmark = [pytest.mark.mongo, pytest.mark.lammps]


def test_chosen_structures_are_stored_with_how_they_came_about(
    run: Callable[..., Any], results: Results, engine: LammpsEngine, tmp_path: Path
) -> None:
    pytest.importorskip("pyace")
    potential_id = stored(results, tmp_path / "hard", "hard", 6.0)
    plan = RandomSearchPlan(
        compositions=["SbTe", "Sb2Te3"], cells=8, n_atoms=(6, 10), number=5, relax=RelaxOptions(steps=60),
        min_distance_A=(1.2, 2.4),
    )  # fmt: skip
    maker = RandomSearchMaker(plan=plan, iteration=4, tags=["iter-4"], n_chunks=2)
    output = run(maker.make(potential_id))["random search"]
    assert sum(output["cells"].values()) == 8 and sum(output["chosen"].values()) == 5
    assert sorted(id for chunk in output["chunks"] for id in chunk) == sorted(output["structure_ids"])
    made = list(results.get_many(Structure, output["structure_ids"]))
    for each in made:
        assert (each.config_type, each.iteration, each.source["builder"]) == ("rss", 4, "random_search")
        assert each.tags == ["iter-4", f"rss {each.source['kind']}"]
    again = run(maker.make(potential_id))["random search"]
    assert again["structure_ids"] == output["structure_ids"], "the same seed gives the same structures"
