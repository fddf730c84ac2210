#!/usr/bin/env bash
# FireWorks 2.1.4 launches fireworks by falling _priority. One that has none is not in the middle: it comes after all that
# have one, also after negative ones, so that _priority: -5, "later", runs it before everything ordinary. Seen: high,
# zero, low, ordinary, on mongomock 4.3.0 as on MongoDB 6.0.
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

pad = LaunchPad(strm_lvl="CRITICAL")
pad.reset("", require_password=False)
for name, spec in (("ordinary", {}), ("low", {"_priority": -5}), ("zero", {"_priority": 0}), ("high", {"_priority": 5})):
    pad.add_wf(Firework(ScriptTask.from_str("true"), name=name, spec=spec))
order = [pad.checkout_fw(FWorker(), ".")[0].name for _ in range(4)]
print("launched:", ", ".join(order))
assert order == ["high", "zero", "low", "ordinary"], "the order has changed"
PY
