"""Connect to a project's database: the results, FireWorks' launchpad and jobflow's job store."""

from __future__ import annotations

import atexit
import math
import os
import socket
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import Project
from gst_jobflow.store.address import APP_NAME, AUTH_SOURCE, LOOPBACK, Connection, connection, hosts_of
from gst_jobflow.store.driver_errors import denied, explain, not_running
from gst_jobflow.store.schema.versions import refuse_files_in_gridfs, require_current

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore

JOB_STORE_COLLECTION = "outputs"


def connect(project: Project, *, any_version: bool = False) -> Database:
    """Connect to the project's database and check its version; times are read with their zone (UTC).

    With `any_version`, accept another schema version, as preparing, checking, saving and restoring do.

    Raises
    ------
    DatabaseError
        The database does not run, cannot be reached, refuses us, has no credentials, or is of another schema version.
    """
    database = open_database(connection(project))
    _ask(database, any_version)
    return database


@dataclass
class CachedConnection:
    """Database and job stores of a project, through clients that stay open."""

    pid: int
    project: Project
    where: Connection
    database: Database
    asked_at: float = -math.inf
    """When the server was last asked for its version, s of `time.monotonic`."""

    def serves(self, project: Project) -> bool:
        """Whether the server of this project answered this process within `ASKED_AGAIN_S`."""
        just_now = time.monotonic() - self.asked_at < ASKED_AGAIN_S
        return just_now and self.pid == os.getpid() and self.project is project

    @cached_property
    def job_store(self) -> JobStore:
        """The job store, connected at its first use."""
        return _job_store_of(self.where)


ASKED_AGAIN_S = 1.0
"""How long the jobs of a process rely on an answer of the server, s."""
_cached: list[CachedConnection] = []
"""The cached connection of this process, if any."""


def cached_connection(project: Project) -> CachedConnection:
    """Return database and job stores through clients that stay open in this process.

    This is for jobs that run one after another in one process, since connecting takes longer than a short job's
    queries. Unless it was done within `ASKED_AGAIN_S`, address and account are read again, and the server is asked
    whether it answers and has our version. Nobody closes these clients.

    Raises
    ------
    DatabaseError
        As `connect`; the clients are then dropped.
    """
    if _cached and _cached[0].serves(project):
        return _cached[0]
    where = connection(project)
    # a client does not survive a fork
    if not _cached or (_cached[0].pid, _cached[0].where) != (os.getpid(), where):
        _cached[:] = [CachedConnection(os.getpid(), project, where, open_database(where))]
    try:
        _ask(_cached[0].database)
    except BaseException:
        _cached.clear()
        raise
    _cached[0].project, _cached[0].asked_at = project, time.monotonic()
    return _cached[0]


def _ask(database: Database, any_version: bool = False) -> None:
    """Check that this program can work with the database; close its client if not."""
    try:
        refuse_files_in_gridfs(database)
        if not any_version:
            require_current(database)
    except PyMongoError as err:
        database.client.close()
        raise denied(err) or DatabaseError("the database went away", "gst db status; then run this again") from None
    except BaseException:
        database.client.close()
        raise


def open_database(where: Connection) -> Database:
    """Connect to `where` and check that it answers and accepts our account; raises as `connect`."""
    if not where.external and not listens(where.port):
        raise not_running(where)
    client: MongoClient | None = None
    _end_without_waiting()
    try:
        client = MongoClient(where.full_uri, tz_aware=True, **where.client_options)
        database = client[where.database]
        # the server would answer a ping without an account
        database.command("listCollections", nameOnly=True, authorizedCollections=True)
    except (PyMongoError, ValueError, OSError) as err:  # OSError: a certificate file
        if client is not None:
            client.close()
        # the driver's text and traceback may hold the URI
        raise explain(err, where) from None
    return database


def _end_without_waiting() -> None:
    """Let this process end at once, where PyMongo would wait half a second for its threads.

    They are daemons that watch servers and close idle cursors, and wake twice a second to see whether to stop.
    """
    from pymongo.synchronous import monitor

    if wait_for_threads := getattr(monitor, "_shutdown_resources", None):
        atexit.unregister(wait_for_threads)


def listens(port: int) -> bool:
    """Whether something on this host accepts connections on `port`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2.0):
            return True
    except OSError:
        return False


def launchpad(project: Project) -> LaunchPad:
    """Return the FireWorks launchpad in the project's database; raises as `connect`."""
    where = connection(project)
    connect(project).client.close()
    from fireworks import LaunchPad

    options = {**where.client_options, "appname": f"{APP_NAME} launchpad"}
    common = {"name": where.database, "strm_lvl": "WARNING", "mongoclient_kwargs": options}
    if where.uri is not None:
        return LaunchPad(host=where.uri, uri_mode=True, **common)
    account = {"username": where.username, "password": where.password, "authsource": AUTH_SOURCE}
    return LaunchPad(host=LOOPBACK, port=where.port, **account, **common)


def is_launchpad_of(project: Project, pad: LaunchPad) -> bool:
    """Whether a launchpad has the address of the project's database; contacts no server."""
    try:
        return _is_at(connection(project), pad)
    except DatabaseError:
        return False


def _is_at(where: Connection, pad: LaunchPad) -> bool:
    if where.uri is not None:
        return pad.name == where.database and pad.uri_mode and hosts_of(pad.host) == hosts_of(where.uri)
    # another server may have the port by now
    return (pad.name, pad.port, pad.password) == (where.database, where.port, where.password)


def job_store(project: Project) -> JobStore:
    """Return jobflow's store of job outputs in the project's database, not yet connected; raises as `connect`."""
    where = connection(project)
    connect(project).client.close()
    return _job_store_of(where)


def _job_store_of(where: Connection) -> JobStore:
    from jobflow import JobStore
    from maggma.stores import MongoStore

    return JobStore(MongoStore(**job_store_arguments(where)))


def job_store_arguments(where: Connection) -> dict[str, Any]:
    """Return the keywords of maggma's `MongoStore` for the job store, with the password."""
    common: dict[str, Any] = {
        "database": where.database,
        "collection_name": JOB_STORE_COLLECTION,
        "mongoclient_kwargs": {**where.client_options, "appname": f"{APP_NAME} jobstore"},
    }
    if where.uri is not None:
        return {**common, "uri": where.uri}
    return {
        **common,
        "host": LOOPBACK,
        "port": where.port,
        "username": where.username,
        "password": where.password,
        "auth_source": AUTH_SOURCE,
    }
