"""Turn the records of files into outcomes: in this process, or in workers whose answers come back in order.

A worker is `python -m gst_jobflow.importing.workers`. It reads pickles from standard input, first the `OutcomeBuilder`
and then one `Chunk` after the other, and answers each chunk with the list of its outcomes. `concurrent.futures` does
not fit: its processes import the user's main script again, and outlive an importer that is killed.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from gst_jobflow.base.errors import DataError, RunError
from gst_jobflow.base.processes import die_with_parent
from gst_jobflow.documents import LARGE_STRUCTURE_ATOMS
from gst_jobflow.importing.extxyz import cut_frames, parse_frame
from gst_jobflow.importing.files import is_packed
from gst_jobflow.importing.formats import SourceFile
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import Outcome, OutcomeBuilder
from gst_jobflow.importing.records import Record
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.structures.document_fields import content_hash

_CHUNK_FRAMES = 64
_CHUNK_BYTES = 1 << 19
_AHEAD = 6
"""Chunks for each worker that are read ahead, so that workers go on while the server writes."""
_WORTH_BYTES = 24_000_000
"""Below this (about 3,000 frames) starting workers takes longer than they save."""
_PACKED_RATIO = 3
_GC_THRESHOLD = 50_000
"""Objects; Python's own is 700."""
# threads of workers would compete for the same cores
_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextmanager
def outcomes(
    files: list[SourceFile], options: ImportOptions, artifacts: ArtifactStore, workers: int | None = None
) -> Iterator[Iterator[Outcome]]:
    """Stream the outcome of each record, in the order of files and records, whatever the number of workers.

    Parameters
    ----------
    workers
        Processes that parse extended XYZ; 1: this one. None: one beside this one, which writes meanwhile, or this one
        alone for what it reads in a few seconds. More would wait for the server.
    """
    grouped = options.one_group or options.group_key is not None
    first_ids = {file.path: _first_id(file, options) for file in files} if grouped else {}
    builder = OutcomeBuilder(options, first_ids, artifacts)
    if workers == 1 or (workers is None and not _are_large(files)):
        yield (builder.outcome(record) for file in files for record in file.records(options))
        return
    with _Pool(workers or 1, replace(builder, artifacts=None, compiled=True)) as pool:
        yield _in_order(files, builder, pool)


def _first_id(file: SourceFile, options: ImportOptions) -> str:
    """Return the id of the first structure of a file that has one; empty if none has."""
    for record in file.records(options):
        with suppress(DataError):
            if record.atoms is not None:
                return content_hash(record.atoms)
    return ""


def _are_large(files: list[SourceFile]) -> bool:
    size = sum(
        file.path.stat().st_size * (_PACKED_RATIO if is_packed(file.path) else 1)
        for file in files
        if file.format == "extxyz"
    )
    return size >= _WORTH_BYTES


def _in_order(files: list[SourceFile], builder: OutcomeBuilder, pool: _Pool) -> Iterator[Outcome]:
    waiting: deque[Future[list[Outcome]] | Record] = deque()

    def first() -> Iterator[Outcome]:
        job = waiting.popleft()
        if isinstance(job, Record):
            yield builder.outcome(job)
        else:
            yield from job.result()

    for file in files:
        for job in _chunks_and_records(file, builder.options):
            waiting.append(pool.submit(job) if isinstance(job, Chunk) else job)
            if len(waiting) > _AHEAD * pool.size:
                yield from first()
    while waiting:
        yield from first()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames of one file that follow each other; `first` is the index of the first, which begins at byte `start`."""

    file: Path
    first: int
    frames: list[bytes]
    start: int = 0

    def outcomes(self, builder: OutcomeBuilder) -> list[Outcome]:
        """Parse and check the frames, none of which is so large that it needs an artifact store."""
        ends = accumulate((len(frame) for frame in self.frames), initial=self.start)
        next(ends)
        return [
            builder.outcome(parse_frame(self.file, self.first + place, frame, end, builder.compiled))
            for place, (frame, end) in enumerate(zip(self.frames, ends, strict=True))
        ]


def _chunks_and_records(file: SourceFile, options: ImportOptions) -> Iterator[Chunk | Record]:
    """Yield chunks of an extended XYZ file; records of all other files, and of frames too large for a worker."""
    if file.format != "extxyz":
        yield from file.records(options)
        return
    frames: list[bytes] = []
    size = end = 0
    for index, frame in enumerate(cut_frames(file.path)):
        alone = isinstance(frame, Record) or int(frame[: frame.index(b"\n")]) > LARGE_STRUCTURE_ATOMS
        if frames and (alone or len(frames) == _CHUNK_FRAMES or size >= _CHUNK_BYTES):
            yield Chunk(file.path, index - len(frames), frames, end - size)
            frames, size = [], 0
        if isinstance(frame, Record):
            yield frame
            continue
        end += len(frame)
        if alone:
            yield parse_frame(file.path, index, frame, end)
        else:
            frames.append(frame)
            size += len(frame)
    if frames:
        yield Chunk(file.path, index + 1 - len(frames), frames, end - size)


class _Pool:
    """A few workers, each with a thread here that waits for its answers.

    They die with this process, also by SIGKILL. They have sessions of their own, so that Ctrl-C reaches only this
    process; leaving the pool ends them.
    """

    def __init__(self, size: int, builder: OutcomeBuilder) -> None:
        self.size = size
        self._workers: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(size, "import")
        self._builder = builder

    def __enter__(self) -> _Pool:
        try:
            for _ in range(self.size):
                # started by this thread, since the kernel ends them with the thread, not with the process
                worker = subprocess.Popen(
                    [sys.executable, "-P", "-m", "gst_jobflow.importing.workers"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, **_ENVIRONMENT},
                    start_new_session=True,
                    preexec_fn=die_with_parent(),
                )
                self._workers.append(worker)
                _send(worker, self._builder)
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
            raise RunError(
                f"a process that read {place} ended", "it may have run out of memory: try --workers 1"
            ) from err
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
                # unsent data has no reader any more
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


def _send(worker: subprocess.Popen[bytes], message: Any) -> None:
    assert worker.stdin is not None  # it was asked for
    pickle.dump(message, worker.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    worker.stdin.flush()


def serve(source: BinaryIO, answers: BinaryIO) -> None:
    """Answer chunks until the input ends; an exception is answered as its traceback."""
    builder: OutcomeBuilder = pickle.load(source)
    while True:
        try:
            chunk: Chunk = pickle.load(source)
        except EOFError:
            return
        answer: list[Outcome] | str
        try:
            answer = chunk.outcomes(builder)
        except Exception:  # the parent reports it with its place
            answer = traceback.format_exc()
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Serve the parent; what libraries print goes to standard error."""
    # modules stay, and only errors make cycles; collecting often takes a tenth of the time
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    # pickles must not name classes by __main__
    from gst_jobflow.importing.workers import main as served

    served()
