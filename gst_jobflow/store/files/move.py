"""Move all stored files from a folder to the database or back: copy, verify, then switch the setting."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.files.file_backends import CHUNK_BYTES
from gst_jobflow.store.files.gridfs_files import GridFsFiles

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project


@dataclass
class Moved:
    """What a move did."""

    files: int = 0
    size_bytes: int = 0
    copied: int = 0
    removed: int = 0
    switched: bool = False


def move(
    project: Project,
    database: Database,
    to: str,
    *,
    remove: bool = False,
    progress: Callable[[Moved], None] = lambda _: None,
) -> Moved:
    """Copy every file that is not there yet, verify all by their SHA-256, then set `artifacts.store` in `gst.yaml`.

    Doing it again goes on where it was. With `remove`, files are removed from where they were once the setting is
    switched and the copy of each was verified.

    Raises
    ------
    DatabaseError
        Fireworks are running: what they put would stay behind.
    DataError
        A file to copy is corrupt, or the setting cannot be switched in `gst.yaml`.
    """
    running = database["fireworks"].find_one({"state": "RUNNING"}, {"fw_id": 1})
    if running is not None:
        problem = f"firework {running['fw_id']} is running: files that it puts now would stay behind"
        raise DatabaseError(problem, "wait for it (gst status), then run this again")
    source = ArtifactStore.of(project, database, "folder" if to == "gridfs" else "gridfs")
    target = ArtifactStore.of(project, database, to)
    done = Moved()
    if isinstance(target.backend, GridFsFiles):
        target.backend.prepare()  # also where there is no file yet: workers may not
    for file in source.stored():
        if target.size_of(file.digest) != file.size_bytes or not target.is_sound(file.digest):
            _copy(source, target, file.digest)
            done.copied += 1
        done.files, done.size_bytes = done.files + 1, done.size_bytes + file.size_bytes
        progress(done)
    done.switched = switch(project, to)
    # who began before the switch may have put a file meanwhile, and looks for it in the other place from now on
    for file in source.stored():
        if target.size_of(file.digest) is None:
            _copy(source, target, file.digest)
            done.copied, done.files, done.size_bytes = (
                done.copied + 1,
                done.files + 1,
                done.size_bytes + file.size_bytes,
            )
    if remove:
        for file in source.stored():
            if target.is_sound(file.digest):
                source.discard(file.digest)
                done.removed += 1
    return done


def _copy(source: ArtifactStore, target: ArtifactStore, digest: str) -> None:
    if not source.is_sound(digest):
        raise DataError(f"file {digest} is corrupt where it is", "gst artifacts check names all such files")
    if target.size_of(digest) is not None:
        target.discard(digest)  # a corrupt copy
    with tempfile.NamedTemporaryFile() as copy:
        with source.open(digest) as content:
            while chunk := content.read(CHUNK_BYTES):
                copy.write(chunk)
        copy.flush()
        target.put(Path(copy.name), digest)
    if not target.is_sound(digest):
        raise DataError(f"file {digest} did not arrive whole", "run this again")


def switch(project: Project, to: str) -> bool:
    """Set `artifacts.store` in `gst.yaml`, leaving all else as it is written; whether that changed it.

    Raises
    ------
    DataError
        The file has the setting in a form that only a person can change.
    """
    text = project.file.read_text()
    found = yaml.safe_load(text) or {}
    if (found.get("artifacts") or {}).get("store", "folder") == to:
        return False
    if "artifacts" not in found:
        changed = text.rstrip("\n") + f"\n\nartifacts:\n  store: {to}\n"
    else:
        changed = re.sub(r"(?m)^(artifacts:.*?\bstore:\s*)(folder|gridfs)\b", rf"\g<1>{to}", text, count=1, flags=re.S)
    wanted: dict[str, Any] = {**found, "artifacts": {"store": to}}
    if (yaml.safe_load(changed) or {}) != wanted:
        raise DataError(
            f"all files are there, but the setting could not be changed in {project.file}",
            f"write 'artifacts: {{store: {to}}}' there yourself",
        )
    part = project.file.with_suffix(".yaml.part")
    with part.open("w") as out:
        out.write(changed)
        out.flush()
        os.fsync(out.fileno())
    part.chmod(project.file.stat().st_mode & 0o777)
    part.replace(project.file)
    return True
