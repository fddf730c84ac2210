"""Connections to the one database of a project; failures are one line with a way out, without passwords."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from gst_jobflow.errors import DatabaseError

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore
    from pymongo import MongoClient
    from pymongo.database import Database

    from gst_jobflow.settings import Project

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
        """Keywords that every client of this database gets."""
        milliseconds = int(self.timeout_s * 1000)
        return {
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "appname": APP_NAME,
        }


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
        The project's own mongod has no credentials yet.
    """
    mongo = project.settings.mongo
    uri = external_uri(project)
    if uri is not None:
        return Connection(mongo.database, mongo.timeout_s, uri=uri)
    app = read_credentials(project)["app"]
    port = int(read_state(project).get("port") or mongo.port)
    return Connection(mongo.database, mongo.timeout_s, None, port, app["username"], app["password"])


def connect(project: Project) -> Database:
    """Return the project's database after it has answered to our name.

    Times come back with their zone (UTC).

    Raises
    ------
    DatabaseError
        Not running, unreachable, refused, or no credentials.
    """
    return open_database(connection(project))


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
    except (PyMongoError, ValueError) as err:
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
    open_database(where).client.close()
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


def job_store(project: Project) -> JobStore:
    """Return jobflow's store of job outputs in the project's database, not yet connected.

    Raises
    ------
    DatabaseError
        As `connect`.
    """
    where = connection(project)
    open_database(where).client.close()
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


def explain(err: Exception, where: Connection) -> DatabaseError:
    """Turn an error of pymongo into one line with a way out, without the driver's text: it may hold secrets."""
    from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, ServerSelectionTimeoutError

    if isinstance(err, OperationFailure):
        return _refused(err, where)
    if isinstance(err, (InvalidURI, ConfigurationError, ValueError)):
        return DatabaseError(
            f"the MongoDB URI is not valid: {where.shown} ({type(err).__name__})",
            "check mongo.uri (GST_MONGO__URI); special characters of a password are percent-encoded in a URI",
        )
    if not where.external:
        return _not_running(where)
    if isinstance(err, ServerSelectionTimeoutError):
        return DatabaseError(
            f"no MongoDB answers at {where.shown} within {where.timeout_s:g} s",
            "check host, port and firewall of mongo.uri (GST_MONGO__URI), or raise mongo.timeout_s",
        )
    return DatabaseError(
        f"the MongoDB at {where.shown} ended the connection ({type(err).__name__})", "see the server's log"
    )


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
