"""Control a private SLURM of virtual nodes, for scripts and tests that need a queue."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

SCRIPTS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; its commands find it by `SLURM_CONF`."""

    folder: Path
    nodes: int

    def ask(self, *command: str) -> str:
        """Run a command of SLURM and return what it prints."""
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def start(self) -> None:
        """Start missing daemons, such as that of a crashed node."""
        command = [SCRIPTS / "start_slurm", str(self.nodes), "--dir", self.folder]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def crash(self, job_id: str) -> None:
        """Kill the node of a job as a power cut would: its daemon, the daemon of the job, and the job's processes."""
        node = self.ask("squeue", "-h", "-j", job_id, "-o", "%N").strip()
        doomed = [psutil.Process(int((self.folder / "run" / f"slurmd.{node}.pid").read_text()))]
        for process in psutil.process_iter(["cmdline"]):
            # slurmstepd shows its job id as its command line; another SLURM on this host may use the same job ids
            if f"slurmstepd: [{job_id}." in " ".join(process.info["cmdline"] or []) and self._is_ours(process):
                doomed += [process, *process.children(recursive=True)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _is_ours(self, process: psutil.Process) -> bool:
        return any(
            child.environ().get("SLURM_CONF") == str(self.folder / "slurm.conf")
            for child in process.children(recursive=True)
        )

    def cancel_all(self) -> None:
        """Cancel all jobs of this user."""
        subprocess.run(["scancel", "-u", str(os.getuid())], check=False, timeout=60)
