"""Import by several processes: the same in the same order, and nobody is left over."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.importing import workers
from gst_jobflow.importing.formats import source_files
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import OutcomeBuilder
from gst_jobflow.importing.run import import_files
from gst_jobflow.store import Results
from gst_jobflow.store.files.artifacts import ArtifactStore
from tests.importing.test_importing import gap_frame


def options(**values: object) -> ImportOptions:
    return ImportOptions.model_validate(
        {"fingerprint": "vasp:0", "method": {"code": "vasp"}, "config_types": {"liquid": "aimd"}} | values
    )


@pytest.fixture
def mixed(tmp_path):
    """Two files with good and bad records, one far energy, a frame too large for workers, and a cut end."""
    frames = [gap_frame(seed) for seed in range(300)]
    frames[5] = gap_frame(5, energy="NaN")
    frames[130] = gap_frame(130, energy=-3000)
    frames[131] = gap_frame(131, config_type="unheard")
    frames[200] = frames[199].replace("Ge ", "Qq ", 1)
    first, second = tmp_path / "first.xyz", tmp_path / "second.xyz"
    first.write_text("".join(frames))
    second.write_text("".join(gap_frame(seed) for seed in range(1000, 1100)) + gap_frame(1)[:-40])
    return [first, second]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(workers, "_CHUNK_FRAMES", 7)


def test_the_report_does_not_depend_on_the_number_of_workers(mixed, small_chunks, monkeypatch):
    one, two, three = (import_files(mixed, None, options(dry_run=True), workers=n) for n in (1, 2, 3))
    assert one == two == three
    assert [(flaw.index, flaw.file) for flaw in one.bad] == [
        *((index, str(mixed[0])) for index in (5, 131, 200)),
        (100, str(mixed[1])),
    ]
    assert [flaw.index for flaw in one.outliers] == [130] and one.records == 401


def test_strict_stops_at_the_same_record(mixed, small_chunks):
    one, two = (import_files(mixed, None, options(dry_run=True, strict=True), workers=n) for n in (1, 2))
    assert one == two and one.stopped and one.records == 6


def test_energies_without_a_method_end_it(mixed, small_chunks):
    with pytest.raises(InputError, match=r"record 0.*by which method"):
        import_files(mixed, None, options(dry_run=True, fingerprint=None), workers=2)
    assert not children()


@pytest.mark.mongo
def test_documents_are_the_same(project, mixed, small_chunks):
    results = Results.open(project)
    first = import_files(mixed, results, options(), workers=2)
    assert (first.structures["new"], first.labels["new"], first.n_bad) == (397, 397, 4)
    again = import_files(mixed, results, options(), workers=1)
    assert (again.structures, again.labels) == ({"new": 0, "known": 397}, {"new": 0, "known": 397})
    assert replace(again, structures={}, labels={}) == replace(first, structures={}, labels={})
    assert results.database["structures"].find_one({"source.index": 299})["config_type"] == "aimd"


def test_a_killed_worker_is_one_error_and_ends_the_others(mixed, small_chunks, tmp_path, monkeypatch):
    # too little for all that is read ahead
    monkeypatch.setattr(workers, "_PIPE_BYTES", 1 << 12)
    with (
        pytest.raises(RunError, match="a process that read"),
        workers.outcomes(source_files(mixed, options()), options(), ArtifactStore(tmp_path), 2) as stream,
    ):
        next(stream)
        for child in children():
            child.kill()
        list(stream)
    assert not children()


def test_an_exception_in_a_worker_comes_with_its_traceback(tmp_path):
    share = workers.Share(OutcomeBuilder(options()), [None])
    with workers._Worker(share) as worker, pytest.raises(RuntimeError, match="Traceback"):
        worker.answer("nothing")


def test_small_files_start_no_worker(mixed, tmp_path, monkeypatch):
    assert not workers._are_large(source_files(mixed, options()))
    monkeypatch.setattr(workers, "_WORTH_BYTES", 100_000)
    assert workers._are_large(source_files(mixed, options()))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_count_as_larger(mixed, monkeypatch, pack):
    packed = mixed[0].with_suffix(".packed")
    packed.write_bytes(pack(mixed[0].read_bytes()))
    for share, large in ((2, True), (4, False)):
        monkeypatch.setattr(workers, "_WORTH_BYTES", share * packed.stat().st_size)
        assert workers._are_large(source_files([packed], options())) is large


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_die_with_the_importer(mixed, tmp_path, ending):
    code = (
        "import sys, time; from pathlib import Path; from gst_jobflow.importing.run import import_files\n"
        "from tests.importing.test_workers import options\n"
        "def wait(*_):\n    print('reading', flush=True); time.sleep(60)\n"
        "import_files([Path(f) for f in sys.argv[1:]], None, options(dry_run=True), wait, workers=2)"
    )
    importer = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, mixed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert importer.stdout.readline() == b"reading\n"
        started = psutil.Process(importer.pid).children(recursive=True)
        assert len(started) == 2
        os.kill(importer.pid, ending)
        importer.wait(timeout=60)
        deadline = time.monotonic() + 60
        while any(alive(child) for child in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(alive(child) for child in started)
    finally:
        importer.kill()
        importer.wait()


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            if any("gst_jobflow.importing.workers" in word for word in child.cmdline()):
                found.append(child)
    return found


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
