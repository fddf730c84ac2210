"""Open the results of a project through an account that only reads, and again after the database went away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from gst_jobflow.base.errors import DatabaseError, GstError
from gst_jobflow.base.settings import Project
from gst_jobflow.store import Results
from gst_jobflow.store.address import connection
from gst_jobflow.store.connect import open_database
from gst_jobflow.store.driver_errors import denied
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.schema.versions import require_current
from gst_jobflow.store.users import account_connection, require_reader

_ANSWER_S = 2.0
"""How long a server may take to accept a connection, or to tell its version, s."""
_READ_S = 20.0
"""How long the queries of one request may take together, s."""
_AGAIN_S = 2.0
"""How long requests fail at once after the database did not answer, s."""


class Source:
    """Results of a project for many threads.

    Parameters
    ----------
    project
        The project.
    account
        Name of an account that this project has the URI of; empty: the account of the project. It may only read.
    """

    def __init__(self, project: Project, account: str) -> None:
        self.project, self.account = project, account
        self._lock = threading.Lock()
        self._results: Results | None = None
        self._failure, self._again_at = DatabaseError(""), 0.0

    @contextmanager
    def reading(self) -> Iterator[Results]:
        """Give the results to a block of queries.

        Raises DatabaseError if the database does not answer, refuses the account, or is of another version, or if the
        account may write.
        """
        results = self._open()
        try:
            with pymongo.timeout(_READ_S):
                yield results
        except OperationFailure as err:
            # a query of ours that the server cannot run is a fault of the page
            if (refused := denied(err)) is None and not err.timeout:
                raise
            raise refused or _in_words(err) from None
        except PyMongoError as err:
            self._drop(results)
            # the driver's text may hold the URI
            raise _in_words(err) from None

    def close(self) -> None:
        """Close the connection; the next block opens it again."""
        if (results := self._results) is not None:
            self._drop(results)

    def _drop(self, results: Results) -> None:
        """Close these results; another thread may have opened new ones meanwhile."""
        with self._lock:
            if self._results is results:
                self._results = None
        results.database.client.close()

    def _open(self) -> Results:
        """Return the results, checked: the server answers and has our version."""
        results = self._connected()
        try:
            # outside the lock: while the server hangs, all threads wait at the same time, not one after the other
            with pymongo.timeout(_ANSWER_S):
                require_current(results.database)
        except Exception as err:
            self._drop(results)
            raise self._failed(err) from None
        return results

    def _connected(self) -> Results:
        """Return the results, connected if they were not; other threads wait, and fail as the one that connects."""
        with self._lock:
            if time.monotonic() < self._again_at:
                raise DatabaseError(self._failure.message, self._failure.fix)
            if self._results is None:
                try:
                    with pymongo.timeout(_ANSWER_S):
                        self._results = self._connect()
                except Exception as err:
                    # passwords and ports may change meanwhile
                    raise self._failed(err) from None
            return self._results

    def _failed(self, err: Exception) -> DatabaseError:
        """Note a failure, so that requests fail at once for a while."""
        self._failure = _in_words(err)
        self._again_at = time.monotonic() + _AGAIN_S
        return self._failure

    def _connect(self) -> Results:
        where = account_connection(self.project, self.account) if self.account else connection(self.project)
        database = open_database(replace(where, timeout_s=min(where.timeout_s, _ANSWER_S)))
        try:
            require_reader(database)
        except BaseException:
            database.client.close()
            raise
        return Results(database, ArtifactStore(self.project.artifacts_dir))


def _in_words(err: Exception) -> DatabaseError:
    if isinstance(err, GstError):
        return DatabaseError(err.message, err.fix)
    return denied(err) or DatabaseError(f"the database does not answer ({type(err).__name__})", "gst db status")
