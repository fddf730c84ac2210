"""Interface between the fit maker and what fits potentials: an engine each for ACE, GRACE and kinds of plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from pydantic import ConfigDict, Field

from gst_jobflow.base.strict import StrictModel
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.documents.potential import PotentialShape
from gst_jobflow.dynamics.potential_files import PluginKind
from gst_jobflow.fitting.parse import Predictions

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.evaluation.predict import Predicted

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
    other
        Files of a plugin's kind; together they identify it.
    input_file
        The input of the program.
    checks
        Further fields of the document: `lammps_check`, `speed`, `active_set`.
    threads
        Cores that the program used.
    packages
        More packages whose versions count.
    device
        What TensorFlow fitted on: `CPU`, or the name of a GPU; empty: the fit is a plugin's.
    """

    kind: str
    directory: Path
    wall_s: float
    summary: PotentialShape
    predictions: Mapping[str, Predictions]
    converged: bool | None
    stop_reason: str
    artifacts: Mapping[str, Path]
    input_file: Path
    threads: int
    other: Mapping[str, Path] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[str] = ()
    device: str = ""


class FitEngine(Protocol[Files]):
    """A program that fits one kind of potential."""

    def fit(self, data: FitData, directory: Path, parent: Path | None) -> Files:
        """Fit in `directory`, or continue the fit there; `parent` is a potential to start from."""

    def finish(self, files: Files, data: FitData, *, measure_speed: bool) -> FinishedFit:
        """Evaluate and check the finished fit."""


class PluginConfig(StrictModel):
    """Settings of a fit by a plugin, which adds its own; they are stored with the potential."""

    model_config = ConfigDict(frozen=True)

    elements: tuple[str, ...] = Field(description="Those of the dataset")
    seed: int = Field(1, ge=0, description="For whatever is drawn")


@dataclass
class PluginFit:
    """What the engine of a plugin fitted, a `PotentialShape`.

    Attributes
    ----------
    files
        Everything that LAMMPS and the calculator read, by the name under which they find it later.
    n_functions, n_parameters
        Functions, and numbers that were fitted.
    converged, stop_reason
        Whether the optimiser converged (None: unknown), and why it ended.
    """

    elements: tuple[str, ...]
    files: Mapping[str, Path]
    n_functions: int
    n_parameters: int
    cutoff_A: float
    converged: bool | None = None
    stop_reason: str = ""
    n_densities: int | None = field(default=None, init=False)


class PluginEngine(PluginKind, Protocol):
    """What a plugin offers under `gst_jobflow.fit_engines`: settings and fit of its kind, and how LAMMPS runs it."""

    config: ClassVar[type[PluginConfig]]

    def fit(self, config: Any, data: FitData, directory: Path) -> PluginFit:
        """Fit in `directory`; energies are relative to the reference energies of `data`."""


def held_out(data: FitData, predictions: Mapping[str, Predictions]) -> tuple[Sequence[LabelledStructure], Predictions]:
    """Return the structures to check a potential with and their predictions: the test set, else the training set."""
    split = "test" if "test" in predictions else "train"
    return getattr(data, split), predictions[split]


def predictions_of(predict: Callable[[Sequence[Atoms]], Predicted], data: FitData) -> dict[str, Predictions]:
    """Return predictions beside labels for each split that is not empty."""
    found = {}
    for split, items in (("train", data.train), ("test", data.test)):
        if not items:
            continue
        n_atoms = np.array([len(item.atoms) for item in items])
        free = np.array([sum(data.reference_energies[symbol] for symbol in item.atoms.symbols) for item in items])
        predicted = predict([item.atoms for item in items])
        found[split] = Predictions(
            names=np.array([item.label_id for item in items]),
            config_types=np.array([item.config_type for item in items]),
            n_atoms=n_atoms,
            energy_ref_eV_per_atom=(np.array([item.energy_eV for item in items]) - free) / n_atoms,
            energy_pred_eV_per_atom=predicted.energies_eV / n_atoms,
            forces_ref_eV_A=np.concatenate([item.forces_eV_A for item in items]),
            forces_pred_eV_A=predicted.forces_eV_A,
        )
    return found
