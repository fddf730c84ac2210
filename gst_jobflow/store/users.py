"""Manage accounts of the project's database: owner, worker, reader; on its own mongod and on an external one.

Users and roles are stored in the project's database itself. So projects on one server stay apart, and the right
`userAdmin` on that database is enough to manage them.

| role | may |
|---|---|
| owner | read, write, drop, indexes, validators, as the project's own account (readWrite, dbAdmin) |
| worker | read, insert and update everything; remove fireworks only; neither indexes nor drop |
| reader | read |
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote_plus

from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure
from pymongo.uri_parser import parse_uri

from gst_jobflow.base.atomic import replacing, sync
from gst_jobflow.base.errors import DatabaseError, InputError, check_known, nearest
from gst_jobflow.base.settings import Project
from gst_jobflow.store.address import LOOPBACK, Connection, connection, read_credentials
from gst_jobflow.store.connect import open_database
from gst_jobflow.store.driver_errors import denied

Role = Literal["owner", "worker", "reader"]
ROLES: tuple[str, ...] = get_args(Role)

_READ = ("find", "listCollections", "listIndexes", "collStats", "dbStats")
# what MongoDB's own role `read` grants besides
_READ_ONLY = {*_READ, "changeStream", "dbHash", "killCursors", "listSearchIndexes", "planCacheRead"}
_WRITE = ("insert", "update")
# what FireWorks removes while jobs run: no results, outputs or attempts
_LAUNCHPAD = ("fireworks",)
_BUILT_IN = {"owner": ("readWrite", "dbAdmin")}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# options of our own URI that identify our account
_OUR_OPTIONS = {"authsource", "authmechanism", "authmechanismproperties"}
_OUR_OPTIONS |= {"tlscertificatekeyfile", "tlscertificatekeyfilepassword"}
_EXISTS = 51003
_UNKNOWN_COMMAND = 59


@dataclass(frozen=True)
class User:
    """An account; `file` holds its URI if this project made it."""

    name: str
    role: str
    file: str = ""


def uri_path(project: Project, name: str) -> Path:
    """Return the file with the URI of an account, mode 0600."""
    return project.private_dir / "users" / f"{name}.uri"


def add_user(project: Project, name: str, role: str, file: Path | None = None) -> Path:
    """Create an account with a random password; return the file with its URI, by default `.gst/users/NAME.uri`.

    Raises
    ------
    InputError
        The name or role is invalid, or the file exists.
    DatabaseError
        The account exists, or we may not create one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"'{name}' is not a name for an account", "use up to 64 letters, digits, '.', '_' and '-'")
    check_known("there is no role", role, ROLES)
    target = file or uri_path(project, name)
    if target.exists():
        raise InputError(f"{target} exists already", "name another with --file, or: gst db users passwd NAME")
    password = secrets.token_urlsafe(32)
    with _administration(project) as database:
        _make_roles(database)
        with _private(target) as part:  # written before the server has it, so no password is lost
            part.write_text(_uri(project, name, password) + "\n")
        try:
            database.command("createUser", name, pwd=password, roles=_roles(database, role), customData={"gst": role})
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return target


def list_users(project: Project) -> list[User]:
    """List the accounts of the database by name; raises DatabaseError if we may not see them."""
    with _administration(project) as database:
        found = database.command("usersInfo")["users"]
    names = sorted((user["user"], _role_of(user), uri_path(project, user["user"])) for user in found)
    return [User(name, role, str(file) if file.is_file() else "") for name, role, file in names]


def set_password(project: Project, name: str, file: Path | None = None) -> Path:
    """Replace the password of an account by a random one at once; return the file with its URI.

    Raises
    ------
    InputError
        There is no such account.
    DatabaseError
        We may not change it.
    """
    target, password = file or uri_path(project, name), secrets.token_urlsafe(32)
    with _administration(project) as database:
        _require(database, name)
        # the new file replaces the old one only after the server has the password
        with _private(target) as waiting:
            waiting.write_text(_uri(project, name, password) + "\n")
            sync(waiting)
            database.command("updateUser", name, pwd=password)
    return target


def remove_user(project: Project, name: str) -> None:
    """Remove an account and the file with its URI; raises as `set_password`."""
    with _administration(project) as database:
        _require(database, name)
        database.command("dropUser", name)
    uri_path(project, name).unlink(missing_ok=True)


def account_connection(project: Project, name: str) -> Connection:
    """Return the address of the project's database with an account that this project has the URI of.

    A file with its URI that is missing or damaged is an InputError.
    """
    file, where = uri_path(project, name), connection(project)
    try:
        uri = file.read_text().strip()
        if where.external:
            return replace(where, uri=uri)
        account = parse_uri(uri)
    except FileNotFoundError as err:
        fix = f"gst db users add {name} --role reader"
        raise InputError(f"this project has no account '{name}': {file} is missing", fix) from err
    except OSError as err:
        raise InputError(f"{file} cannot be read: {err.strerror}", "work as the owner of the project") from err
    except (InvalidURI, ConfigurationError, ValueError):
        # the driver's text may hold the URI
        raise InputError(f"{file} holds no MongoDB URI", f"gst db users passwd {name}") from None
    # the port may have changed since the file was written
    username, password = account["username"] or "", account["password"] or ""
    return replace(where, username=username, password=password, auth_source=where.database)


