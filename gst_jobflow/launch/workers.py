"""Start, watch and end local workers, each an `rlaunch rapidfire` of FireWorks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gst_jobflow.base.errors import RunError
from gst_jobflow.base.processes import die_with_parent, end_group
from gst_jobflow.base.settings import CORES_VARIABLE, WORKERS_VARIABLE, Project
from gst_jobflow.launch.configs import environment as project_environment
from gst_jobflow.launch.recover import recover

MOST_RESTARTS = 3
"""Largest number of restarts; beyond it, the machine is probably at fault."""


class Workers:
    """Run `n` workers that end when no work is left; use as a context manager.

    They die with this process, even if SIGKILL ends it.
    """

    def __init__(self, project: Project, n: int) -> None:
        self.project = project
        self.n = n
        self.processes: list[subprocess.Popen[bytes]] = []
        self.restarts = 0
        self.log_dir = project.private_dir / "workers"

    def __enter__(self) -> Workers:
        self.project.runs_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for index in range(self.n):
            self.processes.append(self._start(index))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                end_group(process.pid, grace_s=5.0)

    def running(self) -> int:
        """Return the number of running workers."""
        return sum(process.poll() is None for process in self.processes)

    def tend(self) -> list[str]:
        """Restart workers that ended with an error, and recover their jobs; return a line for each restarted worker.

        Raises
        ------
        RunError
            Workers ended with an error more than `MOST_RESTARTS` times; the message holds the last line printed.
        """
        told = []
        for index, process in enumerate(self.processes):
            if process.poll() in (None, 0):
                continue
            lines = self._log(index).read_text(errors="replace").strip().splitlines()
            last = lines[-1][:200] if lines else "it printed nothing"
            self.restarts += 1
            if self.restarts > MOST_RESTARTS:
                raise RunError(
                    f"worker {index + 1} ended with code {process.returncode}: {last}",
                    f"see {self._log(index)}; then run the same command again",
                    "worker",
                )
            words = (
                f"worker {index + 1} ended with code {process.returncode}: {last}",
                *map(str, recover(self.project)),
            )
            told.append("; ".join(words))
            self.processes[index] = self._start(index)
        return told

    def _log(self, index: int) -> Path:
        return self.log_dir / f"worker-{index + 1}.log"

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        configs = self.project.fw_configs_dir
        environment = {**os.environ, **project_environment(self.project), "PYTHONUNBUFFERED": "1"}
        if CORES_VARIABLE not in environment:
            environment[WORKERS_VARIABLE] = str(self.n)
        # console scripts may be elsewhere
        program = [sys.executable, "-m", "fireworks.scripts.rlaunch_run", "-c", str(configs)]
        with self._log(index).open("ab") as log:
            return subprocess.Popen(
                [*program, "rapidfire", "--sleep", str(max(1, round(self.project.settings.launch.poll_s)))],
                cwd=self.project.runs_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )


def default_workers(project: Project) -> int:
    """Return the default number of workers: one a core, at most four."""
    return project.settings.launch.workers or min(4, os.cpu_count() or 1)


def wait(
    workers: Workers, poll_s: float, on_tick: Callable[[], None], tell: Callable[[str], None] | None = None
) -> None:
    """Wait until all workers have ended; call `on_tick` every `poll_s` and once at the end.

    Dead workers are restarted, since the others would wait for their jobs.
    """
    while True:
        for line in workers.tend():
            if tell:
                tell(line)
        if not workers.running():
            break
        on_tick()
        time.sleep(poll_s)
    on_tick()
