"""Write results to disk first: a job's document is a line in its launch directory before it goes to the database.

A manifest is a file of JSON lines that only grows. A line is `{"insert": collection, "document": {…}}` or
`{"update": collection, "id": …, "set": {…}}`. A last line that a kill cut off is ignored; the next writer ends it with
`TORN`, so that it is ignored for ever and the next line stays apart from it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow.base import atomic
from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Document
from gst_jobflow.store.schema.migrations import upgrade_document

MANIFEST_NAME = "gst_manifest.jsonl"
TORN = b" #torn\n"
"""End of a line that a kill cut off; no JSON ends like this."""


@dataclass(frozen=True)
class Insert:
    """A document to insert."""

    document: Document

    def to_json(self) -> str:
        """Return the line in the manifest."""
        body = self.document.model_dump_json(by_alias=True)
        return f'{{"insert":"{self.document.collection}","document":{body}}}'


class Update:
    """Values to set in a mutable document; setting them again changes nothing.

    `unless` holds paths with values: if the document has one of them, nothing is set. Manifests may be ingested late
    and in any order, and a newer state must win.
    """

    def __init__(self, collection: str, id: str, values: dict[str, Any], unless: dict[str, Any] | None = None) -> None:
        if not DOCUMENTS[collection].mutable:
            raise ValueError(f"{collection} never change after they are inserted")
        self.collection, self.id, self.values, self.unless = collection, id, values, unless or {}

    def to_json(self) -> str:
        """Return the line in the manifest."""
        entry = {"update": self.collection, "id": self.id, "set": self.values, "unless": self.unless}
        return json.dumps(entry, allow_nan=False)


@dataclass(frozen=True)
class Line:
    """A complete line of a manifest: its entry, or what is wrong with it."""

    number: int
    n_bytes: int
    entry: Insert | Update | None
    problem: str = ""


_names_to_sync: set[Path] = set()
"""Manifests that this process created and whose names may not be on disk yet."""


def append(directory: Path, *entries: Insert | Update, durable: bool = True) -> None:
    """Write entries to the manifest of `directory`; all are on disk when this returns, after one flush.

    Unless `durable`, they are only visible to other processes and survive the death of this one; they are on disk after
    the next durable entry or `flush_manifest`.
    """
    file = directory / MANIFEST_NAME
    if not file.exists():
        _names_to_sync.add(file)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(handle, "ab") as out:
        with suppress(OSError):  # some network file systems have no locks; a launch directory has one writer anyway
            fcntl.flock(out, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            out.write(TORN)
        out.writelines(entry.to_json().encode() + b"\n" for entry in entries)
    if durable:
        flush_manifest(directory)


def flush_manifest(directory: Path) -> None:
    """Flush the manifest of `directory` to disk, including the name of a new one."""
    file = directory / MANIFEST_NAME
    atomic.sync(file)
    if file in _names_to_sync:
        atomic.sync(directory)
        _names_to_sync.discard(file)


def manifests_below(folder: Path, on_error: Callable[[OSError], None], skipped: Container[Path] = ()) -> Iterator[Path]:
    """Yield the manifests of a folder and all folders below it but the skipped ones."""
    for parent, names, files in os.walk(folder, onerror=on_error):
        names[:] = [name for name in names if Path(parent, name) not in skipped]
        if MANIFEST_NAME in files:
            yield Path(parent, MANIFEST_NAME)


def lines(file: Path) -> Iterator[Line]:
    """Read a manifest line by line; a damaged line has a problem instead of an entry."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            if line.endswith(TORN) or line.isspace():
                continue
            try:
                yield Line(number, len(line), _parse(line))
            except (ValueError, KeyError, TypeError, DataError) as err:
                yield Line(number, len(line), None, f"{file}:{number} is not a manifest entry: {_reason(err)}")


def _parse(line: bytes) -> Insert | Update:
    """Parse a line; raises ValueError, KeyError or TypeError if it is not an entry."""
    for name, model in DOCUMENTS.items():
        head = b'{"insert":"%s","document":' % name.encode()
        if line.startswith(head) and line.endswith(b"}\n"):
            # a line of `to_json`: parse the document directly, without making Python objects first
            with suppress(ValueError):
                document = model.model_validate_json(line[len(head) : -2])
                if document.schema_version == SCHEMA_VERSION:
                    return Insert(document)
    entry = json.loads(line)
    if "insert" in entry:
        model = DOCUMENTS[entry["insert"]]
        # a job of an older version may have written it
        upgraded = upgrade_document(entry["insert"], entry["document"])
        return Insert(model.model_validate_json(json.dumps(upgraded)))
    return Update(entry["update"], entry["id"], entry["set"], entry.get("unless"))


def _reason(err: Exception) -> str:
    if isinstance(err, KeyError):
        return f"{err} is missing or unknown"
    if isinstance(err, DataError):
        return err.message
    return " ".join(str(err).splitlines()[:3])[:300]
