"""Series of a trajectory's `analysis`: what was computed of its frames, by what definition, step by step.

A series lies in ``analysis["frames"][key]`` of a trajectory (of a study: in ``outcome``). Its key follows from name,
definition, parameters and versions, so numbers of two definitions never mix. Each frame is a row of its own, so what is
done is stored at once, and jobs that run at the same time do not overwrite each other.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.analysis.crystallinity import ANION
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.documents.base import ArtifactRef, derive_id
from gst_jobflow.store import Results
from gst_jobflow.store.files.artifacts import ArtifactStore

MOST_FRAMES = 5000
"""Of one series: a document holds 16 MB."""
FRAMES = "frames"
STORED_AS = {"anion": "tellurium"}
"""What series of an analysis are stored under where users give it another name: they are older than other anions."""
_NO_NUMBERS = ("step", "time_ps", "frame", "problem", "arrays")

Row = dict[str, Any]


@dataclass
class Series:
    """Numbers of one analysis, by frame.

    `described` holds ``definition``, ``parameters`` and ``versions``. `rows` hold, by step (of a study by place),
    numbers or the ``problem`` of a frame that could not be analysed; their ``arrays`` name the file with the values of
    each atom and of maps.
    """

    name: str
    described: dict[str, Any]
    rows: dict[int, Row] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Under which the series is stored."""
        return f"{self.name}_{derive_id(self.name, self.described)[:8]}"

    @property
    def title(self) -> str:
        """Name of the analysis as users give it."""
        return next((given for given, stored in STORED_AS.items() if stored == self.name), self.name)

    @property
    def anion(self) -> str:
        """Symbol of the anion whose sublattice was looked at."""
        return str(self.described["parameters"].get("anion", ANION))

    @property
    def steps(self) -> list[int]:
        """Frames that were analysed, in order."""
        return [step for step in sorted(self.rows) if "problem" not in self.rows[step]]

    @property
    def numbers(self) -> list[str]:
        """Names of the columns."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row if name not in _NO_NUMBERS))

    def column(self, name: str) -> tuple[NDArray, NDArray]:
        """Return times in ps and values, shape (frames,) each; NaN in gaps: frames that could not be analysed."""
        ordered = [self.rows[step] for step in sorted(self.rows)]
        values = [row.get(name) for row in ordered]
        times = [row.get("time_ps", step) for step, row in zip(sorted(self.rows), ordered, strict=True)]
        return np.array(times, dtype=float), np.array([np.nan if v is None else v for v in values], dtype=float)

    def arrays(self, artifacts: ArtifactStore, step: int, prefix: str = "") -> dict[str, NDArray]:
        """Return the arrays of a frame: of each atom (n,), of maps under a name with a dot; empty where it has none.

        Only arrays whose names begin with `prefix` are read, e.g. ``xz.``. Raises DataError if the file is gone.
        """
        ref = self.rows[step].get("arrays")
        if ref is None:
            return {}
        with np.load(io.BytesIO(artifacts.path(ArtifactRef(**ref)).read_bytes())) as stored:
            return {name: stored[name] for name in stored.files if name.startswith(prefix)}


def series_of(document: Trajectory | Study) -> list[Series]:
    """Return all series of a trajectory or a study, those of one analysis in the order of their keys."""
    held = document.analysis if isinstance(document, Trajectory) else document.outcome
    stored: Mapping[str, Any] = held.get(FRAMES) or {}
    return [
        Series(each["name"], each["described"], {int(step): row for step, row in each.get("rows", {}).items()})
        for _, each in sorted(stored.items())
    ]


def newest(document: Trajectory | Study, name: str) -> Series | None:
    """Return the series of an analysis with most frames; None where there is none."""
    found = [each for each in series_of(document) if each.name == STORED_AS.get(name, name)]
    return max(found, key=lambda each: len(each.steps), default=None)


class SeriesWriter:
    """Store rows of one `Series` of a trajectory or study, one by one."""

    def __init__(self, results: Results, document: Trajectory | Study, name: str, described: dict[str, Any]) -> None:
        wanted = Series(name, described)
        known = {each.key: each for each in series_of(document)}
        self.series = known.get(wanted.key, wanted)
        self._results, self._document = results, document
        self._new = wanted.key not in known

    def is_done(self, step: int) -> bool:
        """Whether a frame was analysed; one with a problem was not."""
        return "problem" not in self.series.rows.get(step, {"problem": ""})

    def put(self, step: int, row: Row, arrays: Mapping[str, NDArray] | None = None) -> None:
        """Store a row and, in float32, arrays of its frame; raises InputError if the series has too many frames."""
        if len(self.series.rows) >= MOST_FRAMES and step not in self.series.rows:
            raise InputError(f"more than {MOST_FRAMES} frames of one trajectory", "take fewer: --every")
        if arrays:
            stream = io.BytesIO()
            np.savez_compressed(stream, **{name: np.asarray(each, dtype=np.float32) for name, each in arrays.items()})  # type: ignore[arg-type]
            name = f"{self.series.name}_{step}.npz"
            row = {**row, "arrays": self._results.artifacts.put_bytes(stream.getvalue(), name).model_dump(mode="json")}
        if self.series.rows.get(step) == row:
            return
        self.series.rows[step] = row
        field = "analysis" if isinstance(self._document, Trajectory) else "outcome"
        path = f"{field}.{FRAMES}.{self.series.key}"
        values: dict[str, Any] = {f"{path}.rows.{step}": row}
        if self._new:
            values |= {f"{path}.name": self.series.name, f"{path}.described": self.series.described}
            self._new = False
        self._results.update(self._document.collection, self._document.id, values)
