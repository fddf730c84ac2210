#!/usr/bin/env python3
"""Submitting and packing: a labelling study of many structures as a workflow, and what a task and a firework cost.

`--size full` submits 100,000 structures, runs 10,000 packed tasks and 1,000 independent fireworks through plain
`rlaunch`, and the same number by jobflow and FireWorks alone, against a real mongod.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Row, as_markdown, machine, versions
from bench_db import gst, new_project

from gst_jobflow.launch.workflow import MAX_FIREWORKS
from gst_jobflow.settings import Project
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from pymongo.database import Database

SUBMITTED = {"small": 5_000, "full": 100_000}
TASKS = {"small": (20, 500), "full": (100, 10_000)}
PLAIN = {"small": 20, "full": 200}
INDEPENDENT = {"small": 20, "full": 1_000}
PARTS = ("submission", "packing", "independent")
SUBMIT_S, DOCUMENT_MB, TASK_MS, GROWTH, OVERHEAD = 30.0, 1.0, 5.0, 1.2, 1.1
_BATCH = 5_000


def add_structures(project: Project, number: int) -> list[str]:
    """Fill `structures` up to `number` with copies of one small cell under other ids; return their ids."""
    from ase.build import bulk

    from gst_jobflow.store.atoms import structure_document

    results = Results.open(project)
    structures = results.database["structures"]
    if structures.estimated_document_count() == 0:
        results.add(structure_document(bulk("Te", "sc", a=3.2), "crystal"))
    one = structures.find_one()
    assert one is not None
    have = structures.estimated_document_count()
    for start in range(have, number, _BATCH):
        structures.insert_many([{**one, "_id": f"{k:064x}"} for k in range(start, min(number, start + _BATCH))])
    return [found["_id"] for found in structures.find({}, {"_id": 1}).sort("_id", 1).limit(number)]


def largest_MB(database: Database) -> float:
    """The largest document that FireWorks and jobflow hold."""
    sizes = [{"$group": {"_id": None, "largest": {"$max": {"$bsonSize": "$$ROOT"}}}}]
    found = [row["largest"] for name in ("fireworks", "workflows", "launches", "outputs")
             for row in database[name].aggregate(sizes)]  # fmt: skip
    return max(found) / 2**20


def submission_rows(project: Project, number: int) -> Iterator[Row]:
    """`gst submit label` of all structures, as a user types it."""
    database = Results.open(project).database
    took = gst(project, "submit", "label", "--backend", "tblite")
    full = number >= SUBMITTED["full"]
    yield Row(f"submission, {number:,} structures", took.wall_s, "s", limit=SUBMIT_S if full else None)
    yield Row("fireworks of it", database["fireworks"].count_documents({}), "fireworks", limit=MAX_FIREWORKS)
    yield Row("largest document of it", largest_MB(database), "MB", limit=DOCUMENT_MB)
    for name in ("fireworks", "workflows", "launches", "outputs"):
        database[name].delete_many({})


def launch_s(project: Project) -> float:
    """Wall time of `rlaunch rapidfire` until nothing is left, s."""
    from gst_jobflow.launch.configs import environment

    start = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("rlaunch"), "-c", project.fw_configs_dir, "rapidfire"],
        cwd=project.root, env={**os.environ, **environment(project)}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return time.perf_counter() - start


def completed(project: Project, number: int) -> None:
    """Stop the benchmark where not all fireworks came to their end; take them away."""
    database = Results.open(project).database
    done = database["fireworks"].count_documents({"state": "COMPLETED"})
    if done != number:
        raise SystemExit(f"{done} of {number} fireworks: {list(database['attempts'].find({}, {'reason': 1}))[-1:]}")
    for name in ("fireworks", "workflows", "launches", "outputs"):
        database[name].delete_many({})


def task_ms(project: Project, ids: list[str]) -> float:
    """Wall time a task, ms: trivial labels in one job, from the beginning of its attempt to its end."""
    from gst_jobflow.labelling.ase_calculator import AseBackend
    from gst_jobflow.labelling.maker import LabelMaker
    from gst_jobflow.launch.workflow import submit

    backend = AseBackend(
        name=f"trivial-{len(ids)}", calculator="ase.calculators.lj:LennardJones", package="ase",
        parameters={"sigma": 2.5, "epsilon": 0.1, "rc": 3.0}, isolate=False,
    )  # fmt: skip
    submit(LabelMaker(backend).make(ids), project)
    launch_s(project)
    completed(project, 1)
    database = Results.open(project).database
    labels = database["labels"].count_documents({"method.code": backend.name, "state": "converged"})
    if labels != len(ids):
        raise SystemExit(f"{labels} of {len(ids)} labels")
    attempt: Any = database["attempts"].find_one(sort=[("started_at", -1)])
    return 1e3 * (attempt["ended_at"] - attempt["started_at"]).total_seconds() / len(ids)


def plain_ms(project: Project, number: int, *, one_workflow: bool, ours: bool = False) -> float:
    """Wall time a firework, ms: jobs that do nothing, in one workflow or in one each; by FireWorks alone or as ours."""
    from fireworks import Workflow
    from jobflow import Flow, Job
    from jobflow.managers.fireworks import flow_to_workflow

    from gst_jobflow.launch.firetask import record_all
    from gst_jobflow.store.connect import launchpad

    jobs = [Job(len, function_args=("nothing",)) for _ in range(number)]
    flows: list[Any] = [Flow(jobs)] if one_workflow else jobs
    workflows: list[Workflow] = [flow_to_workflow(flow) for flow in flows]
    for workflow in workflows if ours else ():
        record_all(workflow, project.root)
    launchpad(project).bulk_add_wfs(workflows)
    took = launch_s(project)
    completed(project, number)
    return 1e3 * took / number


def packing_rows(project: Project, sizes: tuple[int, int], plain: int) -> Iterator[Row]:
    """What a task costs in a small and in a large chunk, and as a firework each."""
    few, many = (task_ms(project, add_structures(project, size)[:size]) for size in sizes)
    alone = plain_ms(project, plain, one_workflow=True)
    baseline = f"jobflow and FireWorks, {plain:,} jobs in one workflow"
    yield Row(f"packed task, {sizes[1]:,} in one job", many, "ms", baseline, alone, limit=TASK_MS)
    yield Row(f"packed task, {sizes[1]:,} over {sizes[0]:,}", many / few, "times", limit=GROWTH)


def independent_rows(project: Project, number: int) -> Iterator[Row]:
    """What recording an attempt and finding the project add to a firework."""
    theirs = plain_ms(project, number, one_workflow=False)
    ours = plain_ms(project, number, one_workflow=False, ours=True)
    name = f"firework, {number:,} workflows of one"
    yield Row(name, ours, "ms", "jobflow and FireWorks", theirs, limit=OVERHEAD * theirs)


def measure(folder: Path, size: str, parts: list[str]) -> Iterator[Row]:
    """The rows of `parts`, from a server that is stopped again."""
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod

    project = new_project(folder / "project")
    server = LocalMongod(project)
    try:
        server.up()
        gst(project, "db", "migrate")
        write_configs(project)
        if "submission" in parts:
            start = time.perf_counter()
            add_structures(project, SUBMITTED[size])
            print(f"  structures: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            yield from submission_rows(project, SUBMITTED[size])
        if "packing" in parts:
            yield from packing_rows(project, TASKS[size], PLAIN[size])
        if "independent" in parts:
            yield from independent_rows(project, INDEPENDENT[size])
    finally:
        server.down()


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SUBMITTED, default="small")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print for programs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    try:
        packages = ("gst_jobflow", "jobflow", "fireworks", "pymongo", "ase")
        rows = [row.as_dict() for row in measure(folder, options.size, options.part or list(PARTS))]
        result = {"machine": machine(), "versions": versions(packages), "rows": rows}
        print(json.dumps(result, indent=2) if options.json else as_markdown(result))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
