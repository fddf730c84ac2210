"""Disk first: what a job computed is a line in its launch directory before it goes to the database.

A manifest is a file of JSON lines that only grows. A line is `{"insert": collection, "document": {…}}` or
`{"update": collection, "id": …, "set": {…}}`. A last line cut off by a kill is not a line yet and is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gst_jobflow.documents import DOCUMENTS, Document
from gst_jobflow.errors import DataError

MANIFEST_NAME = "gst_manifest.jsonl"


class Insert:
    """A document to insert."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def to_json(self) -> str:
        """The line in the manifest."""
        body = self.document.model_dump_json(by_alias=True)
        return f'{{"insert":"{self.document.collection}","document":{body}}}'


class Update:
    """Values to set in a mutable document; setting them again changes nothing.

    `unless` holds paths with values: where the document has one of them, nothing is set. Manifests may be put in late
    and in any order, and a newer state must win.
    """

    def __init__(self, collection: str, id: str, values: dict[str, Any], unless: dict[str, Any] | None = None) -> None:
        if not DOCUMENTS[collection].mutable:
            raise ValueError(f"{collection} never change after they were inserted")
        self.collection, self.id, self.values, self.unless = collection, id, values, unless or {}

    def to_json(self) -> str:
        """The line in the manifest."""
        entry = {"update": self.collection, "id": self.id, "set": self.values, "unless": self.unless}
        return json.dumps(entry, allow_nan=False)


def append(directory: Path, entry: Insert | Update) -> None:
    """Write an entry to the manifest of `directory`; it is on disk when this returns."""
    with (directory / MANIFEST_NAME).open("ab") as file:
        file.write(entry.to_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(file: Path) -> Iterator[Insert | Update]:
    """Read the entries of a manifest.

    Raises
    ------
    DataError
        A complete line is not an entry that this version understands.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                if "insert" in entry:
                    model = DOCUMENTS[entry["insert"]]
                    yield Insert(model.model_validate_json(json.dumps(entry["document"])))
                else:
                    yield Update(entry["update"], entry["id"], entry["set"], entry.get("unless"))
            except (ValueError, KeyError) as err:
                raise DataError(f"{file}:{number} is not a manifest entry: {str(err).splitlines()[0]}") from err
