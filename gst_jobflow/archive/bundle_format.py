"""What a bundle is made of: names of its members, its manifest, and who is to be cited for it.

manifest.json                    what it is, counts, versions, citation
checksums.sha256                 every other member; `sha256sum -c checksums.sha256`
README.md, CITATION.cff          for people (the second only where title and authors are given)
files/ab/cdef…                   files by their SHA-256
documents/COLLECTION.jsonl.gz    a document a line, in the order of ids
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from gst_jobflow.archive.selection import ORDER
from gst_jobflow.base.strict import StrictModel

FORMAT = 1
"""Of a bundle; a newer one is refused."""

MANIFEST, CHECKSUMS, README, CITATION = "manifest.json", "checksums.sha256", "README.md", "CITATION.cff"
FOLDER_IN_TAR = "gst-bundle"
FILE_NAME = re.compile(r"files/([0-9a-f]{2})/([0-9a-f]{62})")
DOCUMENTS_NAMES = {f"documents/{name}.jsonl.gz": name for name in ORDER}


class Citation(StrictModel):
    """What the depositor says; nothing of it is invented where it is missing."""

    title: str = ""
    authors: list[str] = Field(default_factory=list, description="As 'Family, Given', or a name as it stands")
    licence: str = Field("", description="An SPDX identifier as CC-BY-4.0, or the address of the text")
    doi: str = ""
    citation: str = Field("", description="How this is to be cited")
    description: str = ""


class CollectionPart(StrictModel):
    """The documents of one collection."""

    documents: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the compressed member")
    size_bytes: int = Field(ge=0, description="Of the compressed member")


class LeftOut(StrictModel):
    """A file that a document names and the bundle does not hold."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    name: str
    reason: Literal["licensed", "missing"]


class FilesPart(StrictModel):
    """The files."""

    count: int = Field(0, ge=0)
    size_bytes: int = Field(0, ge=0)
    left_out: list[LeftOut] = Field(default_factory=list)


class BundleManifest(StrictModel):
    """What a bundle holds."""

    kind: Literal["gst_jobflow bundle"] = "gst_jobflow bundle"
    format: int = FORMAT
    schema_version: int
    made_by: str = Field(description="The program and its version")
    what: dict[str, str] = Field(description="collection and id of what was asked for, or all")
    newest_document: datetime | None = Field(None, description="When the newest document was made; no time of export")
    citation: Citation = Field(default_factory=Citation)
    collections: dict[str, CollectionPart]
    files: FilesPart

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(part.documents for part in self.collections.values())

    def text(self) -> bytes:
        """Return the content of `manifest.json`."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def in_words(what: dict[str, Any]) -> str:
    """Describe the content of a bundle for people."""
    return "a whole database" if what.get("collection") == "all" else f"{what.get('collection')} {what.get('id')}"
