"""The one Firetask of our fireworks: jobflow's own, with the project's job store and a recorded attempt around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import FWAction, explicit_serialize
from jobflow.managers.fireworks import JobFiretask

if TYPE_CHECKING:
    from gst_jobflow.settings import Project
    from gst_jobflow.store import Results

PROJECT_KEY = "_gst_project"
"""Where a firework's spec says which project folder it belongs to (no secrets are in a spec)."""


@explicit_serialize
class RecordedJobFiretask(JobFiretask):
    """Run a jobflow Job of a project.

    Whoever starts it (`gst launch`, `rlaunch`, a SLURM script), the outputs go to the project's job store:
    jobflow's default would be a store in memory, whose content is gone when the process ends.
    """

    required_params = ("job",)
    optional_params = ("store",)

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Find the project, record an attempt, and let jobflow run the job."""
        from jobflow import SETTINGS

        from gst_jobflow.launch.attempts import recorded
        from gst_jobflow.store import Results
        from gst_jobflow.store.connect import job_store

        project = _project_of(fw_spec)
        os.environ.update(project.environment())
        SETTINGS.JOB_STORE = job_store(project)
        results = Results.open(project, spool_dir=Path.cwd())
        job = self["job"]
        _ingest_earlier(results, job.uuid)
        worker = str(fw_spec.get("_fw_env", {}).get("worker", ""))
        with recorded(results, job.uuid, job.name, getattr(self, "fw_id", None), worker):
            action = super().run_task(fw_spec)
        for workflow in [*(action.detours or []), *(action.additions or [])]:
            record_all(workflow, project.root)
        return action


def _ingest_earlier(results: Results, job_uuid: str) -> None:
    """Put in what earlier attempts of the job left on disk while the database was away: it is not computed again."""
    from gst_jobflow.store import ingest

    earlier = results.database["attempts"].find({"job_uuid": job_uuid}, {"directory": 1})
    folders = [Path(attempt["directory"]) for attempt in earlier]
    ingest(results, [folder for folder in folders if folder.is_dir() and folder != Path.cwd()])


def _project_of(fw_spec: dict[str, Any]) -> Project:
    from gst_jobflow.settings import find_project

    recorded_at = fw_spec.get(PROJECT_KEY)
    # the firework's own project first: two projects may share an external launchpad
    if recorded_at and (Path(recorded_at) / "gst.yaml").is_file():
        return find_project(Path(recorded_at))
    return find_project()


def record_all(workflow: Any, root: Path) -> None:
    """Make every firework of a workflow run through `RecordedJobFiretask` and know its project."""
    for firework in workflow.fws:
        firework.tasks = [
            RecordedJobFiretask(job=task["job"]) if isinstance(task, JobFiretask) else task for task in firework.tasks
        ]
        firework.spec[PROJECT_KEY] = str(root)
