"""Keep FireWorks' ping alive while the database is away, and cheap."""

from __future__ import annotations

from contextlib import suppress

from fireworks import LaunchPad
from fireworks.core import rocket
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

_original = rocket.do_ping


def install_ping() -> None:
    """Replace FireWorks' ping by one that survives database errors and waits for no disk; repeating it changes nothing.

    FireWorks' ping thread ends at its first error, and `gst recover` would then take the running job for lost. A ping
    tells that a job lives now, which needs no disk; the last one comes right before the record of the end, which does.
    """
    rocket.do_ping = _ping


def _ping(pad: LaunchPad, launch_id: int) -> None:
    with suppress(PyMongoError):
        _original(_in_memory(pad), launch_id)


def _in_memory(pad: LaunchPad) -> LaunchPad:
    """Return a launchpad whose launches are acknowledged from memory."""
    if not isinstance(pad, LaunchPad):
        # FireWorks' job packing has a proxy
        return pad
    # `copy` would connect anew
    other = LaunchPad.__new__(LaunchPad)
    vars(other).update(vars(pad), launches=pad.launches.with_options(write_concern=WriteConcern(w=1)))
    return other
