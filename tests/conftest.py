"""Fixtures for everybody: a real project with its own mongod, and a database of its own for each test."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as of_hypothesis

from gst_jobflow.base.settings import CORES_VARIABLE, Project
from gst_jobflow.cli.common import set_global_options

if TYPE_CHECKING:
    from pymongo.database import Database


# tests assert nothing on time, also on a busy machine
of_hypothesis.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
of_hypothesis.load_profile("any machine")


_TOGETHER = ("tests/slurm", "tests/fitting", "tests/analysis")
"""Folders that share what takes long to make: a SLURM, a fit, compiled kernels. One process runs all their tests."""


def _unit(nodeid: str) -> str:
    """Return what one process runs as a whole: a file, or a folder whose files share more."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in _TOGETHER if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests out as `--dist loadfile` does, but keep folders of `_TOGETHER` whole."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    return ByUnit(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what holds most slow tests where processes share them, so that none is left with one at the end.

    Tests of the whole package come before those of its rooms, which are short.
    """
    if hasattr(config, "workerinput"):
        slow = Counter(_unit(item.nodeid) for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: (-slow[_unit(item.nodeid)], _unit(item.nodeid).count("/")))


def _free_port() -> int:
    """A port that was free a moment ago, from where the system gives them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _make_project(root: Path, settings: str = "") -> Project:
    """Make a project as `gst init` does, on a port that no default uses."""
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import make_credentials

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


_SETTINGS = ("GST_", "JOBFLOW_", "FW_CONFIG_FILE")
# set by commands beside ours; a user may need them to find programs
_SET_BY_COMMANDS = (*_SETTINGS, "PMG_VASP_PSP_DIR", "CP2K_DATA_DIR")


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Tests do not see the project or settings of the shell that they are started from, and use one core each.

    Several processes test at once, and ranks of MPI whose cores are taken wait for each other and turn.
    """
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_SETTINGS)}
    os.environ[CORES_VARIABLE] = "1"
    yield
    del os.environ[CORES_VARIABLE]
    os.environ.update(kept)


@pytest.fixture(autouse=True)
def _no_settings_from_other_tests() -> Iterator[None]:
    """A command of `gst` that runs in this process tells later ones its project, as it does to its children."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_SET_BY_COMMANDS)}
    set_global_options(project=None, overrides={}, resources={})
    yield
    for name in [name for name in os.environ if name.startswith(_SET_BY_COMMANDS)]:
        os.environ.pop(name)
    os.environ.update(before)


@pytest.fixture(scope="session")
def mongo_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a running mongod for the whole session.

    It lies in memory where there is room: preparing a database for a test waits for the disk hundreds of times.
    """
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.address import read_state

    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    root = Path(tempfile.mkdtemp(prefix="gst-tests-", dir=memory)) if in_memory else tmp_path_factory.mktemp("mongo")
    project = _make_project(root / "project")
    LocalMongod(project).up()
    yield project
    # a clean end takes seconds, and the data is not wanted
    process = psutil.Process(read_state(project)["pid"])
    process.kill()
    process.wait(timeout=60)
    shutil.rmtree(root)


class PreparedDatabases:
    """Databases on the session's server as `migrate` makes them; one that a test left in that form is used again.

    Preparing one takes more than a second, emptying it a hundredth.
    """

    def __init__(self) -> None:
        self._free: list[str] = []
        self._form: dict[str, Any] = {}
        self._documents: dict[str, list[dict[str, Any]]] = {}

    def take(self) -> str | None:
        """The name of a prepared, empty database, if there is one."""
        return self._free.pop() if self._free else None

    def made(self, database: Database) -> None:
        """Remember what `migrate` makes."""
        if not self._form:
            self._form = _form(database)
            self._documents = {name: list(database[name].find()) for name in self._form}

    def give_back(self, database: Database) -> None:
        """Empty a database for another test, or drop it where a test changed more than documents."""
        if _form(database) != self._form:
            database.client.drop_database(database.name)
            return
        for name, documents in self._documents.items():
            database[name].delete_many({})
            if documents:
                database[name].insert_many(documents)
        self._free.append(database.name)


def _form(database: Database) -> dict[str, Any]:
    """Options and indexes of all collections."""
    return {
        info["name"]: (info["options"], database[info["name"]].index_information())
        for info in database.list_collections()
    }


@pytest.fixture(scope="session")
def prepared_databases() -> PreparedDatabases:
    """Databases that tests may use one after the other."""
    return PreparedDatabases()


@pytest.fixture
def project(
    mongo_project: Project,
    prepared_databases: PreparedDatabases,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Project]:
    """A project of its own folder and database on the session's server, as `migrate` prepares it.

    Tests marked `fresh_database` have one that nobody else uses: accounts outlive a database, workers their test.
    """
    import json

    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.address import credentials_file, read_state, state_file
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.schema.migrate import migrate

    root = tmp_path / "project"
    root.mkdir()
    port = read_state(mongo_project)["port"]
    fresh = request.node.get_closest_marker("fresh_database") is not None
    known = None if fresh else prepared_databases.take()
    database = known or f"test_{uuid.uuid4().hex[:12]}"
    if known is None:
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
    if known is None:
        migrate(mine)
        base = connect(mine)
        prepared_databases.made(base)
        base.client.close()
    yield mine
    base = connect(mine, any_version=True)
    if fresh:
        base.client.drop_database(database)
    else:
        prepared_databases.give_back(base)
    base.client.close()
