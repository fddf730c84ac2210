"""Fixtures for everybody: a real project with its own mongod, and a database of its own for each test."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gst_jobflow.settings import Project


def _free_port() -> int:
    """A port that was free a moment ago, from where the system gives them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _make_project(root: Path, settings: str = "") -> Project:
    """Make a project as `gst init` does, on a port that no default uses."""
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import make_credentials
    from gst_jobflow.settings import Project

    root.mkdir(parents=True, exist_ok=True)
    (root / "gst.yaml").write_text(settings or f"mongo: {{port: {_free_port()}, cache_gb: 0.25}}\n")
    project = Project(root)
    project.private_dir.mkdir(mode=0o700)
    make_credentials(project)
    write_configs(project)
    return project


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nothing listens."""
    return _free_port()


@pytest.fixture(scope="session")
def new_project() -> Callable[..., Project]:
    """`new_project(root, settings="")` makes a project with the text of a `gst.yaml`; nothing is started."""
    return _make_project


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Tests do not see the project or settings of the shell that they are started from."""
    names = ("GST_", "JOBFLOW_", "FW_CONFIG_FILE")
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(names)}
    yield
    os.environ.update(kept)


@pytest.fixture(scope="session")
def mongo_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a running mongod for the whole session; ended by our own `down`."""
    from gst_jobflow.launch.services import LocalMongod

    project = _make_project(tmp_path_factory.mktemp("mongo") / "project")
    server = LocalMongod(project)
    server.up()
    yield project
    server.down()


@pytest.fixture
def project(mongo_project: Project, tmp_path: Path) -> Iterator[Project]:
    """A project of its own folder and database on the session's server, prepared by `migrate`; dropped afterwards."""
    import json

    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.settings import Project
    from gst_jobflow.store.connect import connect, credentials_file, read_state, state_file
    from gst_jobflow.store.migrate import migrate

    root = tmp_path / "project"
    root.mkdir()
    port = read_state(mongo_project)["port"]
    database = f"test_{uuid.uuid4().hex[:12]}"
    LocalMongod(mongo_project).allow_database(database)
    (root / "gst.yaml").write_text(f"mongo: {{database: {database}, port: {port}, cache_gb: 0.25}}\n")
    mine = Project(root)
    mine.private_dir.mkdir(mode=0o700)
    credentials_file(mine).write_text(credentials_file(mongo_project).read_text())
    credentials_file(mine).chmod(0o600)
    # the server stays the session's: no pid here, so `down` on this project stops nothing
    state_file(mine).parent.mkdir(mode=0o700)
    state_file(mine).write_text(json.dumps({"port": port, "asked_port": port}))
    write_configs(mine)
    migrate(mine)
    yield mine
    base = connect(mine)
    base.client.drop_database(database)
    base.client.close()
