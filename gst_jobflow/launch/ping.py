"""Keep FireWorks' ping alive while the database is away, and cheap."""

from __future__ import annotations

import threading
from contextlib import suppress

from fireworks import LaunchPad
from fireworks.core import rocket
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

_original = rocket.do_ping
_here = threading.local()


def install_ping() -> None:
    """Replace FireWorks' pings by those that survive database errors and wait for no disk; repeating changes nothing.

    FireWorks' ping thread ends at its first error, and `gst recover` would then take the running job for lost. A ping
    tells that a job lives now, which needs no disk, and which none does after its end.
    """
    _here.job_ended = False
    rocket.do_ping, rocket.ping_launch = _ping, _ping_until


def skip_last_ping() -> None:
    """Leave out the ping with which FireWorks follows the job that ended in this thread: it records the end next."""
    _here.job_ended = True


def _ping_until(pad: LaunchPad, launch_id: int, ended: threading.Event, master: threading.Thread) -> None:
    while not ended.wait(rocket.PING_TIME_SECS) and master.is_alive():
        _ping(pad, launch_id)


def _ping(pad: LaunchPad, launch_id: int) -> None:
    if getattr(_here, "job_ended", False):
        _here.job_ended = False
        return
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
