"""Connections to the one database of a project; failures are one line with a way out, without passwords."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from gst_jobflow.base.errors import DatabaseError

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore
    from pymongo import MongoClient
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

LOOPBACK = "127.0.0.1"
AUTH_SOURCE = "admin"
APP_NAME = "gst_jobflow"
JOB_STORE_COLLECTION = "outputs"

_AUTHENTICATION_FAILED = 18
_UNAUTHORIZED = 13
# options of a URI that say where and how; every other one may hold a secret
_HARMLESS_OPTIONS = {"authsource", "directconnection", "replicaset", "ssl", "tls"}
_HOST = re.compile(r"[^\s:/@]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")


@dataclass(frozen=True)
class Connection:
    """Where the database is and who we are there. Its `repr` holds no secret.

    `uri` is set for an external MongoDB only; the project's own mongod is described by the other fields.
    """

    database: str
    timeout_s: float
    uri: str | None = field(default=None, repr=False)
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def external(self) -> bool:
        """Whether somebody else runs the server."""
        return self.uri is not None

    @property
    def full_uri(self) -> str:
        """The URI with the password: for programs, never for people or logs."""
        if self.uri is not None:
            return self.uri
        return (
            f"mongodb://{quote_plus(self.username)}:{quote_plus(self.password)}@{LOOPBACK}:{self.port}/"
            f"{self.database}?authSource={AUTH_SOURCE}"
        )

    @property
    def shown(self) -> str:
        """The URI for people."""
        return redacted_uri(self.full_uri)

    @property
    def client_options(self) -> dict[str, Any]:
        """Keywords that every client of this database gets, FireWorks' and jobflow's too.

        Keywords win over the URI, so what a URI says of TLS or of writes is left out here.
        """
        milliseconds = int(self.timeout_s * 1000)
        options: dict[str, Any] = {
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "appname": APP_NAME,
            **self.tls,
        }
        said = _uri_options(self.uri or "")
        if not said & {"w", "journal", "j"}:
            # what the server acknowledged survives its end and that of one host: on the disks of most
            options |= {"w": "majority", "journal": True}
        return options


def credentials_file(project: Project) -> Path:
    """Passwords of the project's own mongod: `{"admin": {username, password}, "app": {username, password}}`."""
    return project.private_dir / "credentials.json"


def uri_file(project: Project) -> Path:
    """URI of an external MongoDB as `gst init` keeps it, out of `gst.yaml`, which people share."""
    return project.private_dir / "mongo_uri"


def external_uri(project: Project) -> str | None:
    """Return the URI of the external MongoDB: the setting `mongo.uri`, else `.gst/mongo_uri`, else none."""
    if project.settings.mongo.uri is not None:
        return project.settings.mongo.uri.get_secret_value().strip()
    try:
        return uri_file(project).read_text().strip() or None
    except FileNotFoundError:
        return None
    except PermissionError as err:
        raise DatabaseError(
            f"{uri_file(project)} cannot be read by this user", "work as the owner of the project"
        ) from err


def state_file(project: Project) -> Path:
    """State of the project's own mongod: port, pid, start."""
    return project.private_dir / "mongod" / "state.json"


