"""Turn the records of files into outcomes: in this process, or in workers whose answers come back in order.

A worker is a process that runs `main`. It reads its `Share` of the files, a pickle, from standard input and writes the
outcomes of one chunk of frames after the other. `concurrent.futures` does not fit: its processes import the user's main
script again, and outlive an importer that is killed.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from gst_jobflow.base.errors import DataError, RunError
from gst_jobflow.base.processes import die_with_parent
from gst_jobflow.importing.extxyz import cut_frames, parse_frame
from gst_jobflow.importing.files import is_packed
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import Outcome, OutcomeBuilder
from gst_jobflow.importing.records import Record
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.structures.document_fields import content_hash

if TYPE_CHECKING:
    # a worker needs no reader of another format
    from gst_jobflow.importing.formats import SourceFile

_CHUNK_FRAMES = 64
_CHUNK_BYTES = 1 << 19
_AHEAD = 6
"""Chunks of each worker that are read ahead, so that workers go on while the server writes."""
_PIPE_BYTES = 1 << 20
"""A worker need not wait for its reader: two chunks."""
_WORTH_BYTES = 24_000_000
"""Below this (about 3,000 frames) starting workers takes longer than they save."""
_PACKED_RATIO = 3
_GC_THRESHOLD = 50_000
"""Objects; Python's own is 700."""
# looking for garbage while modules load takes a tenth of a second
_PROGRAM = "import gc; gc.disable(); from gst_jobflow.importing.workers import main; gc.enable(); main()"
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
    share = Share(replace(builder, compiled=True), [file.path for file in files if file.format == "extxyz"])
    of = workers or 1
    with _rare_collections(), ExitStack() as started:
        pool = [started.enter_context(_Worker(replace(share, number=number, of=of))) for number in range(of)]
        yield _in_order(files, builder, pool)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Collect garbage rarely: modules stay, and only errors make cycles; else it takes a quarter of the time."""
    usual = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


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


def _in_order(files: list[SourceFile], builder: OutcomeBuilder, pool: list[_Worker]) -> Iterator[Outcome]:
    for file in files:
        if file.format != "extxyz":
            yield from map(builder.outcome, file.records(builder.options))
            continue
        done = 0
        for number in count():
            chunk = pool[number % len(pool)].answer(f"{file.path} from record {done}")
            if chunk is None:
                break
            yield from chunk
            done += len(chunk)
        # the others say, too, that this was the last one
        for other in range(number + 1, number + len(pool)):
            pool[other % len(pool)].answer(f"{file.path}")


@dataclass(frozen=True)
class Share:
    """What a worker does: the chunks whose number, by file, leaves `number` when divided by `of`."""

    builder: OutcomeBuilder
    files: list[Path]
    number: int = 0
    of: int = 1

    def outcomes(self) -> Iterator[list[Outcome] | None]:
        """Yield the outcomes of each chunk, and None at the end of each file."""
        for file in self.files:
            for number, chunk in enumerate(_chunks(file)):
                if number % self.of == self.number:
                    # a chunk step by step: programs that take turns at each record push each other out of the caches
                    records = list(self._records(file, chunk))
                    yield [self.builder.outcome(record) for record in records]
            yield None

    def _records(self, file: Path, chunk: list[tuple[int, bytes | Record, int]]) -> Iterator[Record]:
        for index, frame, end in chunk:
            yield frame if isinstance(frame, Record) else parse_frame(file, index, frame, end, compiled=True)


def _chunks(file: Path) -> Iterator[list[tuple[int, bytes | Record, int]]]:
    """Yield lists of frames, each with its index and the byte where it ends."""
    chunk: list[tuple[int, bytes | Record, int]] = []
    start = end = 0
    for index, frame in enumerate(cut_frames(file)):
        end += 0 if isinstance(frame, Record) else len(frame)
        chunk.append((index, frame, end))
        if len(chunk) == _CHUNK_FRAMES or end - start >= _CHUNK_BYTES:
            yield chunk
            chunk, start = [], end
    if chunk:
        yield chunk


class _Worker:
    """A process with its share, and a thread here that reads ahead what it answers.

    It dies with this process, also by SIGKILL. It has a session of its own, so that Ctrl-C reaches only this process;
    leaving the context ends it.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._thread = ThreadPoolExecutor(1, "import")
        self._answers: deque[Future[Any]] = deque()

    def __enter__(self) -> _Worker:
        # started by this thread, since the kernel ends it with the thread, not with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # they were asked for
        with suppress(OSError):  # the system allows less
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # one that has ended already is found when its answer is missing
        with suppress(BrokenPipeError), self._process.stdin as questions:
            pickle.dump(self._share, questions, protocol=pickle.HIGHEST_PROTOCOL)
        for _ in range(_AHEAD):
            self._read_on()
        return self

    def _read_on(self) -> None:
        self._answers.append(self._thread.submit(pickle.load, self._process.stdout))  # type: ignore[arg-type]

    def answer(self, place: str) -> list[Outcome] | None:
        """Return the next answer; `place` is what it reads, for an error."""
        self._read_on()
        try:
            answer = self._answers.popleft().result()
        except (EOFError, OSError, pickle.UnpicklingError) as err:
            raise RunError(
                f"a process that read {place} ended", "it may have run out of memory: try --workers 1"
            ) from err
        if isinstance(answer, str):
            raise RuntimeError(f"in a worker of the import:\n{answer}")
        return answer

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.shutdown(cancel_futures=True)
        self._process.stdout.close()  # type: ignore[union-attr]


def serve(source: BinaryIO, answers: BinaryIO) -> None:
    """Write the outcomes of a share; an exception is answered as its traceback."""
    share: Share = pickle.load(source)
    try:
        for chunk in share.outcomes():
            pickle.dump(chunk, answers, protocol=pickle.HIGHEST_PROTOCOL)
            answers.flush()
    except Exception:  # the parent reports it
        pickle.dump(traceback.format_exc(), answers)
        answers.flush()


def main() -> None:
    """Serve the parent; what libraries print goes to standard error."""
    with _rare_collections(), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)
