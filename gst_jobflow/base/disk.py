"""Recognise a full disk or quota from an error, from a program's output, or by a test write."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path
from typing import Literal

DISK_FULL: Literal["disk_full"] = "disk_full"
"""Failure class of a run that met a full disk; the run may be repeated."""
FIX = "free some space (see df -h and your quota), then: gst recover, gst launch"

_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = re.compile("|".join(re.escape(os.strerror(number)) for number in _ERRORS), re.I)
_TRIED_BYTES = 1 << 20


def is_full(err: BaseException | None) -> bool:
    """Whether an error or one of its causes reports a full disk or quota."""
    while err is not None:
        if isinstance(err, OSError) and err.errno in _ERRORS:
            return True
        err = err.__cause__ or err.__context__
    return False


def says_full(text: str) -> bool:
    """Whether a program's output reports a full disk or quota."""
    return _WORDS.search(text) is not None


def has_room(folder: Path) -> bool:
    """Whether a megabyte can be written in `folder`; True also if the attempt fails for another reason."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            # random bytes, since a compressing file system would store zeros in no space
            file.write(os.urandom(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as err:
        return not is_full(err)
    return True
