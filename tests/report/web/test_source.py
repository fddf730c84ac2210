"""The connection of the live page while its database hangs, and after it failed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymongo.errors import InvalidOperation

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.launch.services import LocalMongod
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.schema.versions import META_COLLECTION, SCHEMA
from gst_jobflow.store.users import add_user

pytestmark = pytest.mark.mongo


@pytest.fixture
def hanging(new_project, tmp_path: Path) -> Iterator[Source]:
    """An open source whose database does not answer any more."""
    project = new_project(tmp_path / "own")
    server = LocalMongod(project)
    server.up()
    migrate(project)
    add_user(project, "web", "reader")
    source = Source(project, "web")
    pid = server.status().pid
    assert pid is not None
    try:
        with source.reading():
            pass
        os.kill(pid, signal.SIGSTOP)
        yield source
    finally:
        os.kill(pid, signal.SIGCONT)
        source.close()
        server.down()


def test_all_threads_soon_hear_of_a_database_that_hangs(hanging: Source) -> None:
    def read(_: int) -> float:
        start = time.monotonic()
        with pytest.raises(DatabaseError, match="does not answer"), hanging.reading():
            pass
        return time.monotonic() - start

    with ThreadPoolExecutor(8) as threads:
        assert max(threads.map(read, range(8))) < 4


@pytest.mark.fresh_database
def test_the_client_of_a_database_that_became_newer_is_closed(source: Source, project) -> None:
    with source.reading() as before:
        pass
    mine = Results.open(project).database
    mine[META_COLLECTION].update_one({"_id": SCHEMA}, {"$inc": {"version": 1}})
    with pytest.raises(DatabaseError, match="upgrade gst_jobflow"), source.reading():
        pass
    with pytest.raises(InvalidOperation, match="close"):
        before.database.command("ping")
    mine[META_COLLECTION].update_one({"_id": SCHEMA}, {"$inc": {"version": -1}})
    time.sleep(2.1)
    with source.reading() as after:
        assert after.database[META_COLLECTION].find_one({"_id": SCHEMA})
    mine.client.close()
