#!/usr/bin/env bash
# jobflow 0.4.0: what is given to a job reaches it as it is under run_locally, and as plain JSON through FireWorks 2.1.4.
# Keys of a dictionary become texts: {1: "Te"} has no 1 any more, so that masses.get(1, 1.0) is silently 1.0, and a pair of
# elements becomes the text "('Ge', 'Te')". Arrays become lists: 2 * x has twice as many numbers, not twice as large ones.
# Nothing is said. The workflow is built by flow_to_workflow and read again as from the launchpad; no database is needed
# to see it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q jobflow==0.4.0 FireWorks==2.1.4 monty==2026.10.21 numpy==2.3.5
cat > jobs.py <<'PY'
from jobflow import job


@job
def same(value):
    return value


@job
def mass_of_first(masses):
    return masses.get(1, 1.0)


@job
def twice(displacements):
    return 2 * displacements
PY
OMP_NUM_THREADS=1 PYTHONPATH=. venv/bin/python -W ignore - <<'PY'
import bson
import numpy as np
from fireworks import Workflow
from jobflow import Flow, run_locally
from jobflow.managers.fireworks import flow_to_workflow
from jobs import mass_of_first, same, twice
from monty.json import MontyDecoder


def locally(make, value):
    first = make(value)
    return run_locally(Flow([first]), log=False)[first.uuid][1].output


def through_fireworks(make, value):
    document = bson.decode(bson.encode({"workflow": flow_to_workflow(Flow([make(value)])).to_dict()}))["workflow"]
    stored = Workflow.from_dict(document).fws[0].tasks[0]["job"]
    read = MontyDecoder().process_decoded(stored) if isinstance(stored, dict) else stored
    return getattr(read.function, "__wrapped__", read.function)(*read.function_args)


CASES = {
    "keys that are numbers": (same, {1: "Te"}),
    "keys that are pairs": (same, {("Ge", "Te"): 3.2}),
    "masses.get(1, 1.0)": (mass_of_first, {1: 127.6}),
    "2 * array": (twice, np.array([0.1, 0.2])),
}
seen = {}
for what, (make, value) in CASES.items():
    seen[what] = locally(make, value), through_fireworks(make, value)
    print(f"{what:24}locally {seen[what][0]!r}; through FireWorks {seen[what][1]!r}")
assert seen["keys that are numbers"] == ({1: "Te"}, {"1": "Te"}), "the behaviour has changed"
assert seen["keys that are pairs"][1] == {"('Ge', 'Te')": 3.2}, "the behaviour has changed"
assert seen["masses.get(1, 1.0)"] == (127.6, 1.0), "the behaviour has changed"
assert np.array_equal(seen["2 * array"][0], [0.2, 0.4]), "the behaviour has changed"
assert seen["2 * array"][1] == [0.1, 0.2, 0.1, 0.2], "the behaviour has changed"
PY
