#!/usr/bin/env bash
# FireWorks 2.1.4: the thread that reports a running launch as alive ends with the first database
# error, and is not started again. The job goes on; after four hours detect_lostruns calls it
# lost, though it runs. Here the database does not answer one ping; seen: no such thread two
# periods later. pymongo 4.16.0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q FireWorks==2.1.4 pymongo==4.16.0 setuptools==80.9.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import threading
import time

import fireworks.core.rocket as rocket
from pymongo.errors import AutoReconnect

calls = []
class Launchpad:
    def ping_launch(self, launch_id):
        calls.append(launch_id)
        if len(calls) == 1:
            raise AutoReconnect("the primary stepped down")

raised = []
threading.excepthook = lambda args: raised.append(args.exc_type.__name__)
rocket.PING_TIME_SECS = 0.2
stop = rocket.start_ping_launch(Launchpad(), 1)
time.sleep(2)
stop.set()
print("pings in two seconds, ten expected:", len(calls), "thread ended with", raised)
assert len(calls) == 1 and raised == ["AutoReconnect"], "the behaviour has changed"
PY
