#!/usr/bin/env python3
"""The live page at size: the time of each page, and what 50 readers cost a cycle beside them.

pages
    A real `gst web` on a database of invented documents, asked over HTTP. Each time another address of the same page is
    asked for, so that nothing is kept from the last time. `--size full` is 1,000,000 structures with labels, 100,000
    attempts and fireworks, and wants about 6 GB of disk in `--folder`.
readers
    The same cycle (two SETs of Sb2Te3 at 300 K, one rank) beside a page with 50 readers and beside one with none, in
    turns. A reader asks for a page, its style, script and figures, and then for a page every ten seconds, as a browser
    does.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import contextlib
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _analysis_hooks import FUNCTIONS, check_done, programme, submitted
from _common import Row, machine, result_on_stdout, versions
from bench_db import add_others, new_project
from in_turns import Arm, in_turns

from gst_jobflow.documents import Attempt, Label, Study, derive_id, now
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

PARTS = ("pages", "readers")
STRUCTURES = {"small": 20_000, "full": 1_000_000}
ASKED = 15
READERS = 50
EVERY_S = 10.0
STEPS = {"small": 300, "full": 450}
MOST_MS = 1000.0
MOST_PERCENT = 2.0
BATCH = 5000
FORMULAS = ("Ge2Sb2Te5", "Ge1Sb2Te4", "Sb2Te3", "Ge1Te1")
TYPES = ("crystal", "aimd", "melt_quench", "hard_sphere", "rss")


# -- pages


def fill(project: Project, n: int) -> None:
    """Write `n` structures with labels, and what else a project of that size has."""
    from gst_jobflow.store.schema.migrate import migrate

    results = Results.open(project)
    for name, documents in (("structures", _structures(n)), ("labels", _labels(n)), ("attempts", _attempts(n // 10))):
        # one pass for each index afterwards is much faster
        results.database[name].drop_indexes()
        batch = []
        for document in documents:
            batch.append(document)
            if len(batch) == BATCH:
                results.database[name].insert_many(batch, ordered=False)
                batch.clear()
        if batch:
            results.database[name].insert_many(batch, ordered=False)
        print(f"  {name}: {results.database[name].estimated_document_count():,}", file=sys.stderr, flush=True)
    migrate(project)
    add_others(results, n)
    _add_jobs(results.database, n // 10)
    results.add_many(_studies(1000))
    results.database.client.close()


def _structures(n: int) -> Iterator[dict[str, Any]]:
    from ase.build import bulk

    from gst_jobflow.store.atoms import structure_document

    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    common, start = structure_document(atoms, "other").to_mongo(), now()
    random = np.random.default_rng(0)
    densities, distances = random.uniform(5, 7, n).tolist(), random.uniform(2, 3, n).tolist()
    for k in range(n):
        yield {
            **common,
            "_id": derive_id("web structure", k),
            "created_at": start + timedelta(milliseconds=k // 100),
            "formula": FORMULAS[k % 4],
            "config_type": TYPES[k % 5],
            "density_g_cm3": densities[k],
            "min_distance_A": distances[k],
            "iteration": k % 7,
            "group": f"run {k // 40}",
        }


def _labels(n: int) -> Iterator[dict[str, Any]]:
    fields = {"fingerprint": "synthetic:1", "method": {"code": "synthetic"}, "state": "converged", "wall_s": 1.0}
    common = Label(
        _id="x", structure_id="x", formula="GeTe", config_type="other", n_atoms=8, energy_eV=-1.0, forces=bytes(192),
        energy_per_atom_eV=-0.1, max_force_eV_A=1.0, **fields,
    ).to_mongo()  # fmt: skip
    for k in range(n):
        id = derive_id("web structure", k)
        yield {**common, "_id": Label.id_for(id, "synthetic:1"), "structure_id": id, "job_uuid": f"job-{k // 500}"}


def _attempts(n: int) -> Iterator[dict[str, Any]]:
    start = now() - timedelta(days=30)
    for k in range(n):
        began = start + timedelta(seconds=k)
        state = "running" if k >= n - 5 else "failed" if k % 50 == 0 else "finished"
        yield Attempt(
            _id=derive_id("web attempt", k), job_uuid=f"job-{k}", job_name=f"label {k}", fw_id=k + 1, number=1,
            state=state, host="node", pid=1, process_started=0.0, directory="x", started_at=began, created_at=began,
            ended_at=began + timedelta(seconds=9), reason="synthetic" if state == "failed" else "",
        ).to_mongo()  # fmt: skip


def _add_jobs(database: Database, n: int) -> None:
    states = ("FIZZLED", *("COMPLETED",) * 44, *("WAITING",) * 4, "READY")
    jobs = ({"fw_id": k + 1, "name": f"label {k}", "state": states[k % 50] if k < n - 5 else "RUNNING"}
            for k in range(n))  # fmt: skip
    database["fireworks"].insert_many(jobs, ordered=False)


def _studies(n: int) -> Iterator[Study]:
    kinds = ("robustness", "scaling", "analysis", "ensemble", "demo")
    row = {f"column {place}": place / 7 for place in range(12)}
    for k in range(n):
        yield Study(
            _id=derive_id("web study", k), name=f"study {k}", kind=kinds[k % 5], plan={"seed": k}, state="finished",
            table=[row] * 100,
        )  # fmt: skip


@contextlib.contextmanager
def page_of(project: Project) -> Iterator[str]:
    """The address of a running `gst web`."""
    program = Path(sys.executable).with_name("gst")
    process = subprocess.Popen(
        [program, "web", "--port", "0"], cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().rstrip("/")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def fetch(address: str) -> str:
    """Load an address; raises where the answer is an error."""
    with urllib.request.urlopen(address, timeout=120) as answer:
        return answer.read().decode(errors="replace")


def page_rows(size: str, folder: Path) -> Iterator[Row]:
    """Measure each page of a large project."""
    from gst_jobflow.launch.services import LocalMongod

    n = STRUCTURES[size]
    project = new_project(folder / "pages")
    with contextlib.ExitStack() as stack:
        server = LocalMongod(project)
        stack.callback(server.down)
        server.up()
        _migrated(project)
        start = time.perf_counter()
        fill(project, n)
        print(f"  {n:,} structures in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        address = stack.enter_context(page_of(project))
        fetch(address)
        for name, path in _pages(project, n).items():
            times = []
            for number in range(ASKED):
                begun = time.perf_counter()
                fetch(f"{address}{path}{'&' if '?' in path else '?'}_={number}")
                times.append(1e3 * (time.perf_counter() - begun))
            yield Row(f"{name}, median", statistics.median(times), "ms")
            yield Row(f"{name}, slowest of {ASKED}", max(times), "ms", limit=MOST_MS)


def _migrated(project: Project) -> None:
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.store.schema.migrate import migrate

    migrate(project)
    write_configs(project)


def _pages(project: Project, n: int) -> dict[str, str]:
    results = Results.open(project)
    newest = {
        name: results.database[name].find_one({}, {"_id": 1}, sort=[("created_at", -1)])["_id"]
        for name in ("structures", "labels", "potentials", "cycles", "studies", "attempts", "trajectories")
    }
    results.database.client.close()
    pages = {"now": "/", "iterations": "/iterations", "potentials": "/potentials", "datasets": "/datasets",
             "cycles": "/cycles", "studies": "/studies", "studies of a kind": "/studies?kind=robustness",
             "attempts": "/attempts", "attempts, the last page": f"/attempts?page={n}",
             "failed attempts": "/attempts?state=failed"}  # fmt: skip
    pages |= {f"one of the {name}": f"/document/{name}/{id}" for name, id in newest.items()}
    structure = newest["structures"]
    pages |= {f"search for {what}": f"/search?q={text}" for what, text in (
        ("an id", structure), ("the beginning of an id", structure[:8]), ("a part of a name", "synthetic-99"),
        ("nothing that is there", "no such thing"),
    )}  # fmt: skip
    return {name: path.replace(" ", "%20") for name, path in pages.items()}


# -- readers


def reader_rows(size: str, folder: Path) -> Iterator[Row]:
    """Compare a cycle beside readers with one beside none."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from _tiny_potential import make_tiny_potential

    (folder / "potential").mkdir()
    cost = {"functions": FUNCTIONS, "rcut_A": 6.5} if size == "full" else {}
    potential = Path(make_tiny_potential(folder / "potential", **cost).yace)
    numbers = {"with": READERS, "without": 0}
    with contextlib.ExitStack() as stack:
        text = programme(size, [], STEPS[size])
        projects = {name: submitted(folder / name, potential, text, stack) for name in numbers}
        arms = {
            name: Arm([sys.executable, __file__, "--beside", str(number)], projects[name].root)
            for name, number in numbers.items()
        }
        used = in_turns(arms)
        n_atoms, _ = (check_done(project, False) for project in projects.values())
    told = json.loads((projects["with"].root / "readers.json").read_text())
    ours, bare = used["with"].wall_s, used["without"].wall_s
    what = f"cycle of {n_atoms:,} atoms beside {READERS} readers"
    yield Row(f"{what}: wall time", ours, "s", "without readers", bare)
    limit = MOST_PERCENT if size == "full" else None
    yield Row(f"{what}: they add", 100 * (ours / bare - 1), "%", limit=limit)
    yield Row("answers that the readers got", told["answers"], "")
    yield Row("errors among them", told["errors"], "", limit=0)
    yield Row("slowest answer", told["slowest_s"], "s")


