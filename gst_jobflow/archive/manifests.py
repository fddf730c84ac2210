"""Members and manifests of the two kinds of archives.

A bundle (a folder, .tar or .tar.gz) is for other people and other databases:

manifest.json                    what it is, counts, versions, citation
checksums.sha256                 every other member; `sha256sum -c checksums.sha256`
README.md, CITATION.cff          for people (the second only where title and authors are given)
files/ab/cdef…                   files by their SHA-256
documents/COLLECTION.jsonl.gz    a document a line, in the order of ids

A backup (a .tar) restores the same database, with fireworks and job outputs:

manifest.json, manifest.sha256
collections/COLLECTION.bson.gz   documents one after another, byte for byte as the server holds them
artifacts/ab/cdef…               files by their SHA-256
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from gst_jobflow.archive.selection import ORDER
from gst_jobflow.base.strict import StrictModel

BUNDLE_FORMAT = 1
BACKUP_FORMAT = 1
"""A newer format of either is refused."""

MANIFEST, CHECKSUMS, README, CITATION = "manifest.json", "checksums.sha256", "README.md", "CITATION.cff"
MANIFEST_SUM = "manifest.sha256"
FOLDER_IN_TAR = "gst-bundle"
DOCUMENTS_NAMES = {f"documents/{name}.jsonl.gz": name for name in ORDER}
_FILE_NAME = re.compile(r"(?:files|artifacts)/([0-9a-f]{2})/([0-9a-f]{62})")
BUNDLE_NAMES = (MANIFEST, CHECKSUMS, README, CITATION, *DOCUMENTS_NAMES)


def hash_in_name(name: str) -> str | None:
    """Return the SHA-256 in the name of a member that is a file; None for other members."""
    match = _FILE_NAME.fullmatch(name)
    return match[1] + match[2] if match else None


class CollectionPart(StrictModel):
    """The documents of one collection."""

    documents: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the compressed member")
    size_bytes: int = Field(ge=0, description="Of the compressed member")


class FileCount(StrictModel):
    """The files of an archive."""

    count: int = Field(0, ge=0)
    size_bytes: int = Field(0, ge=0)


class Citation(StrictModel):
    """What the depositor states; nothing is made up where it is missing."""

    title: str = ""
    authors: list[str] = Field(default_factory=list, description="As 'Family, Given', or a name as it stands")
    licence: str = Field("", description="An SPDX identifier as CC-BY-4.0, or the address of the text")
    doi: str = ""
    citation: str = Field("", description="How this is to be cited")
    description: str = ""


class LeftOut(StrictModel):
    """A file that a document names and the bundle does not hold."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    name: str
    reason: Literal["licensed", "missing"]


class BundleFiles(FileCount):
    """The files of a bundle."""

    left_out: list[LeftOut] = Field(default_factory=list)


class BundleManifest(StrictModel):
    """What a bundle holds."""

    kind: Literal["gst_jobflow bundle"] = "gst_jobflow bundle"
    format: int = BUNDLE_FORMAT
    schema_version: int
    made_by: str = Field(description="The program and its version")
    what: dict[str, str] = Field(description="Collection and id that were exported, or all")
    newest_document: datetime | None = Field(None, description="When the newest document was made; no time of export")
    citation: Citation = Field(default_factory=Citation)
    collections: dict[str, CollectionPart]
    files: BundleFiles

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(part.documents for part in self.collections.values())


class IndexDump(StrictModel):
    """An index beside `_id`."""

    keys: list[tuple[str, int | str]]
    options: dict[str, Any] = Field(default_factory=dict)


class CollectionDump(CollectionPart):
    """A collection in a backup."""

    name: str
    indexes: list[IndexDump]

    @property
    def member(self) -> str:
        """Name of its member."""
        return f"collections/{self.name}.bson.gz"


class BackupFiles(FileCount):
    """The files of a backup."""

    included: bool
    sha256: str = Field("", description="Of their hashes, sorted, a line each")
    missing: list[str] = Field(default_factory=list, description="Hashes of named files that are missing or corrupt")


class BackupManifest(StrictModel):
    """What a backup holds."""

    format: int = BACKUP_FORMAT
    schema_version: int
    created_at: datetime
    while_running: bool
    versions: dict[str, str]
    collections: list[CollectionDump]
    files: BackupFiles

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(collection.documents for collection in self.collections)


def in_words(what: dict[str, Any]) -> str:
    """Describe the content of a bundle for people."""
    return "a whole database" if what.get("collection") == "all" else f"{what.get('collection')} {what.get('id')}"
