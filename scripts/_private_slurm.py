"""A project of its own on a private SLURM, both below one scratch folder; for scripts that show or try something."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from gst_jobflow.launch.configs import write_configs
from gst_jobflow.launch.services import LocalMongod, make_credentials
from gst_jobflow.settings import Project
from gst_jobflow.store.migrate import migrate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.slurm.conftest import Slurm

ROOT = Path(__file__).resolve().parents[1]


def open_project(folder: Path, settings: str, nodes: int, stack: contextlib.ExitStack) -> tuple[Project, Slurm]:
    """Make and start a project and a SLURM, or start those that an earlier call made in the same folder.

    Parameters
    ----------
    folder
        A short path, which munge's clients may enter (mode 0711).
    settings
        Text of a new project's `gst.yaml`, with `{port}` for the port of its mongod.
    nodes
        Virtual nodes of two cores each.
    stack
        Ends what was started.
    """
    for name in [name for name in os.environ if name.startswith("GST_")]:
        del os.environ[name]
    root = folder / "project"
    if not (root / "gst.yaml").exists():
        root.mkdir()
        (root / "gst.yaml").write_text(settings.replace("{port}", str(_free_port())))
    project = Project(root)
    if not project.private_dir.exists():
        project.private_dir.mkdir(mode=0o700)
        make_credentials(project)
    stack.callback(LocalMongod(project).down)
    LocalMongod(project).up()
    migrate(project)
    write_configs(project)
    stack.callback(subprocess.run, [ROOT / "scripts" / "stop_slurm", "--dir", folder / "slurm"], check=False)
    slurm = Slurm(folder / "slurm", nodes)
    slurm.start()
    os.environ["SLURM_CONF"] = str(folder / "slurm" / "slurm.conf")
    return project, slurm


def gst(project: Project, *words: str) -> list[str]:
    """A command line of the `gst` beside this Python."""
    return [str(Path(sys.executable).with_name("gst")), "--project", str(project.root), *words]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
