#!/usr/bin/env python3
"""Measure the import of extended XYZ: ASE's reader, the C reader of `extxyz`, ours, and a whole import."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from _common import Row, machine, result_on_stdout, versions
from _synthetic import write_synthetic

from gst_jobflow.importing.extxyz import cut_frames, read_extxyz
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.run import import_files
from gst_jobflow.store import Results

OPTIONS = {"fingerprint": "vasp:0123456789abcdef", "method": {"code": "vasp", "version": "", "parameters": {}}}
SIZES = {"small": 10_000, "full": 100_000}
MEMORY_LIMIT_MB = 500
RATE_TO_ASE = 0.8


class PeakMemory:
    """Largest resident memory in MB of this process and its children but for one (the server), sampled."""

    def __init__(self, but: int | None = None) -> None:
        self.peak_MB = 0.0
        self._but = but
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.1):
            size = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    size += 0 if process.pid == self._but else process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak_MB = max(self.peak_MB, size / 1e6)


def rate(records: Callable[[], int]) -> float:
    """Return records/s of a call that returns how many it read."""
    start = time.perf_counter()
    return records() / (time.perf_counter() - start)


def by_ase(file: Path) -> int:
    from ase.io import iread

    return sum(1 for _ in iread(file))


def by_extxyz(file: Path) -> int:
    from extxyz import iread_dicts

    return sum(1 for _ in iread_dicts(str(file)))


def has_extxyz() -> bool:
    try:
        from extxyz import iread_dicts  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def server(root: Path) -> Iterator[tuple[Results, int]]:
    """A project with a mongod of its own: its results, and the server's pid."""
    from gst_jobflow.base.settings import Project
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod, make_credentials
    from gst_jobflow.store.address import read_state
    from gst_jobflow.store.schema.migrate import migrate

    root.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "gst.yaml").write_text(f"mongo: {{port: {port}, cache_gb: 0.5}}\n")
    project = Project(root)
    project.private_dir.mkdir(mode=0o700)
    make_credentials(project)
    write_configs(project)
    mongod = LocalMongod(project)
    mongod.up()
    try:
        migrate(project)
        yield Results.open(project), int(read_state(project)["pid"])
    finally:
        mongod.down()


def measure(n: int, scratch: Path, workers: int | None) -> Iterator[Row]:
    file = scratch / "synthetic.extxyz"
    write_synthetic(file, n)
    size_MB = file.stat().st_size / 1e6
    ase = rate(lambda: by_ase(file))

    def row(name: str, value: float, baseline: float, limit: float | None = None) -> Row:
        name = f"{name}, {n:,} frames ({size_MB:.0f} MB)"
        return Row(name, value, "records/s", "ase.io.iread, alone", baseline, limit, "higher")

    if has_extxyz():
        yield row("C reader of extxyz (dictionaries), alone", rate(lambda: by_extxyz(file)), ase)
    yield row("our reader cutting frames, alone", rate(lambda: sum(1 for _ in cut_frames(file))), ase)
    yield row("our reader (Atoms), alone", rate(lambda: sum(1 for _ in read_extxyz(file, ImportOptions()))), ase)
    options = ImportOptions.model_validate(OPTIONS)
    dry = options.model_copy(update={"dry_run": True})
    found = rate(lambda: import_files([file], None, dry, workers=workers).records)
    yield row("dry run: read, check, build", found, ase)
    with server(scratch / "project") as (results, pid):
        before = rate(lambda: by_ase(file))
        for name in ("import", "import again"):
            with PeakMemory(but=pid) as memory:
                found = rate(lambda: checked(import_files([file], results, options, workers=workers), n))
            # before and behind it: a machine is not equally busy all the time
            after = rate(lambda: by_ase(file))
            beside, before = (before + after) / 2, after
            yield row(f"{name} into mongod", found, beside, RATE_TO_ASE * beside)
            yield Row(f"{name}: peak memory with workers, without mongod", memory.peak_MB, "MB", limit=MEMORY_LIMIT_MB)


def checked(report: object, n: int) -> int:
    """Return the records of a report that is clean, else end."""
    counts = vars(report)
    if counts["n_bad"] or counts["records"] != n:
        raise SystemExit(f"the import is not what it should be: {counts}")
    return n


def main() -> None:
    """Read options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="small", help="small ends within two minutes")
    parser.add_argument("--frames", type=int, help="frames of the synthetic file, instead of --size")
    parser.add_argument("--workers", type=int, help="of the import; as many as it takes by itself if not given")
    parser.add_argument("--scratch", type=Path, help="folder for the file and the server's data")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    n = options.frames or SIZES[options.size]
    packages = ("gst_jobflow", "ase", "extxyz", "numpy", "orjson", "pymongo", "pydantic")
    with result_on_stdout(options.json) as show, tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        about = machine()
        rows = [row.as_dict() for row in measure(n, Path(scratch), options.workers)]
        result = {"machine": about, "versions": versions(packages), "rows": rows}
        show(result)


if __name__ == "__main__":
    main()
