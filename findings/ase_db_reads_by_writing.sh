#!/usr/bin/env bash
# ASE 3.29.0: ase.db.connect on an SQLite file of another program, followed by select(), which
# only reads, creates ASE's tables and indices in it (systems, species, keys, ...) and answers "no
# rows". A look at the wrong file changes it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import hashlib
import sqlite3

from ase.db import connect

def tables():
    with sqlite3.connect("other.db") as other:
        return sorted(r[0] for r in other.execute("select name from sqlite_master where type='table'"))

def digest():
    return hashlib.sha256(open("other.db", "rb").read()).hexdigest()[:12]

with sqlite3.connect("other.db") as other:
    other.execute("create table runs(name text)")
    other.execute("insert into runs values ('melt')")
other.close()
before = tables(), digest()
rows = len(list(connect("other.db").select()))
after = tables(), digest()
print("before", before, "rows", rows)
print("after ", after)
assert rows == 0 and before[0] == ["runs"] and "systems" in after[0] and before[1] != after[1], "changed"
PY
