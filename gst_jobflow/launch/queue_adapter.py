"""Submit through FireWorks' queue adapter and keep sbatch's refusal, which FireWorks only logs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

ADAPTER_NAME = "{{gst_jobflow.launch.queue_adapter.ReportingAdapter}}"
_WAIT_S = 120.0
# the URI holds a password, and SLURM stores a job's environment; jobs read the project's private file instead
_NOT_FOR_JOBS = "GST_MONGO__URI"


@dataclass(frozen=True)
class Refusal:
    """A failed submission."""

    returncode: int | None
    message: str

    def __str__(self) -> str:
        code = "no exit code" if self.returncode is None else f"exit code {self.returncode}"
        return f"{code}: {self.message}"


class ReportingAdapter(CommonAdapter):
    """Submit as FireWorks does, and remember the reason of a refusal.

    FireWorks copies its adapter, so the class holds the memory.
    """

    _fw_name = ADAPTER_NAME
    last_refusal: ClassVar[Refusal | None] = None

    def submit_to_queue(self, script_file: str) -> str | None:
        """Submit a job script; return the id of the job, or None after a refusal."""
        type(self).last_refusal = None
        command = [self.q_commands[self.q_type]["submit_cmd"], script_file]
        environment = dict(os.environ)
        project = environment.get("GST_PROJECT")
        if project and (Path(project) / ".gst" / "mongo_uri").is_file():
            environment.pop(_NOT_FOR_JOBS, None)
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_WAIT_S,
                check=False,
                # Ctrl-C must not interrupt it between SLURM's answer and our record
                start_new_session=True,
            )
        except OSError as err:
            self._refused(None, f"{command[0]} does not start: {err.strerror}")
            return None
        except subprocess.TimeoutExpired:
            self._refused(None, f"{command[0]} did not answer within {_WAIT_S:g} s")
            return None
        if done.returncode != 0:
            self._refused(done.returncode, " ".join(done.stderr.split()) or "it printed nothing")
            return None
        try:
            return self._parse_jobid(done.stdout)
        except RuntimeError:
            self._refused(0, f"no job id in what it printed: {done.stdout.strip()[:200]}")
            return None

    def _refused(self, returncode: int | None, message: str) -> None:
        type(self).last_refusal = Refusal(returncode, message[:500])
