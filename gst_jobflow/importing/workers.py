"""The records of files on their way to documents: in this process, or dealt to workers and taken back in order."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import RunError
from gst_jobflow.base.processes import die_with_parent
from gst_jobflow.base.programs import cores
from gst_jobflow.documents import LARGE_STRUCTURE_ATOMS
from gst_jobflow.importing.extxyz import cut_frames, parse_frame
from gst_jobflow.importing.formats import format_of, read_records
from gst_jobflow.importing.outcome import Outcome, outcome_of
from gst_jobflow.importing.records import Record
from gst_jobflow.importing.worker import Chunk

if TYPE_CHECKING:
    from gst_jobflow.importing.options import ImportOptions
    from gst_jobflow.store.files.artifacts import ArtifactStore

_CHUNK_FRAMES = 64
_CHUNK_BYTES = 1 << 19
_AHEAD = 6
"""Chunks a worker that are read before the first of them is written: workers go on while the server writes."""
_MOST_WORKERS = 3
"""More are faster than the server writes, and each holds 120 MB."""
_WORTH_BYTES = 24_000_000
"""Below this (about 3,000 frames) starting workers takes longer than they save."""
_GZIP_RATIO = 3
# a worker's own threads would only be in the way of the others
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def outcomes(
    files: list[Path], options: ImportOptions, artifacts: ArtifactStore, workers: int | None = None
) -> Iterator[Iterator[Outcome]]:
    """What becomes of each record, in the order of files and records, whatever the number of workers.

    Parameters
    ----------
    workers
        Processes that parse extended XYZ; 1: this one. None: as many as the job has cores, three at most, and this one
        alone for what it reads in a few seconds.
    """
    size = workers or _default_workers(files, options)
    if size == 1:
        yield (outcome_of(record, options, artifacts) for file in files for record in read_records(file, options))
        return
    with _Pool(size, options) as pool:
        yield _dealt(files, options, artifacts, pool)


def _default_workers(files: list[Path], options: ImportOptions) -> int:
    size = sum(
        file.stat().st_size * (_GZIP_RATIO if file.suffix == ".gz" else 1)
        for file in files
        if format_of(file, options) == "extxyz"
    )
    return 1 if size < _WORTH_BYTES else min(cores(), _MOST_WORKERS)


def _dealt(files: list[Path], options: ImportOptions, artifacts: ArtifactStore, pool: _Pool) -> Iterator[Outcome]:
    waiting: deque[Future[list[Outcome]] | Record] = deque()

    def first() -> Iterator[Outcome]:
        job = waiting.popleft()
        if isinstance(job, Record):
            yield outcome_of(job, options, artifacts)
        else:
            yield from job.result()

    for file in files:
        for job in _jobs(file, options):
            waiting.append(pool.submit(job) if isinstance(job, Chunk) else job)
            if len(waiting) > _AHEAD * pool.size:
                yield from first()
    while waiting:
        yield from first()


def _jobs(file: Path, options: ImportOptions) -> Iterator[Chunk | Record]:
    """Chunks of an extended XYZ file for the workers; records of all others, and of frames too large for them."""
    if format_of(file, options) != "extxyz":
        yield from read_records(file, options)
        return
    frames: list[bytes] = []
    size = end = 0
    for index, frame in enumerate(cut_frames(file)):
        alone = isinstance(frame, Record) or int(frame[: frame.index(b"\n")]) > LARGE_STRUCTURE_ATOMS
        if frames and (alone or len(frames) == _CHUNK_FRAMES or size >= _CHUNK_BYTES):
            yield Chunk(file, index - len(frames), frames, end - size)
            frames, size = [], 0
        if isinstance(frame, Record):
            yield frame
            continue
        end += len(frame)
        if alone:
            yield parse_frame(file, index, frame, end)
        else:
            frames.append(frame)
            size += len(frame)
    if frames:
        yield Chunk(file, index + 1 - len(frames), frames, end - size)


class _Pool:
    """A few `importing.worker` processes, each with a thread here that waits for its answers.

    They die with us, also by SIGKILL. They have sessions of their own, so that Ctrl-C reaches us alone; leaving ends
    them.
    """

    def __init__(self, size: int, options: ImportOptions) -> None:
        self.size = size
        self._workers: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(size, "import")
        self._options = options

    def __enter__(self) -> _Pool:
        try:
            for _ in range(self.size):
                # from this thread, which lives as long as they do: the kernel watches it, not the process
                worker = subprocess.Popen(
                    [sys.executable, "-P", "-m", "gst_jobflow.importing.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **_ENVIRONMENT},
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
                self._workers.append(worker)
                _send(worker, self._options)
                self._idle.put(worker)
        except BaseException:
            self.__exit__()
            raise
        return self

    def submit(self, chunk: Chunk) -> Future[list[Outcome]]:
        """Have a chunk done by the next worker that is free."""
        return self._threads.submit(self._ask, chunk)

    def _ask(self, chunk: Chunk) -> list[Outcome]:
        worker = self._idle.get()
        try:
            _send(worker, chunk)
            answer = pickle.load(worker.stdout)  # type: ignore[arg-type]
        except (EOFError, OSError, pickle.UnpicklingError) as err:
            place = f"{chunk.file} from record {chunk.first}"
            raise RunError(f"a process that read {place} ended", "is there enough memory? --workers 1") from err
        finally:
            self._idle.put(worker)
        if isinstance(answer, str):
            raise RuntimeError(f"in a worker of the import:\n{answer}")
        return answer

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.kill()
            worker.wait()
        self._threads.shutdown()
        for worker in self._workers:
            for pipe in (worker.stdin, worker.stdout):
                _close(pipe)


def _send(worker: subprocess.Popen[bytes], message: Any) -> None:
    assert worker.stdin is not None  # it was asked for
    pickle.dump(message, worker.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    worker.stdin.flush()


def _close(pipe: Any) -> None:
    # what was still to be sent has nobody to read it
    with suppress(OSError):
        pipe.close()
