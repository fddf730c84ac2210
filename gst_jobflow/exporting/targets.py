"""Write exports beside their target under another name, and rename them when they are complete on disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gst_jobflow.base.atomic import sync
from gst_jobflow.base.errors import InputError


def check_target(target: Path, force: bool, ours: Callable[[Path], bool] | None = None) -> None:
    """Check a target before anything is computed for it.

    Parameters
    ----------
    force
        Replace an existing file, or a folder that is `ours`.
    ours
        Whether an earlier export wrote a folder. None: a file is to be written, and no folder is replaced.

    Raises
    ------
    InputError
        It exists and is not to be replaced, or its own folder is missing.
    """
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} is missing", f"mkdir -p {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"the folder {target.parent} cannot be written to", "name another with -o")
    if target.is_symlink() or (target.exists() and not (target.is_file() or target.is_dir())):
        raise InputError(f"{target} is neither a plain file nor a folder", "name another with -o")
    if target.is_dir() and ours is None:
        raise InputError(f"{target} is a folder, and a file is to be written", "name a file in it with -o")
    if target.is_file() and ours is not None:
        raise InputError(f"{target} is a file, and a folder is to be written", "name another with -o")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not force:
        raise InputError(f"{target} exists already", "name another with -o, or replace it: --force")
    if ours is not None and not ours(target):
        raise InputError(f"{target} is a folder of something else and is not replaced", "name another with -o")


@contextmanager
def part_of(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`; use `move_to_target` to move the complete result out of it."""
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.part-"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move_to_target(made: Path, target: Path) -> None:
    """Move a file or folder beside `target` to it; an old target is removed afterwards."""
    for file in (made, *made.rglob("*")) if made.is_dir() else (made,):
        sync(file)
    if not target.is_dir():
        made.rename(target)
        sync(target.parent)
        return
    # a folder cannot replace another in one step: keep the old one, outside of the folder that `part_of` removes
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old-"))
    target.rename(old / target.name)
    try:
        made.rename(target)
    except BaseException:
        (old / target.name).rename(target)
        old.rmdir()
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
