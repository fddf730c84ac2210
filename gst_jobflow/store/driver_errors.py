"""Turn errors of the MongoDB driver into one line with a remedy, without the driver's text, which may hold secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, ServerSelectionTimeoutError

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.store.address import LOOPBACK, Connection

_AUTHENTICATION_FAILED = 18
_UNAUTHORIZED = 13


def denied(err: Exception) -> DatabaseError | None:
    """Return the error of a missing right; None for any other error of the driver."""
    if getattr(err, "code", None) != _UNAUTHORIZED:
        return None
    return DatabaseError(
        "this account of the database may not do that",
        "ask the owner of the project for another role (gst db users): readers read, workers also run jobs",
    )


@contextmanager
def denials() -> Iterator[None]:
    """Turn MongoDB's errors of missing rights into one line."""
    try:
        yield
    except OperationFailure as err:
        if (found := denied(err)) is None:
            raise
        # the driver's text repeats the whole command
        raise found from None


def explain(err: Exception, where: Connection) -> DatabaseError:
    """Turn an error of pymongo into one line with a remedy."""
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
        return not_running(where)
    if isinstance(err, ServerSelectionTimeoutError) and "connection closed" in str(err).lower():
        return DatabaseError(
            f"the server at {where.shown} ends the connection at once",
            "set mongo.tls and mongo.tls_ca_file if it requires TLS; leave tls out if it has none",
        )
    if isinstance(err, ServerSelectionTimeoutError):
        return DatabaseError(
            f"no MongoDB answers at {where.shown} within {where.timeout_s:g} s",
            "check host, port and firewall of mongo.uri (GST_MONGO__URI), or raise mongo.timeout_s",
        )
    return DatabaseError(
        f"the MongoDB at {where.shown} ended the connection ({type(err).__name__})", "see the server's log"
    )


_OTHER_HOST = ("the server's certificate is for another host", "use the host name in the certificate")
_NO_TLS = ("the server does not speak TLS", "leave tls out of mongo.uri and mongo.tls")
# part of the driver's text: problem and remedy to show instead
_TLS_PROBLEMS = {
    "Hostname mismatch": _OTHER_HOST,
    "IP address mismatch": _OTHER_HOST,
    "certificate has expired": ("the server's certificate has expired", "ask the server's administrator"),
    "CERTIFICATE_VERIFY_FAILED": (
        "the server's certificate is not signed by a CA that is trusted here",
        "name the PEM file of its CA: mongo.tls_ca_file",
    ),
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "CERTIFICATE_REQUIRED": ("the server asks for a certificate of ours", "set mongo.tls_certificate_file"),
    "KEY_VALUES_MISMATCH": ("certificate and key of ours do not belong together", "check mongo.tls_certificate_file"),
    "UNEXPECTED_EOF": _NO_TLS,
    # how Python 3.11.2 says the same
    "TLS/SSL connection has been closed (EOF)": _NO_TLS,
    "Private key": ("our certificate file has no key that fits", "one PEM file with both: mongo.tls_certificate_file"),
    "NO_CERTIFICATE_OR_CRL_FOUND": ("the CA file holds no certificate", "check mongo.tls_ca_file"),
}


def _tls_problem(text: str) -> tuple[str, str] | None:
    folded = text.lower()
    return next((problem for sign, problem in _TLS_PROBLEMS.items() if sign.lower() in folded), None)


def not_running(where: Connection) -> DatabaseError:
    return DatabaseError(f"the project's database does not answer on {LOOPBACK}:{where.port}", "gst db up")


def _refused(err: Any, where: Connection) -> DatabaseError:
    if err.code == _AUTHENTICATION_FAILED:
        problem = f"authentication failed for '{_user(where)}' at {where.shown}"
        if where.external:
            return DatabaseError(problem, "check user, password and authSource in mongo.uri (GST_MONGO__URI)")
        return DatabaseError(problem, "gst db up  (finds a free port if another MongoDB took ours; resets passwords)")
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
