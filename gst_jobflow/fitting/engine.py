"""Interface between the fit maker and the programs that fit potentials; ACE and GRACE have an engine each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.fitting.parse import PotentialSummary, Predictions

Files = TypeVar("Files")
"""Files that the program leaves on disk."""


@dataclass(frozen=True)
class FitData:
    """Training set, test set and reference energies (eV per atom, by element) of a fit."""

    train: Sequence[LabelledStructure]
    test: Sequence[LabelledStructure]
    reference_energies: Mapping[str, float]


@dataclass(frozen=True)
class FinishedFit:
    """A finished fit, ready to be stored.

    Attributes
    ----------
    predictions
        Predictions of the potential, by split.
    converged, stop_reason
        Whether the optimiser converged (None: unknown), and why it ended.
    artifacts
        Files of the potential by file ending; the first one identifies it.
    input_file
        The input of the program.
    checks
        Further fields of the document: `lammps_check`, `speed`, `active_set`.
    """

    kind: Literal["ace", "grace/fs"]
    directory: Path
    wall_s: float
    summary: PotentialSummary
    predictions: Mapping[str, Predictions]
    converged: bool | None
    stop_reason: str
    artifacts: Mapping[str, Path]
    input_file: Path
    checks: Mapping[str, Any] = field(default_factory=dict)


class FitEngine(Protocol[Files]):
    """A program that fits one kind of potential."""

    runner: PacemakerRunner

    def fit(self, data: FitData, directory: Path, parent: Path | None) -> Files:
        """Fit in `directory`, or continue the fit there; `parent` is a potential to start from."""

    def finish(self, files: Files, data: FitData, *, measure_speed: bool) -> FinishedFit:
        """Evaluate and check the finished fit."""
