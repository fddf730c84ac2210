"""Check the queue: validate a job script of each category, and run a job that inspects its node."""

from __future__ import annotations

import json
import shlex
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import GstError, RunError
from gst_jobflow.base.settings import Project, find_project
from gst_jobflow.base.words import counted
from gst_jobflow.launch import slurm
from gst_jobflow.launch.configs import category_files, write_category_configs
from gst_jobflow.store.connect import connect

_POLL_S = 1.0
_SHARED_S = 20.0
_RESULT = "found.json"
_FIX = "correct the request: queue in gst.yaml, or fw_configs/my_qadapter.yaml"


def refused_categories(project: Project) -> dict[str, str]:
    """Let SLURM validate a job script of each category; return the reasons of refused ones; raises as `queue_base`."""
    refused: dict[str, str] = {}
    write_category_configs(project)
    with _folder(project) as name:
        for category in CATEGORIES:
            script = Path(name) / f"{category}.script"
            script.write_text(_script(project, category, "true"))
            try:
                slurm.sbatch("--test-only", script.name, folder=Path(name))
            except RunError as err:
                refused[category] = err.message
    return refused


def run_test_job(project: Project, wait_s: float) -> str:
    """Run a small job that looks for the project and its database; return its result as text.

    A full queue is no error: the text then says that the job still waits.

    Raises
    ------
    RunError
        SLURM refuses the job, or the node does not see the project or its database.
    """
    write_category_configs(project)
    with _folder(project) as name:
        folder = Path(name)
        words = (sys.executable, "-m", __name__, str(folder / _RESULT))
        (folder / "test.script").write_text(_script(project, "analysis", shlex.join(words)))
        try:
            job_id = slurm.sbatch("--parsable", "test.script", folder=folder).strip().split(";")[0]
        except RunError as err:
            raise RunError(f"SLURM refuses a test job: {err.message}", _FIX, "queue") from err
        return _outcome(folder, job_id, _wait(job_id, wait_s))


def _wait(job_id: str, wait_s: float) -> slurm.QueueJob | None:
    """Wait for a job; return None if it ended, else cancel it and return its state."""
    deadline = time.monotonic() + wait_s
    try:
        while (job := slurm.my_jobs().get(job_id)) is not None and job.alive:
            if time.monotonic() > deadline:
                return job
            time.sleep(_POLL_S)
        return None
    finally:
        slurm.scancel([job_id])


def _outcome(folder: Path, job_id: str, unfinished: slurm.QueueJob | None) -> str:
    if unfinished is not None and unfinished.waits:
        return f"accepted as job {job_id}, but still waiting ({unfinished.reason}): nodes were not checked"
    found = _read(folder / _RESULT)
    if found is None:
        errors = "".join(file.read_text(errors="replace") for file in folder.glob("*.error")).split("\n")
        last = next((line for line in reversed(errors) if line.strip()), "it printed no error")
        raise RunError(
            f"test job {job_id} left no result: {last[:200]}",
            "make this folder and this Python available on nodes: pre_rocket in fw_configs/my_qadapter.yaml",
            "queue",
        )
    if found["problem"]:
        raise RunError(f"on {found['host']}: {found['problem']}", found["fix"], "queue")
    return f"job {job_id} ran on {found['host']}: project and database are there, {counted(found['cores'], 'core')}"


def _read(file: Path) -> dict[str, Any] | None:
    """Read the result, which a shared file system may show with a delay."""
    deadline = time.monotonic() + _SHARED_S
    while not file.is_file():
        # SLURM writes the error file: no result will follow
        if time.monotonic() > deadline or any(other.stat().st_size for other in file.parent.glob("*.error")):
            return None
        time.sleep(0.5)
    return json.loads(file.read_text())


def _script(project: Project, category: str, command: str) -> str:
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

    content = yaml.safe_load(category_files(project, category)[1].read_text())
    adapter = CommonAdapter.from_dict({**content, "rocket_launch": command, "job_name": "gst-doctor"})
    return adapter.get_script_str(str(project.runs_dir))


def _folder(project: Project) -> tempfile.TemporaryDirectory[str]:
    # nodes see the folder of runs
    project.runs_dir.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=project.runs_dir, prefix="doctor-", ignore_cleanup_errors=True)


def inspect_node() -> dict[str, Any]:
    """Report whether a job on this node finds the project and its database, and the number of cores."""
    found: dict[str, Any] = {"host": socket.gethostname(), "cores": cores(), "problem": "", "fix": ""}
    try:
        connect(find_project()).client.close()
    except GstError as err:
        found |= {"problem": err.message, "fix": err.fix}
    return found


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), json.dumps(inspect_node()))
