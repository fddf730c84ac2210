#!/usr/bin/env python3
"""Submitting, packing, idling: what a study costs to submit, a task and a firework to run, a launcher to keep waiting.

`--size full` submits 100,000 structures, runs 10,000 packed tasks and 1,000 independent fireworks through plain
`rlaunch`, and the same number by jobflow and FireWorks alone, against a real mongod; and watches idle launchers, on a
private SLURM where it is installed.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from _common import Row, machine, result_on_stdout, versions
from _idle import idle_rows
from bench_db import gst, new_project
from bench_label import processor_s
from in_turns import Arm, Used, in_turns

from gst_jobflow.base.settings import Project
from gst_jobflow.launch.firetask import record_all
from gst_jobflow.launch.workflow import MAX_FIREWORKS
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from jobflow import Job
    from pymongo.database import Database

SUBMITTED = {"small": 5_000, "full": 100_000}
TASKS = {"small": (20, 500), "full": (100, 10_000)}
PLAIN = {"small": 20, "full": 200}
INDEPENDENT = {"small": 20, "full": 1_000}
IDLE_S = {"small": 10.0, "full": 60.0}
PARTS = ("submission", "packing", "independent", "idle")
SUBMIT_S, DOCUMENT_MB, TASK_MS, GROWTH, OVERHEAD = 30.0, 1.0, 5.0, 1.2, 1.0
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


def trivial_jobs(number: int) -> list[Job]:
    """Jobs that do nothing."""
    from jobflow import Job

    return [Job(len, function_args=("nothing",)) for _ in range(number)]


def plain_ms(project: Project, number: int) -> float:
    """Wall time a firework, ms: jobs that do nothing, in one workflow, by jobflow and FireWorks alone."""
    from jobflow import Flow
    from jobflow.managers.fireworks import flow_to_workflow

    from gst_jobflow.store.connect import launchpad

    launchpad(project).add_wf(flow_to_workflow(Flow(trivial_jobs(number))))
    took = launch_s(project)
    completed(project, number)
    return 1e3 * took / number


def independent(folder: Path, number: int) -> dict[str, Used]:
    """What workflows of one job each use that jobflow and FireWorks run alone, and ours, with their database servers.

    Each kind has an `rlaunch` and a server of its own, since ours changes FireWorks' ping; both work by turns, so that
    whatever else this machine does meets both alike.
    """
    from jobflow.managers.fireworks import flow_to_workflow

    from gst_jobflow.launch.configs import environment
    from gst_jobflow.store.connect import launchpad

    rlaunch = Path(sys.executable).with_name("rlaunch")
    with served(folder / "alone") as alone, served(folder / "ours") as ours:
        projects = {"alone": alone, "ours": ours}
        for kind, (project, _) in projects.items():
            workflows = [flow_to_workflow(job) for job in trivial_jobs(number)]
            for workflow in workflows if kind == "ours" else ():
                record_all(workflow, project.root)
            launchpad(project).bulk_add_wfs(workflows)
        before_s = {kind: processor_s(server) for kind, (_, server) in projects.items()}
        used = in_turns(
            {
                kind: Arm(
                    [rlaunch, "-c", project.fw_configs_dir, "rapidfire"],
                    project.root,
                    {**os.environ, **environment(project)},
                )
                for kind, (project, _) in projects.items()
            }
        )
        for kind, (project, server) in projects.items():
            used[kind].processor_s += processor_s(server) - before_s[kind]
            completed(project, number)
    return used


def packing_rows(project: Project, sizes: tuple[int, int], plain: int) -> Iterator[Row]:
    """What a task costs in a small and in a large chunk, and as a firework each."""
    few, many = (task_ms(project, add_structures(project, size)[:size]) for size in sizes)
    alone = plain_ms(project, plain)
    baseline = f"jobflow and FireWorks, {plain:,} jobs in one workflow"
    yield Row(f"packed task, {sizes[1]:,} in one job", many, "ms", baseline, alone, limit=TASK_MS)
    yield Row(f"packed task, {sizes[1]:,} over {sizes[0]:,}", many / few, "times", limit=GROWTH)


def independent_rows(folder: Path, number: int) -> Iterator[Row]:
    """What recording an attempt and finding the project add to a firework."""
    used = independent(folder, number)
    alone, ours = used["alone"], used["ours"]
    baseline, per = "jobflow and FireWorks, by turns", 1e3 / number
    name = f"firework, {number:,} workflows of one"
    yield Row(name, per * ours.wall_s, "ms", baseline, per * alone.wall_s, limit=OVERHEAD * per * alone.wall_s)
    name += ", processor time, database server included"
    yield Row(name, per * ours.processor_s, "ms", baseline, per * alone.processor_s)


@contextmanager
def served(folder: Path) -> Iterator[tuple[Project, psutil.Process]]:
    """A project and its database server, which is stopped again."""
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod

    project = new_project(folder)
    server = LocalMongod(project)
    try:
        process = psutil.Process(server.up().pid)
        gst(project, "db", "migrate")
        write_configs(project)
        yield project, process
    finally:
        server.down()


def measure(folder: Path, size: str, parts: list[str]) -> Iterator[Row]:
    """The rows of `parts`."""
    if parts != ["independent"]:
        with served(folder / "project") as (project, _):
            if "submission" in parts:
                start = time.perf_counter()
                add_structures(project, SUBMITTED[size])
                print(f"  structures: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
                yield from submission_rows(project, SUBMITTED[size])
            if "packing" in parts:
                yield from packing_rows(project, TASKS[size], PLAIN[size])
            if "idle" in parts:
                yield from idle_rows(project, IDLE_S[size])
    if "independent" in parts:
        yield from independent_rows(folder, INDEPENDENT[size])


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SUBMITTED, default="small")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    try:
        with result_on_stdout(options.json) as show:
            packages = ("gst_jobflow", "jobflow", "fireworks", "pymongo", "ase")
            rows = [row.as_dict() for row in measure(folder, options.size, options.part or list(PARTS))]
            result = {"machine": machine(), "versions": versions(packages), "rows": rows}
            show(result)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
