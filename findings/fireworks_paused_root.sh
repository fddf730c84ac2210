#!/usr/bin/env bash
# FireWorks 2.1.4: a firework that is PAUSED in a workflow file is still PAUSED on the launchpad if
# it has a parent. If it has none, add_wf makes it READY, and the next rocket runs it: a step that
# was to wait for a person does not. Seen: first READY, second PAUSED, of two that were both PAUSED
# in the YAML. The launchpad is on mongomock 4.3.0, so that no server is needed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q FireWorks==2.1.4 pymongo==4.16.0 mongomock==4.3.0 setuptools==80.9.0
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import mongomock
import pymongo
from mongomock.gridfs import enable_gridfs_integration

pymongo.MongoClient = mongomock.MongoClient
enable_gridfs_integration()
from fireworks import Firework, LaunchPad, ScriptTask, Workflow

first = Firework(ScriptTask.from_str("echo label"), name="first", fw_id=-1, state="PAUSED")
second = Firework(ScriptTask.from_str("echo fit"), name="second", fw_id=-2, state="PAUSED")
Workflow([first, second], {first: [second]}).to_file("wait.yaml")
written = Workflow.from_file("wait.yaml")
print("in the file:", {each.name: each.state for each in written.fws})
pad = LaunchPad(strm_lvl="CRITICAL")
pad.reset("", require_password=False)
pad.add_wf(written)
found = {each["name"]: each["state"] for each in pad.fireworks.find({}, {"name": 1, "state": 1})}
print("on the launchpad:", found)
assert found == {"first": "READY", "second": "PAUSED"}, "the behaviour has changed"
PY
