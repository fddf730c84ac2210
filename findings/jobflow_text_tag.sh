#!/usr/bin/env bash
# jobflow 0.4.0: tags in a job's metadata may be a text, and run_locally stores it as it is. Through FireWorks 2.1.4 the tag
# is joined with the letters of itself. Nothing is said; a search for the tag as it was given finds the local output only.
# Seen: 'melt' becomes ['melt', 'm', 'e', 'l', 't']. A list of tags stays whole.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q jobflow==0.4.0 FireWorks==2.1.4 monty==2026.10.21 maggma==0.77.1 setuptools==80.9.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import logging

from fireworks import Firework
from jobflow import JobStore, job, run_locally
from jobflow.managers.fireworks import flow_to_workflow
from maggma.stores import MemoryStore

logging.disable(logging.INFO)


@job
def label():
    return 1


def stored(tags, through_fireworks):
    one, store = label(), JobStore(MemoryStore())
    one.metadata = {"tags": tags}
    if through_fireworks:
        firework = Firework.from_dict(flow_to_workflow(one).fws[0].to_dict())
        firework.tasks[0]["store"] = store
        firework.tasks[0].run_task(firework.spec)
    else:
        run_locally(one, store=store, log=False)
    return store.query_one({"uuid": one.uuid})["metadata"]["tags"]


for tags in ("melt", ["melt"]):
    print(f"{tags!r}: run_locally {stored(tags, False)!r}, FireWorks {stored(tags, True)!r}")
assert stored(["melt"], True) == ["melt"] and stored("melt", False) == "melt"
assert stored("melt", True) == ["melt", "m", "e", "l", "t"], "the behaviour has changed"
PY
