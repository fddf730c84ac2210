"""Label structures in jobs: one maker for all backends, many structures a job, several at a time."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from jobflow import Maker, OutputReference, job
from pymongo.errors import PyMongoError

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.deadline import Deadline, stopped_in_time
from gst_jobflow.base.disk import DISK_FULL, FIX, has_room, is_full, says_full
from gst_jobflow.base.errors import DatabaseError, GstError, InputError, RunError
from gst_jobflow.base.processes import end_programs_in
from gst_jobflow.base.settings import WORKERS_VARIABLE, find_project
from gst_jobflow.documents import Label, Structure
from gst_jobflow.documents.label import COMPLETE
from gst_jobflow.labelling.backend import FEWEST_IN_A_JOB, LabelBackend, RawLabel, checked_label, failed
from gst_jobflow.labelling.cost import dealt
from gst_jobflow.labelling.method import Method
from gst_jobflow.labelling.work import LabelWork
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of
from gst_jobflow.store.context import continuation, job_deadline, job_results, job_uuid
from gst_jobflow.store.share import share_cores

logger = logging.getLogger(__name__)

MOST_JOBS = 400
MOST_IN_A_JOB = 5_000
"""A job's firework and output hold all ids, 70 bytes each, and should stay below 1 MB."""
# begin no label if less than this many times the time of recent ones is left
_LEAD = 1.2
_LAST = 8
_POLL_S = 0.2
_ASKED = 20
"""Structures that one query asks for labels."""
_SHARED_AGAIN_S = 2.0
"""How often a job asks how many cores it has beside the jobs of other local workers."""
_TOGETHER_S = 0.5
"""Labels that end within this time of the last write share the next one, which costs as much for one as for many."""
# failures that a full disk may cause
_PERHAPS_THE_DISK = ("crash", "missing_output", DISK_FULL)


@in_category("labels")
@dataclass
class LabelMaker(Maker):
    """Label structures, as many at a time as fit on the cores of the job, and store each label as soon as it ends.

    The largest begin first, so that small ones fill cores and walltime at the end. A rerun after a kill, or a second
    job with the same structures, computes only what is missing. A failing structure is stored as a failed label; only a
    missing program or a full disk ends the job. No label begins that would not end before the walltime; a continuation
    computes the rest, and what the walltime cut off.

    Attributes
    ----------
    backend
        Computes the labels; the fingerprint of its method keys them.

    Examples
    --------
    >>> ids = [structure.id for structure in find(find_project(), "structures", "tags=iter-0")]
    >>> job = LabelMaker(backend_of("tblite", find_project())).make(ids)
    >>> submit(job, find_project())
    """

    backend: LabelBackend
    name: str = "label"
    retry_failed: bool = False

    def work(self, structure_ids: list[str] | OutputReference, failed_before: list[str] | None = None) -> LabelWork:
        """Return the labels that :meth:`make` computes."""
        return LabelWork(self.backend, structure_ids if isinstance(structure_ids, list) else [])

    @job
    def make(self, structure_ids: list[str], failed_before: list[str] | None = None) -> dict[str, Any]:
        """Label the structures.

        Parameters
        ----------
        failed_before
            Those that failed before this continuation, which are not tried again.

        Returns
        -------
        dict
            `structure_ids`, `fingerprint`, and the counts `converged`, `failed`, `known` (labelled before).

        Raises
        ------
        RunError
            No calculation ended before the walltime.
        """
        chunk = _Chunk(self.backend, job_results(), self.retry_failed, job_deadline(find_project().settings))
        chunk.failed = list(failed_before or [])
        complete = chunk.work(structure_ids)
        counts = chunk.counts
        if complete:
            return {"structure_ids": structure_ids, "fingerprint": chunk.fingerprint, **counts}
        if not counts["converged"] + counts["failed"]:
            raise RunError(
                "no label ended before the walltime",
                "ask for a longer walltime (labels.walltime), or give each label more cores",
                "no_progress",
            )
        return continuation(self.make(structure_ids, chunk.failed if self.retry_failed else None))


