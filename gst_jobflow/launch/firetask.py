"""Run jobflow jobs as fireworks, with the project's job store and a recorded attempt."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from fireworks import FWAction, LaunchPad, explicit_serialize
from jobflow import SETTINGS, JobStore
from jobflow.managers.fireworks import JobFiretask

from gst_jobflow.base.categories import category_of
from gst_jobflow.base.errors import DatabaseError, RunError
from gst_jobflow.base.resources import QUEUE_KEY
from gst_jobflow.base.settings import (
    ENV_PREFIX,
    PROJECT_FILE,
    PROJECT_VARIABLE,
    Project,
    find_project,
)
from gst_jobflow.launch import ping
from gst_jobflow.launch.attempts import recorded
from gst_jobflow.launch.keys import CANCEL_SIGNAL, CATEGORY_KEY, PROJECT_KEY
from gst_jobflow.store import ArtifactStore, Results, ingest
from gst_jobflow.store.connect import CachedConnection, cached_connection, is_launchpad_of
from gst_jobflow.store.share import begin_share

DATABASE_AWAY_S = 120.0
"""Longest wait of a starting job for the database, s."""


@explicit_serialize
class RecordedJobFiretask(JobFiretask):
    """Run a jobflow Job of a project.

    Outputs go to the project's job store, whether `gst launch`, `rlaunch` or a SLURM script starts the firework;
    jobflow's default store is in memory.

    FireWorks loads a firework four times for a launch and stores it as often. So the job stays in its stored form until
    it runs.
    """

    required_params = ("job",)  # type: ignore[assignment]  # jobflow requires two
    optional_params = ("store",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # FireWorks reads its tasks before its first ping
        ping.install_ping()

    @classmethod
    def from_dict(cls, m_dict: dict[str, Any]) -> RecordedJobFiretask:
        """Take the stored form."""
        return cls(m_dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form."""
        return dict(self) if self._is_stored() else super().to_dict()

    def _is_stored(self) -> bool:
        return isinstance(self["job"], dict)

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Find the project, record an attempt, and let jobflow run the job."""
        pad = getattr(self, "launchpad", None)
        project = _project_of(fw_spec, pad)
        os.environ.update(project.environment())
        connection = _wait_for_database(project)
        results = Results(connection.database, ArtifactStore(project.artifacts_dir), Path.cwd())
        job = self["job"] if self._is_stored() else self["job"].as_dict()
        uuid = job["uuid"]
        number = _ingest_earlier(results, uuid) + 1
        begin_share(results.database, uuid)
        worker = str(fw_spec.get("_fw_env", {}).get("worker", ""))
        fw_id = getattr(self, "fw_id", None)
        with (
            recorded(results, uuid, job["name"], fw_id, worker, number),
            _can_be_cancelled(),
            _outputs_in(connection.job_store),
        ):
            if self._is_stored():
                self.update(super().from_dict(dict(self)))
            action = super().run_task(fw_spec)
        for workflow in [*(action.detours or []), *(action.additions or [])]:
            record_all(workflow, project.root)
            _copy_resources(workflow, uuid, fw_spec)
        # the last ping also reads tracked files
        if "_trackers" not in fw_spec:
            ping.skip_last_ping()
        return action


def _copy_resources(workflow: Any, uuid: str, fw_spec: dict[str, Any]) -> None:
    """Copy the job's resource request, which recovery may have raised, to its continuation."""
    wanted = fw_spec.get(QUEUE_KEY)
    for firework in workflow.fws if wanted else ():
        if any(task["job"].uuid == uuid for task in firework.tasks if isinstance(task, JobFiretask)):
            firework.spec[QUEUE_KEY] = dict(wanted or {})


def _wait_for_database(project: Project) -> CachedConnection:
    """Return database and job stores; wait if the database restarts, since the job may have queued for hours.

    Raises
    ------
    DatabaseError
        The database does not answer for `DATABASE_AWAY_S`.
    """
    deadline = time.monotonic() + DATABASE_AWAY_S
    while True:
        try:
            return cached_connection(project)
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2.0)


@contextmanager
def _can_be_cancelled() -> Iterator[None]:
    """Turn `CANCEL_SIGNAL` into an exception while a job runs: its programs end, its worker continues."""

    def stop(*_: object) -> None:
        raise RunError("cancelled by gst cancel", "to run it after all: gst resume ID", "cancelled")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    before = signal.signal(CANCEL_SIGNAL, stop)
    try:
        yield
    finally:
        signal.signal(CANCEL_SIGNAL, before)


@contextmanager
def _outputs_in(store: JobStore) -> Iterator[None]:
    """Let jobflow store outputs in `store`; jobs of others in this process keep theirs."""
    before, SETTINGS.JOB_STORE = SETTINGS.JOB_STORE, store
    try:
        yield
    finally:
        SETTINGS.JOB_STORE = before


def _ingest_earlier(results: Results, job_uuid: str) -> int:
    """Ingest the manifests of earlier attempts, so that nothing is computed twice; return the number of attempts."""
    earlier = list(results.database["attempts"].find({"job_uuid": job_uuid}, {"directory": 1}))
    folders = [Path(attempt["directory"]) for attempt in earlier]
    ingest(results, [folder for folder in folders if folder.is_dir() and folder != Path.cwd()])
    return len(earlier)


def _project_of(fw_spec: dict[str, Any], pad: LaunchPad | None) -> Project:
    recorded_at = fw_spec.get(PROJECT_KEY)
    # The firework's own project comes first, since projects may share a launchpad. Another user of this machine cannot
    # read its secrets and has a project of their own on the same database.
    root = Path(recorded_at) if recorded_at else None
    if root and os.access(root / PROJECT_FILE, os.R_OK) and os.access(root / ".gst", os.X_OK):
        project = _opened(root)
        # a restored project holds fireworks of the original, which may still exist
        if pad is None or os.environ.get(PROJECT_VARIABLE) == str(root) or is_launchpad_of(project, pad):
            return project
    return find_project()


def _opened(root: Path) -> Project:
    """Open a project; read its settings again only if they may have changed since the last job."""
    found = (root / PROJECT_FILE).stat()
    variables = tuple((name, os.environ[name]) for name in sorted(os.environ) if name.startswith(ENV_PREFIX))
    return _read_project(root, (found.st_ino, found.st_size, found.st_mtime_ns), variables)


@lru_cache(maxsize=1)
def _read_project(root: Path, file_state: tuple[int, ...], variables: tuple[tuple[str, str], ...]) -> Project:
    return find_project(root)


def record_all(workflow: Any, root: Path) -> None:
    """Give every firework of a workflow our Firetask, its project and its category."""
    for firework in workflow.fws:
        jobs = [task["job"] for task in firework.tasks if isinstance(task, JobFiretask)]
        if jobs and (category := category_of(jobs[0])):
            # the user's manager_config takes precedence
            firework.spec.setdefault(CATEGORY_KEY, category)
        firework.tasks = [
            RecordedJobFiretask(job=task["job"]) if isinstance(task, JobFiretask) else task for task in firework.tasks
        ]
        firework.spec[PROJECT_KEY] = str(root)
