"""Write batches of an import while the next ones are read."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.outcome import Outcome
from gst_jobflow.store.results import Results


@dataclass
class Written:
    """A batch on its way to the database.

    Parameters
    ----------
    structures
        How many were new and how many known.
    labels
        How many changed the database, and by place those that were refused; see `Results.put_labels`.
    """

    batch: list[Outcome]
    structures: Future[tuple[int, int]]
    labels: Future[tuple[int, dict[int, DataError]]]


class Writers:
    """Two threads: one writes structures, the other one the labels of those that are written.

    Each takes the batches in their order, so the database becomes what one thread would make of it, and no label is
    ever without its structure. Leaving the context waits for what was begun.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self._structures = ThreadPoolExecutor(1, "import-structures")
        self._labels = ThreadPoolExecutor(1, "import-labels")
        # what comes after new documents is expected to be new, too
        self._new_structures = self._new_labels = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._structures.shutdown()
        self._labels.shutdown()

    def write(self, batch: list[Outcome]) -> Written:
        """Begin to write outcomes that have a structure."""
        structures = self._structures.submit(self._write_structures, batch)
        return Written(batch, structures, self._labels.submit(self._write_labels, batch, structures))

    def _write_structures(self, batch: list[Outcome]) -> tuple[int, int]:
        structures = [outcome.structure for outcome in batch if outcome.structure is not None]
        new, known = self._results.add_many(structures, expect_new=self._new_structures)
        self._new_structures = not known
        return new, known

    def _write_labels(
        self, batch: list[Outcome], structures: Future[tuple[int, int]]
    ) -> tuple[int, dict[int, DataError]]:
        structures.result()
        labels = [outcome.label for outcome in batch if outcome.label is not None]
        if not labels:
            return 0, {}
        changed, refused = self._results.put_labels(labels, expect_new=self._new_labels)
        self._new_labels = changed == len(labels)
        return changed, refused
