"""Keep FireWorks' ping alive while the database is away."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fireworks.core import rocket
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from fireworks import LaunchPad

_original = rocket.do_ping


def install_ping() -> None:
    """Replace FireWorks' ping by one that survives database errors; repeating it changes nothing.

    FireWorks' ping thread ends at its first error, and `gst recover` would then take the running job for lost.
    """
    rocket.do_ping = _ping


def _ping(pad: LaunchPad, launch_id: int) -> None:
    with suppress(PyMongoError):
        _original(pad, launch_id)
