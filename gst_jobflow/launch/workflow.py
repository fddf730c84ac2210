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
from gst_jobflow.base.settings import Project
from gst_jobflow.launch.firetask import record_all
from gst_jobflow.store.connect import launchpad

MAX_FIREWORKS = 500
"""Largest workflow: the cost of a launch grows with its size (0.04 s + 56 µs a firework)."""


def to_workflow(flow: Flow | Job, project: Project, metadata: dict[str, Any] | None = None) -> Workflow:
    """Convert a flow to a workflow whose specs hold no store or password; InputError beyond `MAX_FIREWORKS` jobs."""
    from jobflow.managers.fireworks import flow_to_workflow

    with warnings.catch_warnings():
        # independent jobs need no order
        warnings.filterwarnings("ignore", message="Some jobs are not connected")
        workflow = flow_to_workflow(flow, metadata={"gst_project": project.root.name, **(metadata or {})})
    if len(workflow.fws) > MAX_FIREWORKS:
        raise InputError(
            f"{flow.name} has {len(workflow.fws)} jobs; at most {MAX_FIREWORKS} are allowed",
            "put more work into each job, for example with a larger --chunk",
        )
    record_all(workflow, project.root)
    return workflow


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
    if target.suffix not in (".yaml", ".json"):
        raise InputError(f"{target} is neither YAML nor JSON", "name a file that ends with .yaml or .json")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}", "make it, or name another file")
    if target.exists():
        raise InputError(f"{target} exists", "remove it, or name another file")
    workflow = to_workflow(flow, project)
    write_text(target, workflow.to_format(f_format=target.suffix[1:]))
