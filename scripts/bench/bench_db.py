#!/usr/bin/env python3
"""The results database at size: import, the ten documented queries, a dataset, an export; against a real mongod.

`--size full` is 1,000,000 structures with labels and wants about 35 GB of disk in `--folder`. Every step is the
command that a user types, in a process of its own, whose memory is watched with that of its workers.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from _common import Row, machine, result_on_stdout, versions
from _synthetic import write_synthetic

from gst_jobflow.base.settings import Project
from gst_jobflow.documents import (
    ArtifactRef,
    Cycle,
    Label,
    Operation,
    Potential,
    PotentialArtifacts,
    Rmse,
    Structure,
    Trajectory,
    derive_id,
)
from gst_jobflow.store import Results
from gst_jobflow.store.query import make_query, summarise_groups
from gst_jobflow.structures.composition import reduced_formula
from gst_jobflow.structures.material import default_material

if TYPE_CHECKING:
    from pymongo.database import Database

SIZES = {"small": 5_000, "full": 1_000_000}
ITERATIONS = 5
"""Files, each of them imported as one iteration."""
BASELINE_FRAMES = 5_000
"""Read by others before each file is imported and after the last, for a machine is not equally busy all the time."""
REPEATS = 60
PAGE = 20
EXPORTED = 100_000
MEMORY_MB = 500
QUERY_MEDIAN_MS, QUERY_P95_MS = 10, 50


@dataclass
class Run:
    """What a command took: wall time, time of processors, and the largest memory of it and its workers together."""

    wall_s: float
    processor_s: float
    peak_MB: float
    output: str


def gst(project: Project, *words: str) -> Run:
    """Run `gst` in the project; raises where it fails."""
    start, before, peak = time.perf_counter(), _processor_s(), 0.0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("gst")), *words],
            cwd=project.root,
            stdout=output,
            stdin=subprocess.DEVNULL,
        )
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.2):
                peak = max(peak, resident_MB(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        wall_s = time.perf_counter() - start
        ended.set()
        watcher.join()
        output.seek(0)
        text = output.read().decode()
    if code:
        raise SystemExit(f"gst {' '.join(words)}: exit code {code}\n{text}")
    print(f"  gst {' '.join(words[:3])} …: {wall_s:.1f} s, {peak:.0f} MB", file=sys.stderr, flush=True)
    return Run(wall_s, _processor_s() - before, peak, text)


def _processor_s() -> float:
    """What our children and theirs have used, as far as they have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_MB(pid: int) -> float:
    """Memory of a process and all below it; what they share is counted for each."""
    try:
        parent = psutil.Process(pid)
        return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)]) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


# -- import


def import_rows(project: Project, files: list[Path], n: int, server: psutil.Process) -> Iterator[Row]:
    """Import all files, then the first again; ASE's reader alone on each of them in between, others on the first."""
    before_s = sum(server.cpu_times()[:2])
    runs, baseline = [], [_rate(_ase, files[0])]
    for iteration, file in enumerate(files):
        runs.append(
            gst(
                *(project, "structures", "import", str(file), "--method-name", "synthetic"),
                *("--iteration", str(iteration), "--tag", f"melt-quench-{iteration}", "--json"),
            )
        )
        baseline.append(_rate(_ase, file))
    imported = sum(json.loads(run.output)["structures"]["new"] for run in runs)
    if imported != n:
        raise SystemExit(f"{imported} of {n} structures were imported")
    per_s = n / sum(run.wall_s for run in runs)
    processor_s = sum(run.processor_s for run in runs) + sum(server.cpu_times()[:2]) - before_s
    again = gst(project, "structures", "import", str(files[0]), "--method-name", "synthetic", "--json")
    if json.loads(again.output)["structures"]["new"]:
        raise SystemExit("importing a file again gave new structures")
    ase = Rate(*(statistics.mean(getattr(rate, name) for rate in baseline) for name in ("per_s", "processor_us")))
    against = ("ase.io.iread, one core", ase.per_s)
    yield Row(f"import of {n:,} from extended XYZ", per_s, "1/s", *against, 0.8 * ase.per_s, "higher")
    yield Row(
        *("processors' time for a structure, with the server's", processor_s / n * 1e6, "µs"),
        *("ase.io.iread", ase.processor_us),
    )
    yield Row("the same file again", n / ITERATIONS / again.wall_s, "1/s", *against, better="higher")
    yield Row("largest memory of the import", max(run.peak_MB for run in [*runs, again]), "MB", limit=MEMORY_MB)
    yield Row("our reader alone", _rate(_ours, files[0]).per_s, "1/s", *against, better="higher")
    with contextlib.suppress(ImportError):
        per_s = _rate(_extxyz, files[0]).per_s
        yield Row("extxyz, the C package (dictionaries)", per_s, "1/s", *against, better="higher")


@dataclass
class Rate:
    """Frames a second, and the time of the processor for one."""

    per_s: float
    processor_us: float


