"""Compare amorphous cells of a potential with frames of dynamics from first principles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gst_jobflow.analysis.averages import BlockMean, Mean, mean_of_independent
from gst_jobflow.analysis.crystallinity import ANION
from gst_jobflow.analysis.distributions import Pair, radial_distribution
from gst_jobflow.analysis.frame import RDF_REACH_A, FrameOptions, analyse_frame
from gst_jobflow.analysis.motifs import first_minima
from gst_jobflow.analysis.reference_frames import ReferenceFrames, ReferenceSource
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import UnfitValueError
from gst_jobflow.documents.base import derive_id
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.stages import TIMESTEP_FS, Anneal, Quench, Relax, Stage, steps_in
from gst_jobflow.structures.composition import DistinctFormulas
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.material import OfMaterial

REFERENCE = "reference"
"""Name of the frames from first principles, beside ids of potentials."""
SHORTEST_A = 2.0
"""Where the comparison of g(r) begins: a collapsed pair has a peak near 0."""
_FEWEST_RUNS, _FEWEST_FRAMES = 3, 5
_TEMPERATURE_MARGIN = 0.2
_NUMBERS = ("coordination_", "homopolar_share", "tetrahedral_", "bond_length_ratio", "squares_per_atom")


class ValidationPlan(OfMaterial):
    """What is quenched and compared; run `n` of a composition has one start and seed for all potentials."""

    compositions: DistinctFormulas = Field(
        default_factory=list, description="Formulas; none: those of all reference frames"
    )
    references: ReferenceSource = Field(default_factory=ReferenceSource)
    runs: int = Field(3, ge=1, le=100, description="Melt-quenches of each potential at each composition")
    n_atoms: int | None = Field(None, ge=2, description="Atoms in the cell; null: as in the reference frames")
    density_g_cm3: float | None = Field(None, gt=0, description="Density; null: that of the reference frames")
    melt_K: float = Field(2000.0, gt=0)
    melt_ps: float = Field(10.0, gt=0)
    quench_ps: float = Field(20.0, gt=0, description="Duration of the quench from melt_K to temperature_K")
    temperature_K: float = Field(300.0, gt=0, description="Temperature of the frames that are compared")
    hold_ps: float = Field(10.0, gt=0, description="Time at temperature_K from which frames are taken")
    frame_every_ps: float = Field(0.5, gt=0, description="Time between frames")
    max_frames: int = Field(200, ge=1, description="Largest number of reference frames of each composition")
    bonds_A: dict[str, float] = Field(
        default_factory=dict,
        description="Longest bonds, Ge-Te: 3.2; of other pairs first minima of the reference",
    )
    seed: int = Field(1, ge=1, description="Seed of starts, velocities and thermostats")

    @model_validator(mode="after")
    def _has_frames(self) -> ValidationPlan:
        for name in ("melt_ps", "quench_ps", "hold_ps", "frame_every_ps"):
            steps_in(getattr(self, name), TIMESTEP_FS, name)
        if self.frame_every_ps > self.hold_ps:
            raise UnfitValueError(
                f"frame_every_ps ({self.frame_every_ps:g}) is longer than hold_ps ({self.hold_ps:g})", "lower it"
            )
        return self

    def start(self, reference: ReferenceFrames, index: int) -> HardSphereSpec:
        """Return the random start of run `index`, from 0, in a cell like those of the reference.

        Raises InputError if the reference has cells of several sizes and `n_atoms` is not given.
        """
        if self.n_atoms is None and len(reference.n_atoms) > 1:
            sizes = " and ".join(map(str, reference.n_atoms))
            raise InputError(f"reference cells of {reference.formula} have {sizes} atoms", "give --atoms")
        return HardSphereSpec(
            formula=reference.formula, n_atoms=self.n_atoms or reference.n_atoms[0], cell_shape="cubic",
            density_g_cm3=self.density_g_cm3 or reference.density_g_cm3, seed=self.seed_of(reference.formula, index),
        )  # fmt: skip

    def seed_of(self, formula: str, index: int) -> int:
        """Return the seed of run `index`, from 0, at a composition."""
        return int(derive_id(self.seed, formula, index)[:7], 16) + 1

    def stages(self) -> list[Stage]:
        """Return melt, quench and hold."""
        return [
            Relax(),
            Anneal(temperature_K=self.melt_K, duration_ps=self.melt_ps),
            Quench(start_K=self.melt_K, end_K=self.temperature_K, duration_ps=self.quench_ps),
            Anneal(temperature_K=self.temperature_K, duration_ps=self.hold_ps),
        ]

    def output(self) -> Output:
        """Return what LAMMPS writes: frames, and series as often."""
        every = steps_in(self.frame_every_ps, TIMESTEP_FS, "frame_every_ps")
        return Output(layers=0, profile_every=0, dump_every=every, series_every=min(50, every))

    def check_temperature(self, reference: ReferenceFrames) -> None:
        """Refuse reference frames whose measured mean temperature differs by more than a fifth; raises InputError."""
        known_K = reference.temperature_K
        if known_K is not None and abs(known_K - self.temperature_K) > _TEMPERATURE_MARGIN * self.temperature_K:
            raise InputError(
                f"reference frames of {reference.formula} are at {known_K:.0f} K, cells at {self.temperature_K:g} K",
                "choose frames by --after-ps, or set --temperature",
            )


@dataclass(frozen=True)
class LocalStructure:
    """Averages over frames: numbers and curves of `gst analyse --what liquid`, and the x axes of the curves."""

    values: dict[str, Mean]
    axes: dict[str, NDArray]
    n_frames: int
    between_runs: bool

    def curves(self) -> dict[str, Mean]:
        """Return partial g(r) and the densities of bond angles."""
        return {name: mean for name, mean in self.values.items() if name.startswith(("rdf.", "angles."))}

    def numbers(self) -> dict[str, Mean]:
        """Return the single numbers."""
        return {name: mean for name, mean in self.values.items() if name.startswith(_NUMBERS)}

    def named(self, formula: str, who: str) -> dict[str, NDArray]:
        """Return curves with their errors and axes by name, as a validation stores them; `named_curve` reads them."""
        arrays = {f"{formula}/{name}": axis for name, axis in self.axes.items()}
        for name, mean in self.curves().items():
            arrays |= {f"{formula}/{who}/{name}": mean.value, f"{formula}/{who}/{name}/error": mean.error}
        return arrays


def named_curve(arrays: Mapping[str, NDArray], formula: str, who: str, name: str) -> Mean:
    """Return a curve of stored arrays: of `REFERENCE` or of a potential's id."""
    key = f"{formula}/{who}/{name}"
    return Mean(arrays[key], arrays[f"{key}/error"])


