"""Pages at size: every query of every page reads an index, as the server itself tells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gst_jobflow.documents import Attempt, Study, now
from gst_jobflow.store import Results

from .. import synthetic
from .conftest import Get

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]
_NO_QUERIES = ("getMore", "profile", "usersInfo", "connectionStatus")


def test_no_page_scans_a_collection(get: Get, filled: Results) -> None:
    database, start = filled.database, now()
    for fw_id, state in enumerate(("RUNNING", "RESERVED", "FIZZLED", "WAITING", "READY", "COMPLETED"), 1):
        database["fireworks"].insert_one({"fw_id": fw_id, "name": f"job {fw_id}", "state": state})
        database["launches"].insert_one({"launch_id": fw_id, "fw_id": fw_id, "state": state, "state_history": []})
    database["workflows"].insert_one({"nodes": [1, 2, 3, 4, 5, 6]})
    for state in ("running", "failed", "lost"):
        filled.add(
            Attempt(
                _id=f"of-{state}", job_uuid=state, job_name="fit", fw_id=3, number=1, state=state, host="h", pid=1,
                process_started=0.0, directory="x", started_at=start - timedelta(minutes=1),
            )
        )  # fmt: skip
    for kind in ("iteration", "robustness", "hyperopt"):
        filled.add(Study(_id=f"study-{kind}", name=f"a {kind}", kind=kind, plan={}, state="running"))
    structure, label = (database[name].find_one({}, {"_id": 1})["_id"] for name in ("structures", "labels"))
    pages = ["/", "/iterations", "/potentials", "/datasets", "/cycles", "/studies", "/studies?kind=robustness&page=2"]
    pages += ["/attempts", "/attempts?state=failed", "/attempts?firework=3", "/figure/accuracy-and-speed.png"]
    pages += [f"/search?q={text}" for text in ("in miniature", "synthetic-", "7", structure[:8], "nothing at all")]
    pages += [f"/document/{name}/{id}" for name, id in (
        ("structures", structure), ("labels", label), ("datasets", "synthetic-dataset"), ("attempts", "of-lost"),
        ("potentials", synthetic.POTENTIAL_ID), ("cycles", synthetic.CYCLE_ID), ("studies", synthetic.STUDY_ID),
        ("trajectories", "synthetic-2"), ("studies", "study-iteration"),
    )]  # fmt: skip
    pages += [f"/figure/cycles/{synthetic.CYCLE_ID}/cycle.png", "/figure/datasets/synthetic-dataset/data.png"]
    database.command("profile", 2)
    for page in pages:
        assert get(page).status_code in (200, 302), page
    database.command("profile", 0)
    seen = list(database["system.profile"].find({"op": {"$in": ["query", "command", "getmore"]}}))
    scans = [_told(each) for each in seen if "COLLSCAN" in each.get("planSummary", "")]
    assert len(seen) > 100 and scans == []


def _told(entry: dict[str, Any]) -> str:
    command = {key: value for key, value in entry["command"].items() if key not in ("lsid", "$clusterTime", "$db")}
    return f"{entry['ns']}: {command} {entry['planSummary']}"
