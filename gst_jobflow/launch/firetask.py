"""The one Firetask of our fireworks: jobflow's own, with the project's job store and a recorded attempt around it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fireworks import FWAction, explicit_serialize
from fireworks.core import rocket
from jobflow.managers.fireworks import JobFiretask

from gst_jobflow.base.categories import category_of
from gst_jobflow.base.errors import DatabaseError, RunError
from gst_jobflow.base.resources import QUEUE_KEY

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from gst_jobflow.base.settings import Project
    from gst_jobflow.store import Results
    from gst_jobflow.store.connect import Kept

PROJECT_KEY = "_gst_project"
"""Where a firework's spec says which project folder it belongs to (no secrets are in a spec)."""
DATABASE_AWAY_S = 120.0
"""How long a job that begins waits for the database."""
CANCEL_SIGNAL = signal.SIGUSR2
"""Ends the job that a worker runs, not the worker."""
CATEGORY_KEY = "_category"
"""Where FireWorks looks in a spec for the kind of work that a worker may choose by."""


_ping = rocket.do_ping


def _ping_on(pad: LaunchPad, launch_id: int) -> None:
    """FireWorks' ping, which is its last where the database is away: the run would then be taken for lost."""
    from pymongo.errors import PyMongoError

    with suppress(PyMongoError):
        _ping(pad, launch_id)


rocket.do_ping = _ping_on


@explicit_serialize
class RecordedJobFiretask(JobFiretask):
    """Run a jobflow Job of a project.

    Whoever starts it (`gst launch`, `rlaunch`, a SLURM script), the outputs go to the project's job store:
    jobflow's default would be a store in memory, whose content is gone when the process ends.
    """

    required_params = ("job",)  # type: ignore[assignment]  # one where jobflow has two
    optional_params = ("store",)

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Find the project, record an attempt, and let jobflow run the job."""
        from jobflow import SETTINGS

        from gst_jobflow.launch.attempts import recorded
        from gst_jobflow.launch.workers import share_cores
        from gst_jobflow.store import ArtifactStore, Results

        project = _project_of(fw_spec, getattr(self, "launchpad", None))
        os.environ.update(project.environment())
        kept = _when_it_answers(project)
        SETTINGS.JOB_STORE = kept.job_store
        results = Results(kept.database, ArtifactStore(project.artifacts_dir), Path.cwd())
        job = self["job"]
        number = _ingest_earlier(results, job.uuid) + 1
        share_cores(results.database)
        worker = str(fw_spec.get("_fw_env", {}).get("worker", ""))
        fw_id = getattr(self, "fw_id", None)
        with recorded(results, job.uuid, job.name, fw_id, worker, number), _can_be_cancelled():
            action = super().run_task(fw_spec)
        for workflow in [*(action.detours or []), *(action.additions or [])]:
            record_all(workflow, project.root)
            _ask_the_same(workflow, job.uuid, fw_spec)
        return action


def _ask_the_same(workflow: Any, uuid: str, fw_spec: dict[str, Any]) -> None:
    """Let the continuation of a job ask what the job asked in the end, which may be more than at its submission."""
    asked = fw_spec.get(QUEUE_KEY)
    for firework in workflow.fws if asked else ():
        if any(task["job"].uuid == uuid for task in firework.tasks if isinstance(task, JobFiretask)):
            firework.spec[QUEUE_KEY] = dict(asked or {})


def _when_it_answers(project: Project) -> Kept:
    """Return database and job store; wait while the database is being started anew, as a job waited hours in a queue.

    Raises
    ------
    DatabaseError
        It does not answer for `DATABASE_AWAY_S`.
    """
    from gst_jobflow.store.connect import kept

    deadline = time.monotonic() + DATABASE_AWAY_S
    while True:
        try:
            return kept(project)
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2.0)


@contextmanager
def _can_be_cancelled() -> Iterator[None]:
    """Turn `CANCEL_SIGNAL` into an exception while a job runs: its programs end, its worker goes on."""

    def stop(*_: object) -> None:
        raise RunError("cancelled by gst cancel", "gst resume ID lets it run after all", "cancelled")

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are of the main thread only
        return
    before = signal.signal(CANCEL_SIGNAL, stop)
    try:
        yield
    finally:
        signal.signal(CANCEL_SIGNAL, before)


def _ingest_earlier(results: Results, job_uuid: str) -> int:
    """Put in what earlier attempts of the job left on disk while the database was away: it is not computed again.

    Returns how many attempts there were.
    """
    from gst_jobflow.store import ingest

    earlier = list(results.database["attempts"].find({"job_uuid": job_uuid}, {"directory": 1}))
    folders = [Path(attempt["directory"]) for attempt in earlier]
    ingest(results, [folder for folder in folders if folder.is_dir() and folder != Path.cwd()])
    return len(earlier)


def _project_of(fw_spec: dict[str, Any], pad: LaunchPad | None) -> Project:
    from gst_jobflow.base.settings import PROJECT_FILE, PROJECT_VARIABLE, find_project
    from gst_jobflow.store.connect import is_launchpad_of

    recorded_at = fw_spec.get(PROJECT_KEY)
    # the firework's own project first: two projects may share an external launchpad. Its secrets may be those of
    # another user of this machine: who works here then has a project of their own on the same database
    root = Path(recorded_at) if recorded_at else None
    if root and os.access(root / PROJECT_FILE, os.R_OK) and os.access(root / ".gst", os.X_OK):
        project = _opened(root)
        # a restored project holds fireworks of the one that was saved, which may still be there
        if pad is None or os.environ.get(PROJECT_VARIABLE) == str(root) or is_launchpad_of(project, pad):
            return project
    return find_project()


_projects: dict[tuple[Any, ...], Project] = {}
"""The one that was opened last in this process."""


def _opened(root: Path) -> Project:
    """Open a project; its settings are read again only where they may have changed since the last job."""
    from gst_jobflow.base.settings import ENV_PREFIX, PROJECT_FILE, find_project

    found = (root / PROJECT_FILE).stat()
    names = sorted(name for name in os.environ if name.startswith(ENV_PREFIX))
    variables = [(name, os.environ[name]) for name in names]
    key = (root, found.st_ino, found.st_size, found.st_mtime_ns, *variables)
    if key not in _projects:
        project = find_project(root)
        _projects.clear()
        _projects[key] = project
    return _projects[key]


def record_all(workflow: Any, root: Path) -> None:
    """Make every firework of a workflow run through `RecordedJobFiretask`, and know its project and its category."""
    for firework in workflow.fws:
        jobs = [task["job"] for task in firework.tasks if isinstance(task, JobFiretask)]
        if jobs and (category := category_of(jobs[0])):
            # what the user gave by manager_config stays
            firework.spec.setdefault(CATEGORY_KEY, category)
        firework.tasks = [
            RecordedJobFiretask(job=task["job"]) if isinstance(task, JobFiretask) else task for task in firework.tasks
        ]
        firework.spec[PROJECT_KEY] = str(root)