def read_state(project: Project) -> dict[str, Any]:
    """Return the state of the project's own mongod; empty when it never ran or the file is damaged."""
    try:
        state = json.loads(state_file(project).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return state if isinstance(state, dict) else {}


def read_credentials(project: Project) -> dict[str, dict[str, str]]:
    """Return the credentials of the project's own mongod.

    Raises
    ------
    DatabaseError
        The file is missing, unreadable or damaged.
    """
    file = credentials_file(project)
    fix = "gst db up  (sets new passwords; the data is kept)"
    try:
        content = json.loads(file.read_text())
        for user in ("admin", "app"):
            if not (content[user]["username"] and content[user]["password"]):
                raise KeyError(user)
    except FileNotFoundError as err:
        raise DatabaseError(f"the project's database has no credentials: {file} is missing", fix) from err
    except PermissionError as err:
        raise DatabaseError(f"{file} cannot be read by this user", "work as the owner of the project") from err
    except (json.JSONDecodeError, KeyError, TypeError) as err:
        raise DatabaseError(f"{file} is damaged", f"rm {file}; {fix}") from err
    return content


def connection(project: Project) -> Connection:
    """Return where the database of `project` is, without asking it anything.

    Raises
    ------
    DatabaseError
        The project's own mongod has no credentials yet, or a certificate file is missing.
    """
    mongo = project.settings.mongo
    uri = external_uri(project)
    if uri is not None:
        return Connection(mongo.database, mongo.timeout_s, uri=uri, tls=_tls_options(project))
    app = read_credentials(project)["app"]
    port = int(read_state(project).get("port") or mongo.port)
    return Connection(mongo.database, mongo.timeout_s, None, port, app["username"], app["password"])


def _tls_options(project: Project) -> dict[str, Any]:
    """Options of TLS from the settings; paths are relative to the project."""
    mongo = project.settings.mongo
    options: dict[str, Any] = {} if mongo.tls is None else {"tls": mongo.tls}
    for setting, option in (("tls_ca_file", "tlsCAFile"), ("tls_certificate_file", "tlsCertificateKeyFile")):
        chosen = getattr(mongo, setting)
        if chosen is None:
            continue
        file = project.root / chosen
        if not os.access(file, os.R_OK) or not file.is_file():
            raise DatabaseError(f"mongo.{setting}: {file} is not a file that can be read", "correct the path")
        options |= {"tls": True, option: str(file)} if mongo.tls is None else {option: str(file)}
    return options


def _uri_options(uri: str) -> set[str]:
    """Names of the options in a URI, in small letters."""
    return {option.partition("=")[0].lower() for option in uri.partition("?")[2].replace(";", "&").split("&")}


def connect(project: Project, *, any_version: bool = False) -> Database:
    """Return the project's database after it has answered to our name.

    Times come back with their zone (UTC).

    Parameters
    ----------
    project
        The project.
    any_version
        Also one that is not of this schema version: for what prepares, checks, saves or restores it.

    Raises
    ------
    DatabaseError
        Not running, unreachable, refused, no credentials, or of another schema version.
    """
    database = open_database(connection(project))
    _ask(database, any_version)
    return database


@dataclass
class Kept:
    """Database and job store of a project, through clients that stay open."""

    pid: int
    project: Project
    where: Connection
    database: Database
    job_store: JobStore
    asked_at: float = -math.inf
    """When the server was last asked for its version, s of `time.monotonic`."""

    def serves(self, project: Project) -> bool:
        """Whether the server of this project answered to this process just now."""
        just_now = time.monotonic() - self.asked_at < ASKED_AGAIN_S
        return just_now and self.pid == os.getpid() and self.project is project


ASKED_AGAIN_S = 1.0
"""How long an answer of the server holds for the jobs of a process: one that began so much earlier works on, too."""
_kept: list[Kept] = []
"""The one of this process, if any."""


def kept(project: Project) -> Kept:
    """Return the database of `connect` and the job store, through clients that this process keeps open.

    For jobs that one process runs one after another: to connect costs more than all that a short one asks. The server
    is asked whether it answers and has our version, and it is read anew where it is and who we are there, unless that
    was done within `ASKED_AGAIN_S`. Nobody closes these clients.

    Raises
    ------
    DatabaseError
        As `connect`; the clients are then given up.
    """
    if _kept and _kept[0].serves(project):
        return _kept[0]
    where = connection(project)
    # a client does not survive a fork
    if not _kept or (_kept[0].pid, _kept[0].where) != (os.getpid(), where):
        _kept[:] = [Kept(os.getpid(), project, where, open_database(where), _job_store_of(where))]
    try:
        _ask(_kept[0].database)
    except BaseException:
        _kept.clear()
        raise
    _kept[0].project, _kept[0].asked_at = project, time.monotonic()
    return _kept[0]


def _ask(database: Database, any_version: bool = False) -> None:
    """Make sure that we can work with this database; close its client if not."""
    from pymongo.errors import PyMongoError

    from gst_jobflow.store.schema.versions import refuse_files_in_gridfs, require_current

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
    """Connect to `where` and make sure that it answers and knows us.

    Raises
    ------
    DatabaseError
        As `connect`.
    """
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    if not where.external and not listens(where.port):
        raise _not_running(where)
    client: MongoClient | None = None
    try:
        client = MongoClient(where.full_uri, tz_aware=True, **where.client_options)
        database = client[where.database]
        # ping would be answered to strangers too
        database.command("listCollections", nameOnly=True, authorizedCollections=True)
    except (PyMongoError, ValueError, OSError) as err:  # OSError: a certificate file
        if client is not None:
            client.close()
        # the driver's own text and traceback may hold the URI
        raise explain(err, where) from None
    return database


def listens(port: int, host: str = LOOPBACK) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except OSError:
        return False


def launchpad(project: Project) -> LaunchPad:
    """Return the FireWorks launchpad in the project's database.

    Raises
    ------
    DatabaseError
        As `connect`.
    """
    where = connection(project)
    connect(project).client.close()
    from fireworks import LaunchPad

    options = {**where.client_options, "appname": f"{APP_NAME} launchpad"}
    if where.uri is not None:
        return LaunchPad(
            host=where.uri,
            name=where.database,
            uri_mode=True,
            strm_lvl="WARNING",
            mongoclient_kwargs=options,
        )
    return LaunchPad(
        host=LOOPBACK,
        port=where.port,
        name=where.database,
        username=where.username,
        password=where.password,
        authsource=AUTH_SOURCE,
        strm_lvl="WARNING",
        mongoclient_kwargs=options,
    )


def is_launchpad_of(project: Project, pad: LaunchPad) -> bool:
    """Whether a launchpad is in the project's database, as far as names of hosts tell; nobody is asked."""
    try:
        where = connection(project)
    except DatabaseError:
        return False
    if where.uri is not None:
        return pad.name == where.database and pad.uri_mode and hosts_of(pad.host) == hosts_of(where.uri)
    # the port may be another server's by now
    return (pad.name, pad.port, pad.password) == (where.database, where.port, where.password)


def job_store(project: Project) -> JobStore:
    """Return jobflow's store of job outputs in the project's database, not yet connected.

    Raises
    ------
    DatabaseError
        As `connect`.
    """
    where = connection(project)
    connect(project).client.close()
    return _job_store_of(where)


def _job_store_of(where: Connection) -> JobStore:
    from jobflow import JobStore
    from maggma.stores import MongoStore

    return JobStore(MongoStore(**job_store_arguments(where)))


def job_store_arguments(where: Connection) -> dict[str, Any]:
    """Return the keywords of maggma's `MongoStore` for the job store; they hold the password."""
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


def redacted_uri(uri: str) -> str:
    """Return `uri` without its password and without options that may hold a secret."""
    scheme, sign, rest = uri.partition("://")
    if not sign or scheme not in ("mongodb", "mongodb+srv"):
        return "(not a MongoDB URI)"
    # a password with an unescaped '@' or '/' must not leak either: everything up to the last '@' names the user
    user, at, place = rest.rpartition("@")
    place, _, options = place.partition("?")
    hosts, _, database = place.partition("/")
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        return f"{scheme}://(malformed)"
    name = user.partition(":")[0]
    kept = [option for option in options.split("&") if option.partition("=")[0].lower() in _HARMLESS_OPTIONS]
    return (
        f"{scheme}://{name}{at}{hosts}"
        + (f"/{database}" if database or kept else "")
        + (f"?{'&'.join(kept)}" if kept else "")
    )


def hosts_of(uri: str) -> str:
    """Hosts and ports of a URI."""
    return redacted_uri(uri).rpartition("@")[2].rpartition("://")[2].partition("/")[0].partition("?")[0]


def denied(err: Exception) -> DatabaseError | None:
    """The one line for what the account has no right to; None for any other error of the driver."""
    if getattr(err, "code", None) != _UNAUTHORIZED:
        return None
    return DatabaseError(
        "this account of the database may not do that",
        "readers read, workers also run jobs: ask the owner of the project for another role (gst db users)",
    )


@contextmanager
def denials() -> Iterator[None]:
    """Turn MongoDB's refusals of a right into the one line."""
    from pymongo.errors import OperationFailure

    try:
        yield
    except OperationFailure as err:
        found = denied(err)
        if found is None:
            raise
        # the driver's own text repeats the whole command
        raise found from None


def explain(err: Exception, where: Connection) -> DatabaseError:
    """Turn an error of pymongo into one line with a way out, without the driver's text: it may hold secrets."""
    from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, ServerSelectionTimeoutError

    if isinstance(err, OperationFailure):
        return _refused(err, where)
    if where.external and (problem := _tls_problem(str(err))):
        return DatabaseError(f"{problem[0]} ({where.shown})", problem[1])
    if isinstance(err, OSError):
        return DatabaseError(
            f"a certificate file cannot be used: {err.strerror or type(err).__name__}",
            "check mongo.tls_ca_file, mongo.tls_certificate_file and the tls… options of mongo.uri",
        )
    if isinstance(err, (InvalidURI, ConfigurationError, ValueError)):
        return DatabaseError(
            f"the MongoDB URI is not valid: {where.shown} ({type(err).__name__})",
            "check mongo.uri (GST_MONGO__URI); special characters of a password are percent-encoded in a URI",
        )
    if not where.external:
        return _not_running(where)
    if isinstance(err, ServerSelectionTimeoutError) and "connection closed" in str(err).lower():
        return DatabaseError(
            f"what listens at {where.shown} ends the connection at once",
            "does it ask for TLS (mongo.tls, mongo.tls_ca_file), or not speak it (leave tls out)?",
        )
    if isinstance(err, ServerSelectionTimeoutError):
        return DatabaseError(
            f"no MongoDB answers at {where.shown} within {where.timeout_s:g} s",
            "check host, port and firewall of mongo.uri (GST_MONGO__URI), or raise mongo.timeout_s",
        )
    return DatabaseError(
        f"the MongoDB at {where.shown} ended the connection ({type(err).__name__})", "see the server's log"
    )


# what the driver's text holds → what it means, and the way out; the text itself is not shown
_TLS_PROBLEMS = {
    "Hostname mismatch": ("the server's certificate is for another host", "use the host name that it was made for"),
    "IP address mismatch": ("the server's certificate is for another host", "use the host name that it was made for"),
    "certificate has expired": ("the server's certificate has expired", "ask who runs the server"),
    "CERTIFICATE_VERIFY_FAILED": (
        "the server's certificate is not signed by a CA that is trusted here",
        "name the PEM file of its CA: mongo.tls_ca_file",
    ),
    "WRONG_VERSION_NUMBER": ("the server does not speak TLS", "leave tls out of mongo.uri and mongo.tls"),
    "CERTIFICATE_REQUIRED": ("the server asks for a certificate of ours", "set mongo.tls_certificate_file"),
    "KEY_VALUES_MISMATCH": ("certificate and key of ours do not belong together", "check mongo.tls_certificate_file"),
    "UNEXPECTED_EOF": ("the server does not speak TLS", "leave tls out of mongo.uri and mongo.tls"),
    "Private key": ("our certificate file has no key that fits", "one PEM file with both: mongo.tls_certificate_file"),
    "NO_CERTIFICATE_OR_CRL_FOUND": ("the CA file holds no certificate", "check mongo.tls_ca_file"),
}


def _tls_problem(text: str) -> tuple[str, str] | None:
    folded = text.lower()
    return next((problem for sign, problem in _TLS_PROBLEMS.items() if sign.lower() in folded), None)


def _not_running(where: Connection) -> DatabaseError:
    return DatabaseError(f"the project's database does not answer on {LOOPBACK}:{where.port}", "gst db up")


def _refused(err: Any, where: Connection) -> DatabaseError:
    if err.code == _AUTHENTICATION_FAILED:
        problem = f"authentication failed for '{_user(where)}' at {where.shown}"
        if where.external:
            return DatabaseError(problem, "check user, password and authSource in mongo.uri (GST_MONGO__URI)")
        return DatabaseError(
            problem, "gst db up  (finds a free port where another MongoDB took ours, and mends the passwords)"
        )
    if err.code == _UNAUTHORIZED:
        return DatabaseError(
            f"'{_user(where)}' may not use database '{where.database}' at {where.shown}",
            "grant it readWrite and dbAdmin there, or name its own database in mongo.database"
            if where.external
            else "gst db up  (grants it)",
        )
    return DatabaseError(f"the MongoDB at {where.shown} refuses: error {err.code}", "see the server's log")


def _user(where: Connection) -> str:
    shown = where.shown.partition("://")[2]
    return shown.rpartition("@")[0] or "nobody (the URI names no user)"
