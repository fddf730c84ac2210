"""Turn jobflow flows into FireWorks workflows on the project's launchpad."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fireworks import Workflow
from jobflow import Flow, Job

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import jobs_of
from gst_jobflow.base.settings import Project
from gst_jobflow.launch.firetask import record_all
from gst_jobflow.store.connect import launchpad

MAX_FIREWORKS = 500
"""Largest workflow: the cost of a launch grows with its size (0.04 s + 56 µs a firework)."""


def to_workflow(flow: Flow | Job, project: Project, metadata: dict[str, Any] | None = None) -> Workflow:
    """Convert a flow to a workflow whose specs hold no store or password; InputError beyond `MAX_FIREWORKS` jobs."""
    from jobflow.managers.fireworks import flow_to_workflow

    check_size(flow)
    with warnings.catch_warnings():
        # independent jobs need no order
        warnings.filterwarnings("ignore", message="Some jobs are not connected")
        workflow = flow_to_workflow(flow, metadata={"gst_project": project.root.name, **(metadata or {})})
    record_all(workflow, project.root)
    return workflow


def check_size(flow: Flow | Job) -> None:
    """Refuse a flow of more than `MAX_FIREWORKS` jobs."""
    if (number := len(jobs_of(flow))) > MAX_FIREWORKS:
        raise InputError(
            f"{flow.name} has {number} jobs; at most {MAX_FIREWORKS} are allowed",
            "put more work into each job, for example with a larger --chunk, or submit it in parts",
        )


def check_workflow_file(target: Path) -> None:
    """Refuse a file that a workflow cannot be written to."""
    if target.suffix not in (".yaml", ".json"):
        raise InputError(f"{target} does not end with .yaml or .json", "name a file that does")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}", "make it, or name another file")
    if target.exists():
        raise InputError(f"{target} exists", "remove it, or name another file")


def submit(
    flow: Flow | Job, project: Project, metadata: dict[str, Any] | None = None, paused: Collection[str] = ()
) -> dict[str, int]:
    """Submit a flow to the launchpad; return the FireWorks id of each job by uuid.

    `paused` are uuids of jobs that wait for an approval; FireWorks starts jobs without parents all the same.
    """
    workflow = to_workflow(flow, project, metadata)
    uuids = {firework.fw_id: firework.tasks[0]["job"].uuid for firework in workflow.fws}
    for firework in workflow.fws:
        if uuids[firework.fw_id] in paused:
            firework.state = "PAUSED"
            workflow.fw_states[firework.fw_id] = "PAUSED"
    new_ids = launchpad(project).add_wf(workflow)
    return {uuid: new_ids.get(old, old) for old, uuid in uuids.items()}


def write_workflow(flow: Flow | Job, project: Project, target: Path) -> None:
    """Write the workflow of a flow into a new .yaml or .json file that `lpad add` submits; InputError for others."""
    check_workflow_file(target)
    workflow = to_workflow(flow, project)
    write_text(target, workflow.to_format(f_format=target.suffix[1:]))
