#!/usr/bin/env bash
# FireWorks 2.1.4 makes times of texts in a spec that Python's datetime.fromisoformat reads and that have a T, also ones
# that were names: a run called 20261130T1200 reaches its Firetask as datetime(2026, 11, 30, 12, 0), so that a folder of
# that name is "2026-11-30 12:00:00", and a text with a zone has one. Since Python 3.11 reads more forms than before, so
# does FireWorks. Nothing is said. The launchpad is on mongomock 4.3.0, so that no server is needed.
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
from fireworks import Firework, FWorker, LaunchPad, ScriptTask

NAMES = {"run": "20261130T1200", "week": "2026-W48-1T12", "date": "2026-11-30", "sample": "melt_20261130T1200"}
pad = LaunchPad(strm_lvl="CRITICAL")
pad.reset("", require_password=False)
pad.add_wf(Firework(ScriptTask.from_str("true"), spec=dict(NAMES)))
spec = pad.checkout_fw(FWorker(), ".")[0].spec
for key, name in NAMES.items():
    print(f"{name:20}becomes {spec[key]!r}, a folder named '{spec[key]}'")
kept = [key for key, name in NAMES.items() if spec[key] == name]
assert kept == ["date", "sample"], "texts stay texts"
assert str(spec["run"]) == "2026-11-30 12:00:00"
PY
