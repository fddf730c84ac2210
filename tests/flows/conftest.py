"""Running jobs as they are, without FireWorks, inside a project with a real database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.store import Results

if TYPE_CHECKING:
    from jobflow import Flow, Job

    from gst_jobflow.base.settings import Project


@pytest.fixture
def results(project: Project) -> Results:
    return Results.open(project)


@pytest.fixture
def run(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Job | Flow], dict[str, Any]]:
    """`run(flow)` gives the output of every job by its name; an error in a job is raised."""
    from jobflow import JobStore, run_locally
    from maggma.stores import MemoryStore

    monkeypatch.setenv("GST_PROJECT", str(project.root))

    def run_flow(flow: Job | Flow) -> dict[str, Any]:
        responses = run_locally(
            flow,
            store=JobStore(MemoryStore()),
            create_folders=True,
            root_dir=tmp_path / "jobs",
            ensure_success=True,
            raise_immediately=True,
            log=False,
        )
        outputs = {uuid: by_index[1].output for uuid, by_index in responses.items()}
        jobs = flow.iterflow() if hasattr(flow, "iterflow") else [(flow, [])]
        return {job.name: outputs[job.uuid] for job, _ in jobs}

    return run_flow
