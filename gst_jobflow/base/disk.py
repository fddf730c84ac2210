"""A full disk or quota: known by its error, by what programs print, and by trying to write."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import Literal

DISK_FULL: Literal["disk_full"] = "disk_full"
"""Class of failure of a run that met a full disk; it passes."""
FIX = "make room (df -h, the quota of your file system); then it runs again by itself: gst recover, gst launch"

_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = re.compile("|".join(re.escape(os.strerror(number)) for number in _ERRORS), re.I)
_TRIED_BYTES = 1 << 20


def is_full(err: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that of a full disk or quota."""
    while err is not None:
        if isinstance(err, OSError) and err.errno in _ERRORS:
            return True
        err = err.__cause__ or err.__context__
    return False


def says_full(text: str) -> bool:
    """Whether what a program printed says that the disk or quota is full."""
    return _WORDS.search(text) is not None


def has_room(folder: Path) -> bool:
    """Whether a megabyte can be written in `folder`; where that fails for another reason, nothing is known: True."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # what can be compressed would take no room
            file.write(os.urandom(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as err:
        return not is_full(err)
    return True