def run_beside(root: Path, number: int) -> None:
    """Run the cycle of a project beside its page and a number of readers."""
    from gst_jobflow.base.settings import Project

    ended = threading.Event()
    told: dict[str, Any] = {"answers": 0, "errors": 0, "slowest_s": 0.0}
    with page_of(Project(root)) as address:
        fetch(address)
        readers = [threading.Thread(target=_read, args=(address, place, ended, told)) for place in range(number)]
        for reader in readers:
            reader.start()
        subprocess.run([Path(sys.executable).with_name("gst"), "launch", "--workers", "1"], cwd=root, check=True)
        ended.set()
        for reader in readers:
            reader.join()
    (root / "readers.json").write_text(json.dumps(told))


def _read(address: str, place: int, ended: threading.Event, told: dict[str, Any]) -> None:
    """Look at the project as a browser does, until the cycle has ended."""
    pages = ("/", "/cycles", "/potentials", "/attempts", "/studies")
    known: set[str] = set()
    # readers do not come all at once
    wait_s = EVERY_S * place / READERS
    while not ended.wait(wait_s):
        wait_s, path = EVERY_S, pages[place % len(pages)]
        left = [path]
        while left:
            begun = time.perf_counter()
            try:
                text = fetch(address + left.pop())
                told["answers"] += 1
            except OSError:
                told["errors"] += 1
                continue
            told["slowest_s"] = max(told["slowest_s"], time.perf_counter() - begun)
            parts = set(re.findall(r'src="(/[^"]*)"|href="(/style[^"]*)"', text)) if text.startswith("<!") else set()
            new = {part for pair in parts for part in pair if part} - known
            known |= new
            left += sorted(new)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(STRUCTURES), default="small", help="small ends within two minutes")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part (repeatable)")
    parser.add_argument("--folder", type=Path, help="where databases are made; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    parser.add_argument("--beside", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.beside is not None:
        run_beside(Path.cwd(), options.beside)
        return
    with result_on_stdout(options.json) as show, tempfile.TemporaryDirectory(dir=options.folder) as made:
        rows = []
        for part, measure in (("pages", page_rows), ("readers", reader_rows)):
            if part in (options.part or PARTS):
                rows += [row.as_dict() for row in measure(options.size, Path(made))]
        show({"machine": machine(), "versions": versions(["flask", "gunicorn", "pymongo", "matplotlib"]), "rows": rows})


if __name__ == "__main__":
    main()
