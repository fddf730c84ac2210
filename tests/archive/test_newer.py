"""A trajectory that comes in again brings the analyses that are missing, and takes none away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.archive.newer import put_mutable
from gst_jobflow.documents import Trajectory
from gst_jobflow.store import Results
from tests.analysis.runs import frame, stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


def series(rows: dict[str, Any], name: str = "grains") -> dict[str, Any]:
    return {"name": name, "described": {"definition": "d"}, "rows": rows}


def test_rows_of_both_are_kept_and_a_number_goes_before_a_problem(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    run = stored(results, tmp_path, {0: frame(0.1)})
    ours = {"0": {"n": 1}, "100": {"problem": "torn"}, "200": {"n": 3}}
    results.update("trajectories", run.id, {"analysis.frames.a": series(ours)})
    theirs = {"0": {"n": 9}, "100": {"n": 2}, "200": {"problem": "torn"}, "300": {"n": 4}}
    frames = {"a": series(theirs), "b": series({"0": {"n": 5}}, "gamma")}
    other = run.model_copy(update={"analysis": {"frames": frames}})
    assert put_mutable(results.database, other) == "replaced"
    found = results.get(Trajectory, run.id).analysis["frames"]
    assert found["a"]["rows"] == {"0": {"n": 1}, "100": {"n": 2}, "200": {"n": 3}, "300": {"n": 4}}
    assert found["b"]["rows"] == {"0": {"n": 5}}
    assert put_mutable(results.database, other) == "known"
    assert put_mutable(results.database, run) == "known"
    assert results.get(Trajectory, run.id).analysis["frames"] == found
