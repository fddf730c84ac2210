#!/usr/bin/env bash
# FireWorks 2.1.4: a worker whose environment lacks the module of a Firetask does not pass that firework over. It marks it
# FIZZLED, goes on to the next, and so fails every waiting firework of the other environment in one call before it finds
# one of its own. No launch says where it happened. A _category of the fireworks does not help, if the worker has none.
# Seen: three fireworks FIZZLED without a launch, the fourth runs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q FireWorks==2.1.4 pymongo==4.16.0 mongomock==4.3.0 setuptools==80.9.0
mkdir environment
cat > environment/labels.py <<'MODULE'
from fireworks import FiretaskBase, explicit_serialize

@explicit_serialize
class Label(FiretaskBase):
    def run_task(self, fw_spec):
        print("labelled")
MODULE
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import sys

import mongomock
import pymongo
from mongomock.gridfs import enable_gridfs_integration

pymongo.MongoClient = mongomock.MongoClient
enable_gridfs_integration()
from fireworks import Firework, FWorker, LaunchPad, ScriptTask

pad = LaunchPad(strm_lvl="CRITICAL")
pad.reset("", require_password=False)
sys.path.insert(0, "environment")
from labels import Label

for number in range(3):
    pad.add_wf(Firework(Label(), name=f"label {number}", spec={"_category": "labels"}))
pad.add_wf(Firework(ScriptTask.from_str("true"), name="fit"))
# from here on as a worker without that module
sys.path.remove("environment")
del sys.modules["labels"]
taken = pad.checkout_fw(FWorker(), ".")[0].name
states = {each["name"]: (each["state"], len(each["launches"])) for each in pad.fireworks.find()}
print("the worker took", taken)
print("state and launches:", states)
assert taken == "fit" and {states[f"label {number}"] for number in range(3)} == {("FIZZLED", 0)}, "they wait now"
PY
