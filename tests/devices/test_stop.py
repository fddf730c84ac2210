"""What a cycle has spent of its budget."""

from __future__ import annotations

import pytest

from gst_jobflow.devices.stop import spent
from gst_jobflow.documents import Cost, Trajectory
from gst_jobflow.store import Results

pytestmark = pytest.mark.mongo


def run(index: int, state: str, n_steps: int, core_hours: float) -> Trajectory:
    return Trajectory(
        _id=f"{index} {state}", name="SET", protocol="SET", stages=[], formula="GeTe", n_atoms=8, state=state,
        timestep_fs=2.0, n_steps=n_steps, duration_ps=n_steps * 2e-3, n_frames=0, seed=1, cycle_id="cycle",
        operation_index=index, cost=Cost(wall_s=3600 * core_hours, cores=1, core_hours=core_hours),
    )  # fmt: skip


def test_the_cost_of_a_failed_and_continued_operation_counts_once(results: Results) -> None:
    # the later document of an operation holds the segments of the earlier one, too
    for each in (run(0, "finished", 100, 1.0), run(1, "failed", 50, 2.0), run(1, "finished", 200, 5.0)):
        results.add(each)
    assert spent(results, "cycle", 2) == (6.0, 300)
    # what an operation itself took so far is counted while it runs
    assert spent(results, "cycle", 1) == (1.0, 100)
