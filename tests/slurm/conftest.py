"""A real SLURM of three virtual nodes for the whole session, and projects that use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.base.settings import CORES_VARIABLE
from scripts._slurm import Slurm

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


@pytest.fixture(autouse=True)
def _cores_of_the_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs use what SLURM gave them."""
    monkeypatch.delenv(CORES_VARIABLE)


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
