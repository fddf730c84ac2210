"""The demo, submitted on one machine, runs on the nodes of a SLURM: by our launcher and by FireWorks' own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Attempt, Study
from gst_jobflow.launch.configs import environment
from gst_jobflow.launch.status import status
from gst_jobflow.store import Results
from gst_jobflow.store.connect import connect

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.lammps, pytest.mark.pacemaker, pytest.mark.slow]
BIN = Path(sys.executable).parent
LIMIT_S = 1500.0


def counts(project: Project) -> dict[str, int]:
    return status(connect(project))["counts"]


def test_the_demo_runs_through_the_queue_to_its_page(cluster: Project) -> None:
    # several ranks have tests of their own, and wait for each other where cores are taken
    cluster.file.write_text(cluster.file.read_text().replace("ranks: 2", "ranks: 1"))
    gst = [str(BIN / "gst"), "-p", str(cluster.root)]
    said = subprocess.run(
        [*gst, "demo", "--size", "tiny", "--submit-only"], check=True, capture_output=True, text=True, timeout=LIMIT_S
    ).stdout
    assert "gst launch --queue" in said
    assert "COMPLETED" not in counts(cluster), "nothing ran here"
    # what waits for nothing goes in by FireWorks' own launcher, once
    subprocess.run(
        [BIN / "qlaunch", "-r", "-c", cluster.fw_configs_dir, "rapidfire", "-m", "1", "--nlaunches", "1"],
        cwd=cluster.root, env={**os.environ, **environment(cluster)}, check=True, capture_output=True, timeout=LIMIT_S,
    )  # fmt: skip
    subprocess.run([*gst, "launch", "--queue"], check=True, capture_output=True, timeout=LIMIT_S)
    deadline = time.monotonic() + LIMIT_S
    while set(counts(cluster)) != {"COMPLETED"}:
        assert time.monotonic() < deadline and "FIZZLED" not in counts(cluster), status(connect(cluster))
        time.sleep(1)
    results = Results.open(cluster)
    (study,) = results.find(Study, {"kind": "demo"})
    assert study.state == "finished"
    page = Path(next(line for line in said.splitlines() if line.startswith("page")).partition(": ")[2])
    assert page.is_file()
    attempts = list(results.find(Attempt, {"state": "finished"}))
    assert attempts and all(attempt.slurm_job_id for attempt in attempts)
