"""Serve a WSGI application on one address by gunicorn: one process of low priority, several threads."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from flask import Flask

from gst_jobflow.base.errors import InputError

_THREADS = 16
_NICENESS = 10
"""Jobs on the same host go first."""


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens on an IPv4 address, 0 for a free port; raises InputError if it cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(128)
    except OSError as err:
        listener.close()
        fix = "choose another with --port, or --port 0 for a free one; --listen takes an address of this host"
        raise InputError(f"cannot listen on {address} port {port}: {err.strerror or err}", fix) from err
    return listener


def serve_pages(make: Callable[[], Flask], listener: socket.socket) -> None:
    """Serve until a signal ends it; `make` is called in the process that serves, after its fork."""
    from gunicorn.app.base import BaseApplication

    options = {
        # the number of an open socket, so nobody takes the port meanwhile
        "bind": f"fd://{listener.fileno()}",
        "workers": 1,
        "threads": _THREADS,
        "worker_class": "gthread",
        "loglevel": "warning",
        "graceful_timeout": 5,
        "forwarded_allow_ips": "",
        "control_socket_disable": True,
        "post_fork": lambda arbiter, worker: os.nice(_NICENESS),
    }

    class Application(BaseApplication):
        def load_config(self) -> None:
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Any:
            return make()

    # a reader's open connection or a figure that is being drawn is no fault when a user ends the server
    logging.getLogger("gunicorn.error").addFilter(lambda record: "SIGKILL" not in record.getMessage())
    Application().run()
