"""Find address and account of a project's database, without contacting a server."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import Project

LOOPBACK = "127.0.0.1"
AUTH_SOURCE = "admin"
APP_NAME = "gst_jobflow"
# options of a URI that are safe to show; every other one may hold a secret
_HARMLESS_OPTIONS = {"authsource", "directconnection", "replicaset", "ssl", "tls"}
_HOST = re.compile(r"[^\s:/@]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")


@dataclass(frozen=True)
class Connection:
    """Address and account of a database; its `repr` holds no secret.

    Only an external MongoDB has a `uri`; the other fields describe the project's own mongod. `auth_source` is the
    database that holds the account.
    """

    database: str
    timeout_s: float
    uri: str | None = field(default=None, repr=False)
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    auth_source: str = AUTH_SOURCE
    tls: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def external(self) -> bool:
        """Whether somebody else runs the server."""
        return self.uri is not None

    @property
    def full_uri(self) -> str:
        """The URI with the password, which must not be shown or logged."""
        if self.uri is not None:
            return self.uri
        return (
            f"mongodb://{quote_plus(self.username)}:{quote_plus(self.password)}@{LOOPBACK}:{self.port}/"
            f"{self.database}?authSource={self.auth_source}"
        )

    @property
    def shown(self) -> str:
        """The URI for people."""
        return redacted_uri(self.full_uri)

    @property
    def client_options(self) -> dict[str, Any]:
        """Return the keywords of every client of this database, including FireWorks' and jobflow's.

        Keywords override the URI, so they leave out what a URI says about TLS or writes.
        """
        milliseconds = int(self.timeout_s * 1000)
        options: dict[str, Any] = {
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "appname": APP_NAME,
            **self.tls,
        }
        if not _uri_options(self.uri or "") & {"w", "journal", "j"}:
            # acknowledge writes when they are on the disks of most servers: they survive the loss of one host
            options |= {"w": "majority", "journal": True}
        return options


def credentials_file(project: Project) -> Path:
    """Return the file with the passwords of the project's own mongod: `{"admin": {username, password}, "app": …}`."""
    return project.private_dir / "credentials.json"


def uri_file(project: Project) -> Path:
    """Return the file with the URI of an external MongoDB, which is kept out of `gst.yaml`, since people share that."""
    return project.private_dir / "mongo_uri"


def external_uri(project: Project) -> str | None:
    """Return the URI of the external MongoDB: the setting `mongo.uri`, else `.gst/mongo_uri`, else None."""
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
    """Return the file with the state of the project's own mongod: port, pid, start."""
    return project.private_dir / "mongod" / "state.json"


def read_state(project: Project) -> dict[str, Any]:
    """Return the state of the project's own mongod; empty if it never ran or the file is damaged."""
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
    """Return the address of the project's database without contacting the server.

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
    """Return the TLS options of the settings; paths are relative to the project."""
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
    """Return the names of the options in a URI, in lower case."""
    return {option.partition("=")[0].lower() for option in uri.partition("?")[2].replace(";", "&").split("&")}


def redacted_uri(uri: str) -> str:
    """Return `uri` without its password and without options that may hold a secret."""
    scheme, sign, rest = uri.partition("://")
    if not sign or scheme not in ("mongodb", "mongodb+srv"):
        return "(not a MongoDB URI)"
    # everything up to the last '@' is the user: a password with an unescaped '@' or '/' must not leak either
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
    """Return hosts and ports of a URI."""
    return redacted_uri(uri).rpartition("@")[2].rpartition("://")[2].partition("/")[0].partition("?")[0]