def names_of_curves(arrays: Mapping[str, NDArray], formula: str, family: str) -> list[str]:
    """Return the names of the stored partial curves of a family, ``rdf`` or ``angles``."""
    prefix = f"{formula}/{REFERENCE}/"
    found = sorted(key.removeprefix(prefix) for key in arrays if key.startswith(f"{prefix}{family}."))
    return [name for name in found if not name.endswith(("/error", ".total"))]


def bonds_of_reference(frames: Sequence[Atoms], given_A: Mapping[str, float]) -> dict[Pair, float]:
    """Return the longest bonds: as given, else first minima of g(r) of the reference frames; NaN for none."""
    bonds: dict[Pair, float] = first_minima(radial_distribution(frames, RDF_REACH_A))
    for pair, longest_A in given_A.items():
        one, _, other = pair.partition("-")
        bonds[min(one, other), max(one, other)] = longest_A
    return bonds


def local_structure(
    runs: Sequence[Sequence[Atoms]], bonds_A: Mapping[Pair, float], anion: str = ANION
) -> LocalStructure:
    """Average the local structure over runs of frames.

    At least three runs of at least five frames are taken as independent: each counts once, and errors follow from the
    scatter between them. Otherwise errors are those of successive blocks of all frames, which do not know how much one
    glass differs from the next. Raises DataError if a frame cannot be analysed, or frames have different elements.
    """
    options = FrameOptions(what=("liquid",), bonds_A=bonds_A, anion=anion)
    axes: dict[str, NDArray] = {}
    by_run = [list(_analysed(frames, options, axes)) for frames in runs]
    names = {tuple(values) for run in by_run for values in run}
    if len(names) != 1:
        raise DataError("frames have different elements, or there are none", "compare frames of one composition")
    independent = len(by_run) >= _FEWEST_RUNS and min(len(run) for run in by_run) >= _FEWEST_FRAMES
    values = {}
    for name in next(iter(names)):
        runs_of_one = [[frame[name] for frame in run] for run in by_run]
        if independent:
            values[name] = mean_of_independent([_by_blocks(run).value for run in runs_of_one], _FEWEST_RUNS)
        else:
            values[name] = _by_blocks(chain.from_iterable(runs_of_one))
    return LocalStructure(values, axes, sum(len(run) for run in by_run), independent)


def _analysed(frames: Sequence[Atoms], options: FrameOptions, axes: dict[str, NDArray]) -> Iterator[dict[str, NDArray]]:
    """Yield numbers and curves of each frame, and keep the axes of the curves."""
    for atoms in frames:
        answer = analyse_frame(atoms, options, ["liquid"])["liquid"]
        if isinstance(answer, str):
            raise DataError(f"a frame cannot be analysed: {answer}")
        numbers, curves = answer
        axes.update({name: curves.pop(name) for name in ("rdf.r_A", "angles.deg")})
        own = {name: curve for name, curve in curves.items() if name.startswith(("rdf.", "angles."))}
        known = {name: np.array(np.nan if value is None else value) for name, value in numbers.items()}
        yield {**known, **own}


def _by_blocks(frames: Iterable[NDArray]) -> Mean:
    blocks = BlockMean()
    for frame in frames:
        blocks.add(frame)
    return blocks.mean()


def structure_differences(reference: LocalStructure, own: LocalStructure) -> list[dict[str, Any]]:
    """Return a row for each number and curve: value of the reference, own value, difference, and its standard error.

    The difference of two curves is the root of the mean square over their range, g(r) from 2 Å on; its `error` is what
    the statistical errors alone give. None stands for what cannot be told.
    """
    rows: list[dict[str, Any]] = []
    for name, there in reference.numbers().items():
        here = own.values[name]
        less = here.minus(there)
        rows.append({
            "quantity": name, "curve": False, "reference": _known(there.value), "reference_error": _known(there.error),
            "value": _known(here.value), "value_error": _known(here.error),
            "difference": _known(less.value), "error": _known(less.error),
        })  # fmt: skip
    for name, there in reference.curves().items():
        less = own.values[name].minus(there)
        inside = reference.axes["rdf.r_A"] > SHORTEST_A if name.startswith("rdf.") else slice(None)
        difference, error = _rms(less.value[inside]), _rms(less.error[inside])
        rows.append({
            "quantity": name, "curve": True, "reference": None, "reference_error": None, "value": None,
            "value_error": None, "difference": _known(difference), "error": _known(error),
        })  # fmt: skip
    return rows


def _rms(values: NDArray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _known(value: NDArray | float) -> float | None:
    return float(value) if np.isfinite(value) else None
