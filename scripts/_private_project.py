"""Make a private project with its own mongod below a scratch folder, for demonstrations and tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from _chaos import kill_with_all

from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import write_configs
from gst_jobflow.launch.services import LocalMongod, make_credentials
from gst_jobflow.store.schema.migrate import migrate


def private_project(root: Path, settings: str, stack: contextlib.ExitStack) -> Project:
    """Make a project and start its database, or start that of an earlier call with the same folder.

    Variables `GST_…` of the caller are removed, since they would change the project.

    Parameters
    ----------
    settings
        Text of a new project's `gst.yaml`, with `{port}` for the port of its mongod.
    stack
        Ends the started processes.
    """
    for name in [name for name in os.environ if name.startswith("GST_")]:
        del os.environ[name]
    if not (root / "gst.yaml").exists():
        root.mkdir()
        (root / "gst.yaml").write_text(settings.replace("{port}", str(free_port())))
    project = Project(root)
    if not project.private_dir.exists():
        project.private_dir.mkdir(mode=0o700)
        make_credentials(project)
    stack.callback(LocalMongod(project).down)
    LocalMongod(project).up()
    migrate(project)
    write_configs(project)
    return project


def gst(project: Project, *words: str) -> list[str]:
    """Return a command line of the `gst` of this Python."""
    return [str(Path(sys.executable).with_name("gst")), "--project", str(project.root), *words]


@contextlib.contextmanager
def launched(project: Project, workers: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a launcher with its workers; kill the rest in the end."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            gst(project, "launch", "--workers", str(workers)), stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_with_all(process)


def free_port() -> int:
    """Return a free port of this computer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
