"""Identify a trained model by the hash of its files, or a loose module by the hash of its source."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from gst_jobflow.base.errors import MissingProgramError

_BLOCK = 1 << 20


def weights_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and contents in a folder; raise MissingProgramError if absent."""
    if path.is_file():
        return _file_hash(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else []
    if not files:
        raise MissingProgramError(f"no weights in {path}", "put them on a file system that all nodes share")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}\0{_file_hash(file)}\0".encode())
    return digest.hexdigest()


def source_hash(module: str) -> str:
    """Return `source:` and the hash of a module's file; raise MissingProgramError if there is none."""
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None or not found.origin or not Path(found.origin).is_file():
        raise MissingProgramError(f"no module '{module}'", "put its folder on PYTHONPATH, or install its package")
    return f"source:{_file_hash(Path(found.origin))[:16]}"


def _file_hash(file: Path) -> str:
    state = file.stat()
    return _hash_of_state(str(file.resolve()), state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=256)
def _hash_of_state(file: str, changed_ns: int, size: int, inode: int) -> str:
    """Hash a file once for each of its states; every label asks for its method."""
    digest = hashlib.sha256()
    with Path(file).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