def require_reader(database: Database) -> None:
    """Refuse an account that may do more than read, or a server that does not ask for accounts (DatabaseError)."""
    granted = database.command("connectionStatus", showPrivileges=True)["authInfo"]
    names = [user["user"] for user in granted["authenticatedUsers"]]
    rights = {action for each in granted["authenticatedUserPrivileges"] for action in each["actions"]}
    if not names or not rights <= _READ_ONLY:
        who = f"account '{names[0]}' may do more than read" if names else "the server asks for no account"
        raise DatabaseError(f"{who}: database '{database.name}'", "gst db users add NAME --role reader")


def reads_only(where: Connection) -> bool:
    """Whether the account of an address may only read; raises as `open_database`."""
    database = open_database(where)
    try:
        require_reader(database)
    except DatabaseError:
        return False
    finally:
        database.client.close()
    return True


@contextmanager
def _administration(project: Project) -> Iterator[Database]:
    """Open the project's database with the account that manages users; turn its refusals into one line."""
    where = connection(project)
    if not where.external:
        admin = read_credentials(project)["admin"]
        where = Connection(where.database, where.timeout_s, None, where.port, admin["username"], admin["password"])
    database = open_database(where)
    try:
        yield database
    except OperationFailure as err:
        raise _explained(err, database.name) from None
    finally:
        database.client.close()


def _explained(err: Any, database: str) -> DatabaseError:
    if denied(err) is not None:
        return DatabaseError(
            f"this account may not manage users of database '{database}'",
            "ask the server's administrator for the role userAdmin on this database, or for the account",
        )
    if err.code == _EXISTS:
        return DatabaseError("an account of this name exists already", "gst db users list; gst db users passwd NAME")
    if err.code == _UNKNOWN_COMMAND:
        return DatabaseError("this MongoDB service does not let clients create users", "create them on its web pages")
    return DatabaseError(f"MongoDB refused: error {err.code} ({err.details.get('codeName', '')})", "see its log")


def _require(database: Database, name: str) -> None:
    users = [user["user"] for user in database.command("usersInfo")["users"]]
    if name not in users:
        raise InputError(f"there is no account '{name}'", nearest(name, users) if users else "gst db users add NAME")


def _make_roles(database: Database) -> None:
    """Create the roles, or give existing ones the rights of this version."""
    everything = {"db": database.name, "collection": ""}
    reading = {"resource": everything, "actions": list(_READ)}
    removing = [{"resource": {"db": database.name, "collection": name}, "actions": ["remove"]} for name in _LAUNCHPAD]
    wanted = {
        "reader": [reading],
        "worker": [{"resource": everything, "actions": [*_READ, *_WRITE]}, *removing],
    }
    for role, privileges in wanted.items():
        known = database.command("rolesInfo", _role_name(role))["roles"]
        command = "updateRole" if known else "createRole"
        database.command(command, _role_name(role), privileges=privileges, roles=[])


def _role_name(role: str) -> str:
    return f"gst_{role}"


def _roles(database: Database, role: str) -> list[dict[str, str]]:
    names = _BUILT_IN.get(role, (_role_name(role),))
    return [{"role": name, "db": database.name} for name in names]


def _role_of(user: dict[str, Any]) -> str:
    """Return our name of the roles that the server lists."""
    held = {role["role"] for role in user["roles"]}
    for role in ("worker", "reader"):
        if held == {_role_name(role)}:
            return role
    return "owner" if held == set(_BUILT_IN["owner"]) else ", ".join(sorted(held)) or "none"


def _uri(project: Project, name: str, password: str) -> str:
    """Build the URI of an account from our server and options."""
    where = connection(project)
    who = f"{quote_plus(name)}:{quote_plus(password)}@"
    end = f"{where.database}?authSource={where.database}"
    if where.uri is None:
        return f"mongodb://{who}{LOOPBACK}:{where.port}/{end}"
    scheme, _, rest = where.uri.partition("://")
    place, _, options = rest.rpartition("@")[2].partition("?")
    kept = [option for option in options.split("&") if option and option.partition("=")[0].lower() not in _OUR_OPTIONS]
    return f"{scheme}://{who}{place.partition('/')[0]}/{'&'.join([end, *kept])}"


@contextmanager
def _private(file: Path) -> Iterator[Path]:
    """Replace a file in one step, readable by its owner only."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file, mode=0o600) as part:
            yield part
    except OSError as err:
        raise InputError(f"{file} cannot be written: {err.strerror}", "name another file with --file") from err
