"""Tell the step of a LAMMPS binary restart file, and whether it is whole.

LAMMPS writes restart files in place, two in turn; the word at the end shows that one was written completely. A crash of
the machine may still tear it, which the checksums of a segment that ended reveal.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from pathlib import Path

# the file begins and ends with this word (write_restart.cpp); numbered header fields follow
_MAGIC = b"LammpS RestartT\x00"
_NTIMESTEP_FIELD = 5
# type of each header field before the timestep: version text, integer sizes, unit style
_FIELDS = {0: "text", 1: "int", 48: "int", 2: "int", 3: "int", 4: "text"}


def restart_step(path: Path) -> int | None:
    """Return the timestep of a restart file, or None if it is absent, torn, or of an unknown form.

    Source: the layout written by LAMMPS' write_restart (magic word, endianness, revision, fields, magic word).
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(4096)
            file.seek(-len(_MAGIC), 2)
            tail = file.read()
    except OSError:
        return None
    if not head.startswith(_MAGIC) or tail != _MAGIC:
        return None
    # endianness flag and format revision follow, one int each
    return _find_step(head, len(_MAGIC) + 8)


def _find_step(head: bytes, at: int) -> int | None:
    try:
        while True:
            (field,) = struct.unpack_from("=i", head, at)
            at += 4
            if field == _NTIMESTEP_FIELD:
                return struct.unpack_from("=q", head, at)[0]
            kind = _FIELDS.get(field)
            if kind is None:
                return None
            (value,) = struct.unpack_from("=i", head, at)
            at += 4 + (value if kind == "text" else 0)
    except struct.error:
        return None


def relaxing_from(path: Path) -> int | None:
    """Return the step at which the relaxation of a restart file began; None for files of other stages."""
    found = re.fullmatch(r"relaxing_(\d+)\.[ab]", path.name)
    return int(found[1]) if found else None


def newest_restart(paths: list[Path]) -> tuple[Path, int] | None:
    """Return the whole restart file with the latest step, and that step; None if none is whole.

    A file of a relaxation counts as the step at which it began: its own step counts iterations.
    """
    found = []
    for path in paths:
        step, began = restart_step(path), relaxing_from(path)
        if step is not None:
            found.append((step if began is None else began, path))
    if not found:
        return None
    step, path = max(found, key=lambda pair: (pair[0], pair[1].stat().st_mtime))
    return path, step


def secure(paths: list[Path]) -> dict[str, str]:
    """Flush the whole restart files among `paths` to disk; return their SHA-256 by name."""
    sums = {}
    for path in paths:
        if restart_step(path) is None:
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def is_as_secured(path: Path, sums: dict[str, str]) -> bool:
    """Whether a restart file is unchanged since its segment ended; true if no checksum was noted."""
    if path.name not in sums or not path.exists():
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sums[path.name]