def _rate(reader: Callable[[Path], Iterator[object]], file: Path) -> Rate:
    """How fast frames come after the first, so that what a reader does once with the file does not count against it."""
    frames = reader(file)
    next(frames)
    start, start_s = time.perf_counter(), time.process_time()
    count = sum(1 for _ in islice(frames, BASELINE_FRAMES))
    return Rate(count / (time.perf_counter() - start), (time.process_time() - start_s) / count * 1e6)


def _ase(file: Path) -> Iterator[object]:
    from ase.io import iread

    return iread(file, index=":", format="extxyz")


def _ours(file: Path) -> Iterator[object]:
    from gst_jobflow.importing.extxyz import read_extxyz
    from gst_jobflow.importing.options import ImportOptions

    return read_extxyz(file, ImportOptions())


def _extxyz(file: Path) -> Iterator[object]:
    from extxyz import iread_dicts

    return iread_dicts(str(file))


# -- queries


def add_others(results: Results, n: int) -> None:
    """What the other named queries ask for: failed labels, and documents that no import makes."""
    random_numbers = random.Random(0)
    known = list(results.database["structures"].find().limit(n // 100))
    ids = [found["_id"] for found in known]
    results.add_many([_child(found) for found in known])
    results.put_labels([_failed(id, random_numbers.choice(("not_converged", "walltime", "memory"))) for id in ids])
    potentials = [_potential(k, random_numbers.uniform(80, 400)) for k in range(1000)]
    results.add_many(potentials)
    results.add_many([_trajectory(k, potentials[k % 1000].id) for k in range(5000)])
    results.add_many([_cycle(k, potentials[k % 1000].id, ids[0]) for k in range(500)])


def _child(parent: dict[str, Any]) -> Structure:
    changes = {"_id": derive_id("synthetic child", parent["_id"]), "parents": [parent["_id"]], "tags": ["child"]}
    return Structure.model_validate({**parent, **changes})


def _failed(structure_id: str, failure_class: str) -> Label:
    return Label(
        _id=Label.id_for(structure_id, "failing:1"),
        structure_id=structure_id,
        fingerprint="failing:1",
        method={"code": "failing"},
        state="failed",
        failure_class=failure_class,
        reason="synthetic",
        formula="GeTe",
        config_type="other",
        n_atoms=2,
        wall_s=1.0,
    )


def _potential(k: int, force_meV_per_A: float) -> Potential:
    file = ArtifactRef(sha256="0" * 64, size_bytes=0, name="potential.yaml")
    return Potential(
        _id=derive_id("synthetic potential", k),
        name=f"synthetic-{k}",
        elements=["Ge", "Sb", "Te"],
        n_densities=3,
        n_functions=300,
        cutoff_A=8.0,
        rmse={"test": Rmse(energy_meV_per_atom=force_meV_per_A / 20, force_meV_per_A=force_meV_per_A)},
        artifacts=PotentialArtifacts(yaml=file, yace=file),
    )


def _trajectory(k: int, potential_id: str) -> Trajectory:
    return Trajectory(
        _id=derive_id("synthetic trajectory", k),
        name=f"synthetic-{k}",
        protocol="melt-quench",
        potential_id=potential_id,
        formula="Ge2Sb2Te5",
        n_atoms=1000,
        stages=[],
        timestep_fs=2.0,
        n_steps=5000,
        duration_ps=10.0,
        n_frames=0,
        state="finished",
        seed=k,
    )


def _cycle(k: int, potential_id: str, structure_id: str) -> Cycle:
    state = ("finished", "running")[k % 2]
    return Cycle(
        _id=derive_id("synthetic cycle", k),
        name=f"synthetic-{k}",
        device=("mushroom", "cross-point")[k % 3 % 2],
        formula="Ge1Sb2Te4",
        n_atoms=1000,
        groups={"mobile": [1, 1000]},
        potential_id=potential_id,
        structure_id=structure_id,
        state=state,
        operations=[Operation(kind="RESET", stages=[], duration_ps=50.0)],
        seed=k,
    )


def named_queries(database: Database) -> dict[str, Callable[[random.Random], Any]]:
    """Ten questions of docs/queries.md; each call asks with other values, for a first page where there are pages."""
    formulas = [reduced_formula_of(text) for text in default_material().compositions]
    sample = [{"$sample": {"size": 500}}, {"$project": {"_id": 1}}]
    ids = [found["_id"] for found in database["structures"].aggregate(sample)]
    movers = [found["_id"] for found in database["potentials"].find({}, {"_id": 1})]
    fingerprints = database["labels"].distinct("fingerprint", {"state": "converged"})

    def page(collection: str, where: str, sort: str | None = None) -> list[Any]:
        return list(make_query(collection, [where], sort, PAGE).documents(database))

    def failures(_: random.Random) -> list[Any]:
        return list(summarise_groups(database, make_query("labels", ["state=failed"]), "failure_class", []))

    return {
        "structures of a composition with close atoms": lambda r: page(
            "structures", f"composition={r.choice(formulas)} dmin<{r.uniform(2.2, 2.5):.2f}"
        ),
        "random structures of later iterations": lambda r: page(
            "structures", f"config_type=hard_sphere,rss iteration>={r.randrange(ITERATIONS)}"
        ),
        "structures with a tag that begins so": lambda r: page(
            "structures", f"tags~melt-quench-{r.randrange(ITERATIONS)}"
        ),
        "what was made from a structure": lambda r: page("structures", f"parents={r.choice(ids)}"),
        "labels of one method": lambda r: page("labels", f"fingerprint={r.choice(fingerprints)} state=converged"),
        "why labels failed": failures,
        "the largest forces": lambda r: page("labels", f"max_force_eV_A>{r.uniform(1, 3):.2f}", "-max_force_eV_A"),
        "potentials with the smallest errors": lambda r: page(
            "potentials", f"rmse.test.force_meV_per_A<{r.uniform(100, 400):.0f}", "rmse.test.force_meV_per_A"
        ),
        "simulations that a potential moved": lambda r: page("trajectories", f"potential_id={r.choice(movers)}"),
        "device cycles that ended": lambda r: page(
            "cycles", f"device={r.choice(['mushroom', 'cross-point'])} state=finished"
        ),
    }


def reduced_formula_of(text: str) -> str:
    """The formula as documents hold it."""
    from gst_jobflow.structures.composition import parse_formula

    return reduced_formula(parse_formula(text))


def query_rows(database: Database) -> Iterator[Row]:
    """Median and 95th percentile of each query, asked `REPEATS` times."""
    random_numbers = random.Random(1)
    for name, ask in named_queries(database).items():
        times_ms = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            ask(random_numbers)
            times_ms.append((time.perf_counter() - start) * 1e3)
        p95 = statistics.quantiles(times_ms, n=20)[-1]
        yield Row(f"query: {name}, median", statistics.median(times_ms), "ms", limit=QUERY_MEDIAN_MS)
        yield Row(f"query: {name}, p95", p95, "ms", limit=QUERY_P95_MS)


# -- datasets and export


def dataset_rows(project: Project, n: int) -> Iterator[Row]:
    """A dataset of everything, and the export of one of about 100,000 labels."""
    whole = gst(project, "dataset", "create", "all", "--method-name", "synthetic", "--json")
    members = json.loads(whole.output)[0]["n_members"]
    yield Row(f"gst dataset create, {members:,} members", whole.wall_s, "s", limit=30)
    yield Row("its memory", whole.peak_MB, "MB")
    share = min(1.0, EXPORTED / n)
    part = _part(project, share)
    target = project.root / "part.pckl.gzip"
    export = gst(project, "export", "dataset", part["id"], "--output", str(target), "--format", "pckl.gzip")
    yield Row(f"export of {part['n_members']:,} labelled structures to pckl.gzip", export.wall_s, "s", limit=60)
    yield Row("its memory", export.peak_MB, "MB")


def _part(project: Project, share: float) -> dict[str, Any]:
    """A dataset of about this share of the structures: those whose random ids begin so."""
    last = f"{min(int(share * 16**4), 16**4 - 1):04x}"
    made = gst(
        *(project, "dataset", "create", "part", "--method-name", "synthetic", "--json"),
        *("--where", f"id<={last}"),
    )
    return json.loads(made.output)[0]


def main() -> None:
    """Make the data, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--structures", type=int, help="instead of --size")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--keep", action="store_true", help="leave project and files there")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    n = options.structures or SIZES[options.size]
    n -= n % ITERATIONS
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    packages = ("gst_jobflow", "pymongo", "ase", "numpy", "extxyz")
    try:
        with result_on_stdout(options.json) as show:
            about, rows = machine(), []
            for row in measure(folder, n):
                rows.append(row.as_dict())
                print(f"  {row.name}: {row.value:.4g} {row.unit}", file=sys.stderr, flush=True)
            result = {"machine": about, "versions": versions(packages), "rows": rows}
            show(result)
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)


def measure(folder: Path, n: int) -> Iterator[Row]:
    """All rows, from files that are written to a server that is stopped again."""
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.address import read_state
    from gst_jobflow.store.connect import connect

    project = new_project(folder / "project")
    server = LocalMongod(project)
    files = [folder / f"synthetic-{k}.extxyz" for k in range(ITERATIONS)]
    start = time.perf_counter()
    for seed, file in enumerate(files):
        write_synthetic(file, n // ITERATIONS, seed)
    print(f"  files: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    try:
        server.up()
        gst(project, "db", "migrate")
        yield from import_rows(project, files, n, psutil.Process(read_state(project)["pid"]))
        database = connect(project)
        add_others(Results.open(project), n)
        yield from query_rows(database)
        yield from dataset_rows(project, n)
        yield Row("size of the database on disk", database.command("dbStats")["totalSize"] / 2**30, "GiB")
        database.client.close()
    finally:
        server.down()


def new_project(root: Path) -> Project:
    """A project with its own mongod on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root.mkdir()
    (root / "gst.yaml").write_text(f"mongo: {{port: {port}, cache_gb: 2.0}}\n")
    (root / ".gst").mkdir(mode=0o700)
    os.environ.pop("GST_PROJECT", None)
    return Project(root)


if __name__ == "__main__":
    main()
