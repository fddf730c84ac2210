"""A real SLURM of three virtual nodes for the whole session, and projects that use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

ROOT = Path(__file__).parents[2]
NOT_INSTALLED = 3

_SETTINGS = """\
profile: slurm
launch: {poll_s: 0.5}
queue:
  recover_every_s: 1
  backoff_s: 1
  every: {nodes: 1, ranks: 1, threads: 1, walltime: '00:10:00'}
  labels: {ranks: 1}
  fits: {ranks: 1, threads: 1}
  md: {nodes: 1, ranks: 2}
"""


@dataclass(frozen=True)
class Slurm:
    """A running SLURM; its commands find it by `SLURM_CONF`."""

    folder: Path
    nodes: int

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def start(self) -> None:
        """Start what does not run: a node that crashed."""
        command = [ROOT / "scripts" / "start_slurm", str(self.nodes), "--dir", self.folder]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def crash(self, job_id: str) -> None:
        """End the node of a job as a power cut does: its daemon, the job's, and what the job runs."""
        node = self.ask("squeue", "-h", "-j", job_id, "-o", "%N").strip()
        doomed = [psutil.Process(int((self.folder / "run" / f"slurmd.{node}.pid").read_text()))]
        for process in psutil.process_iter(["cmdline"]):
            # slurmstepd writes its job where its command line was; other SLURMs of this host have jobs 1, 2, …, too
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
        subprocess.run(["scancel", "-u", str(os.getuid())], check=False, timeout=60)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A private SLURM with the nodes n1, n2 and n3 of two cores; skipped where SLURM is not installed."""
    # not below pytest's folder: munge wants short socket paths and folders that clients may enter
    folder = Path(tempfile.mkdtemp(prefix="gst-slurm-"))
    started = subprocess.run(
        [ROOT / "scripts" / "start_slurm", "3", "--dir", folder], capture_output=True, text=True, check=False
    )
    if started.returncode == NOT_INSTALLED:
        shutil.rmtree(folder)
        pytest.skip(started.stderr.strip().splitlines()[-1])
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    try:
        assert started.returncode == 0, started.stderr
        yield Slurm(folder, 3)
    finally:
        subprocess.run([ROOT / "scripts" / "stop_slurm", "--dir", folder, "--purge"], check=False)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


@pytest.fixture
def cluster(slurm: Slurm, project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose jobs run on the test SLURM; what it left in the queue is cancelled."""
    from gst_jobflow.base.settings import Project
    from gst_jobflow.launch.configs import write_configs

    project.file.write_text(project.file.read_text() + _SETTINGS)
    mine = Project(project.root)
    write_configs(mine)
    mine.runs_dir.mkdir(exist_ok=True)
    # jobs of tests are in test modules
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    yield mine
    slurm.cancel_all()
