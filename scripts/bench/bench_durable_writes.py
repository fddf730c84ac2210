"""Measure the cost of durable writes: `w=majority, journal=true` against `w=1, journal=false`."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from _common import Row, main

if TYPE_CHECKING:
    from pymongo.database import Database

DOCUMENTS = 500
BYTES = 3000


def measure(size: str) -> Iterator[Row]:
    """Time a batch of an import and one small update, in turns, on a mongod of a project made for it."""
    from gst_jobflow.cli.init import make_project
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.connect import connect

    with tempfile.TemporaryDirectory() as folder:
        project, _ = make_project(Path(folder) / "project", "laptop", "gst")
        server = LocalMongod(project)
        server.up()
        try:
            database = connect(project, any_version=True)
            batches, updates = _times(database, 20 if size == "small" else 200)
            database.client.close()
        finally:
            server.down()
    for name, times in ((f"{DOCUMENTS} documents of {BYTES} bytes", batches), ("one update", updates)):
        durable, quick = (1e3 * statistics.median(kind) for kind in times)
        yield Row(
            name=f"{name}, on disk when acknowledged",
            value=durable,
            unit="ms",
            baseline="acknowledged from memory (w=1, journal=false)",
            baseline_value=quick,
        )


def _times(database: Database, turns: int) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
    """Seconds of batches and of updates, each for durable and for quick writes."""
    from pymongo import WriteConcern

    concerns = (WriteConcern("majority", j=True), WriteConcern(1, j=False))
    batches: tuple[list[float], list[float]] = ([], [])
    updates: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for kind, concern in enumerate(concerns):
            collection = database["bench"].with_options(write_concern=concern)
            documents = [{"data": bytes(BYTES), "turn": turn} for _ in range(DOCUMENTS)]
            start = time.perf_counter()
            collection.insert_many(documents, ordered=False)
            batches[kind].append(time.perf_counter() - start)
            start = time.perf_counter()
            collection.update_one({"_id": documents[0]["_id"]}, {"$set": {"turn": -1}})
            updates[kind].append(time.perf_counter() - start)
    return batches, updates


if __name__ == "__main__":
    main(__doc__ or "", measure, ["pymongo"])