class _Chunk:
    """The structures of one job; threads compute, and the main thread stores."""

    def __init__(self, backend: LabelBackend, results: Results, retry_failed: bool, deadline: Deadline | None) -> None:
        self.backend, self.results = backend, results
        self.retry_failed, self.deadline = retry_failed, deadline
        self.fingerprint = backend.method().fingerprint()
        self.counts = {"converged": 0, "failed": 0, "known": 0}
        self.failed: list[str] = []
        self.last: deque[tuple[int, float]] = deque(maxlen=_LAST)
        self.ended: list[tuple[Structure, Path, RawLabel]] = []
        self.stored_at = -math.inf
        self.shared_at = time.monotonic()
        self.left: list[str] = []
        self.stop = threading.Event()

    def work(self, structure_ids: list[str]) -> bool:
        """Label what is missing; return False if time was too short for some."""
        places = _with_room(slots(self.backend), self.backend)
        waiting = self._missing(structure_ids)
        running: dict[Future[RawLabel], tuple[Structure, Path]] = {}
        with (
            ThreadPoolExecutor(len(places), initializer=_take_place, initargs=(queue_of(places),)) as pool,
            stopped_in_time(self.deadline, self.stop.set),
        ):
            try:
                self._begin(waiting, running, pool)
                while running:
                    poll_s = _TOGETHER_S if self.ended else _POLL_S
                    done, _ = wait(running, timeout=poll_s, return_when=FIRST_COMPLETED)
                    for structure, directory, raw in [(*running.pop(future), future.result()) for future in done]:
                        self.last.append((structure.n_atoms, raw.wall_s))
                        self.ended.append((structure, directory, raw))
                    # begin the next ones before these are stored
                    self._begin(waiting, running, pool)
                    if time.monotonic() - self.stored_at >= _TOGETHER_S:
                        self._store()
                    if not done and self.stop.is_set() and self._is_over():
                        break
            finally:
                self._store()
                if running:
                    # a label that was cut off has not failed: ignore its result
                    end_programs_in([directory for _, directory in running.values()])
        return not running and not self.left and next(waiting, None) is None

    def _begin(
        self,
        waiting: Iterator[Structure],
        running: dict[Future[RawLabel], tuple[Structure, Path]],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Fill free places with labels that end in time, and leave the others."""
        while len(running) < self._places() and not self.stop.is_set() and (structure := next(waiting, None)):
            if self.deadline is None or self.deadline.left_s() > _LEAD * self._expected_s(structure.n_atoms):
                directory = Path.cwd() / f"label-{structure.id[:12]}"
                running[pool.submit(self._compute, structure, directory)] = (structure, directory)
            else:
                self.left.append(structure.id)

    def _places(self) -> int:
        """Return how many labels may run at a time; the share of a local worker changes as other jobs begin and end."""
        if os.environ.get(WORKERS_VARIABLE) and time.monotonic() - self.shared_at >= _SHARED_AGAIN_S:
            with suppress(DatabaseError, PyMongoError):  # gone; results are spooled
                share_cores(self.results.database, job_uuid())
            self.shared_at = time.monotonic()
        return len(slots(self.backend))

    def _expected_s(self, n_atoms: int) -> float:
        """Estimate the longest time of a label from recent ones, scaled down in proportion for smaller cells."""
        return max((wall_s * min(1.0, n_atoms / atoms) for atoms, wall_s in self.last), default=0.0)

    def _missing(self, structure_ids: list[str]) -> Iterator[Structure]:
        ids = self._largest_first(structure_ids)
        known: set[str] = set()
        asked_at, asked_to = -math.inf, 0
        for place, structure in enumerate(self.results.get_many(Structure, ids)):
            # asked just before they begin, since another job may have labelled them meanwhile
            if place >= asked_to or time.monotonic() - asked_at >= _TOGETHER_S:
                asked_at, asked_to = time.monotonic(), place + _ASKED
                known = self._known(ids[place:asked_to])
            if structure.id in known:
                self.counts["known"] += 1
            else:
                yield structure

    def _known(self, structure_ids: list[str]) -> set[str]:
        """Return those that are labelled: complete, or failed where failed ones are not tried again."""
        try:
            labels = self.results.database["labels"]
        except DatabaseError:  # gone; results are spooled
            return set()
        wanted = {"_id": {"$in": [Label.id_for(id, self.fingerprint) for id in structure_ids]}}
        found = labels.find(wanted, {"structure_id": 1, "state": 1})
        tried = set(self.failed) if self.retry_failed else {*structure_ids}
        return {
            label["structure_id"] for label in found if label["state"] in COMPLETE or label["structure_id"] in tried
        }

    def _largest_first(self, structure_ids: list[str]) -> list[str]:
        found = self.results.database["structures"].find({"_id": {"$in": structure_ids}}, {"n_atoms": 1})
        sizes = {each["_id"]: each["n_atoms"] for each in found}
        # reading raises for one that is missing
        return sorted(structure_ids, key=lambda id: -sizes.get(id, 0))

    def _compute(self, structure: Structure, directory: Path) -> RawLabel:
        try:
            return _compute(self.backend, structure, self.results, directory)
        except (GstError, MemoryError):
            raise
        except Exception as err:
            if is_full(err):
                raise RunError(f"no room on the disk of {directory.parent}: {err}", FIX, DISK_FULL) from err
            # foreign code may raise anything; go on with the other structures
            logger.exception("label of structure %s", structure.id)
            return failed("crash", f"{type(err).__name__}: {err}")

    def _store(self) -> None:
        """Store the labels that ended: one write to disk and one to the database for all of them."""
        ended, self.ended = self.ended, []
        labels: list[Label] = []
        try:
            for structure, directory, raw in ended:
                labels.append(self._label(structure, raw))
                logger.info("label of %s in %s: %s %s", structure.id, directory.name, labels[-1].state, raw.reason)
        finally:
            self._put(labels)

    def _label(self, structure: Structure, raw: RawLabel) -> Label:
        if raw.failure_class in _PERHAPS_THE_DISK and (says_full(raw.reason) or not has_room(Path.cwd())):
            # not the fault of the structure: store no failed label
            raise RunError(f"the disk is full where labels are computed: {raw.reason}", FIX, DISK_FULL)
        return label_of(self.backend.method(), structure, raw, _kept(self.results, raw))

    def _put(self, labels: list[Label]) -> None:
        if not labels:
            return
        _, contradictions = self.results.put_labels(labels)
        for error in contradictions.values():
            raise error
        for label in labels:
            if label.state == "converged":
                self.counts["converged"] += 1
            else:
                self.counts["failed"] += 1
                self.failed.append(label.structure_id)
        self.stored_at = time.monotonic()

    def _is_over(self) -> bool:
        return self.deadline is not None and self.deadline.left_s() <= 0


def chunks(
    structure_ids: list[str],
    size: int | None = None,
    costs: np.ndarray | None = None,
    fewest: int = FEWEST_IN_A_JOB,
) -> list[list[str]]:
    """Deal structures out to jobs.

    Parameters
    ----------
    size
        Structures of one job, with `costs` on average; None: `fewest`, or more to need at most `MOST_JOBS` jobs.
    costs
        Cost of each structure in any unit, to make jobs of equal cost; None: all cost the same.
    fewest
        See `size`; a backend of short labels has a larger one.

    Raises
    ------
    InputError
        A job would hold more than `MOST_IN_A_JOB` structures.
    """
    size = size or max(fewest, math.ceil(len(structure_ids) / MOST_JOBS))
    if size > MOST_IN_A_JOB:
        raise InputError(
            f"{size:,} structures a job are more than the {MOST_IN_A_JOB:,} that one can hold",
            "choose fewer at a time (--where), or a smaller --chunk",
        )
    if costs is not None:
        return dealt(structure_ids, costs, math.ceil(len(structure_ids) / size), MOST_IN_A_JOB)
    return [structure_ids[start : start + size] for start in range(0, len(structure_ids), size)]


def slots(backend: LabelBackend) -> list[set[int] | None]:
    """Return a place for each label computed at a time: its cores, or None if places share all cores.

    Places get cores of their own (else MPI binds the ranks of every label to the same first cores) if the process may
    use exactly the cores of the job, as under SLURM.
    """
    needed = getattr(backend, "cores", None)
    allotted = cores()
    number = max(1, allotted // needed) if needed else 1
    mine = sorted(os.sched_getaffinity(0))
    if not needed or number == 1 or len(mine) != allotted or not os.environ.get("SLURM_JOB_ID"):
        return [None] * number
    return [set(mine[place * needed : (place + 1) * needed]) for place in range(number)]


def _with_room(places: list[set[int] | None], backend: LabelBackend) -> list[set[int] | None]:
    """Return places and those that the job of a local worker may get while it runs."""
    needed = getattr(backend, "cores", None)
    if not (needed and os.environ.get(WORKERS_VARIABLE)):
        return places
    return [*places, *[None] * (len(os.sched_getaffinity(0)) // needed - len(places))]


def queue_of(places: list[set[int] | None]) -> SimpleQueue[set[int] | None]:
    """Return a queue from which each thread takes one place."""
    queue: SimpleQueue[set[int] | None] = SimpleQueue()
    for place in places:
        queue.put(place)
    return queue


def _take_place(places: SimpleQueue[set[int] | None]) -> None:
    place = places.get()
    if place is not None:
        # of this thread alone, and inherited by the programs it starts
        os.sched_setaffinity(0, place)


def _compute(backend: LabelBackend, structure: Structure, results: Results, directory: Path) -> RawLabel:
    directory.mkdir(parents=True, exist_ok=True)
    return checked_label(backend, atoms_of(structure, results.artifacts), directory)


def _kept(results: Results, raw: RawLabel) -> list[Any]:
    return [results.artifacts.put(path, name) for name, path in raw.files.items() if path.is_file()]


def label_of(method: Method, structure: Structure, raw: RawLabel, files: Sequence[Any] = ()) -> Label:
    """Return the label of a result that this job computed."""
    return Label.of(
        structure,
        method.fingerprint(),
        method.model_dump(mode="json"),
        energy_eV=raw.energy_eV,
        forces_eV_A=raw.forces_eV_A,
        stress_eV_A3=raw.stress_eV_A3,
        failure_class="" if raw.converged else raw.failure_class or "not_converged",
        reason=raw.reason,
        wall_s=raw.wall_s,
        host=socket.gethostname(),
        job_uuid=job_uuid(),
        files=list(files),
    )
