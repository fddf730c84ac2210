"""Make a private project and SLURM below a scratch folder, for demonstrations and tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from _private_project import private_project
from _slurm import Slurm

from gst_jobflow.base.settings import Project

ROOT = Path(__file__).resolve().parents[1]


def open_project(folder: Path, settings: str, nodes: int, stack: contextlib.ExitStack) -> tuple[Project, Slurm]:
    """Make and start a project and a SLURM, or start those that an earlier call made in the same folder.

    Parameters
    ----------
    folder
        A short path with mode 0711, for munge's clients.
    settings
        Text of a new project's `gst.yaml`, with `{port}` for the port of its mongod.
    nodes
        Virtual nodes of two cores each.
    stack
        Ends the started processes.
    """
    project = private_project(folder / "project", settings, stack)
    stack.callback(subprocess.run, [ROOT / "scripts" / "stop_slurm", "--dir", folder / "slurm"], check=False)
    slurm = Slurm(folder / "slurm", nodes)
    slurm.start()
    os.environ["SLURM_CONF"] = str(folder / "slurm" / "slurm.conf")
    return project, slurm
