"""What is to be computed of frames, as people write it, and what each frame's analysis gets of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import Field, field_validator, model_validator

from gst_jobflow.analysis.crystallinity import RMSD_CUTOFF, crystallinity
from gst_jobflow.analysis.distributions import Pair
from gst_jobflow.analysis.frame import ANALYSES, BIN_A, GAMMA_ABOVE, FrameOptions
from gst_jobflow.analysis.grains import MIN_ANIONS
from gst_jobflow.analysis.profiles import Centre
from gst_jobflow.analysis.series import STORED_AS
from gst_jobflow.analysis.soap import SoapOptions, references
from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.plugins import known
from gst_jobflow.base.strict import UnfitValueError
from gst_jobflow.documents import Cycle, Trajectory
from gst_jobflow.importing.formats import read_records
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.structures.composition import parse_formula, reduced_formula
from gst_jobflow.structures.crystals import rocksalt, trigonal
from gst_jobflow.structures.material import Material, OfMaterial, stored_material

GROWTH = "growth"
_STORED = (*ANALYSES, GROWTH)
_GIVEN = {stored: given for given, stored in STORED_AS.items()}
OWN = tuple(_GIVEN.get(name, name) for name in _STORED)
"""Names of our own analyses, as users give them."""
BUILT = ("rocksalt", "trigonal")
BUILT_RATTLE_A = 0.15
"""Displacement an axis of reference crystals that are built: about that of 300 to 600 K."""
_SHARES_DIFFER = 0.03
_LEAST_CRYSTAL = 0.8


class AnalysisPlan(OfMaterial):
    """Analyses of frames and their parameters; a list of names alone is short for ``{what: [...]}``."""

    what: list[str] = Field(default_factory=lambda: ["tellurium"], description=f"Of {', '.join(OWN)}, and of plugins")
    every: int = Field(1, ge=1, description="Only each n-th frame, and the last state")
    frames: int | None = Field(None, ge=1, description="About so many frames of a run, evenly, instead of `every`")
    references: list[str] = Field(
        default_factory=lambda: list(BUILT),
        description="Crystals for k-bar: files, ids of structures, or rocksalt and trigonal, which are built with "
        f"displacements of {BUILT_RATTLE_A} Å an axis",
    )
    soap: dict[str, Any] = Field(default_factory=dict, description="Fields of SoapOptions, e.g. species: true")
    k_bar_cutoff: float | None = Field(None, ge=0, le=1, description="Above it an atom is crystal-like")
    rmsd_cutoff: float = Field(RMSD_CUTOFF, gt=0)
    min_grain: int = Field(MIN_ANIONS, ge=1, description="Smallest grain, in atoms of the anion")
    merge_threshold: float | None = Field(
        None, gt=0, description="Of grains; OVITO finds one for each frame without it"
    )
    bonds_A: dict[str, float] = Field(default_factory=dict, description="Longest bonds, e.g. Ge-Te: 3.2")
    gamma_above: list[float] = Field(default_factory=lambda: list(GAMMA_ABOVE))
    bin_A: float = Field(BIN_A, gt=0, description="Width of the bins of profiles and maps")
    since: str | None = Field(None, description="growth: trajectory whose end is the first state; else frame one")

    @model_validator(mode="before")
    @classmethod
    def _from_names(cls, data: Any) -> Any:
        return {"what": data} if isinstance(data, list | tuple | str) else data

    @field_validator("what", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return [name.strip() for name in names.split(",")] if isinstance(names, str) else names

    @field_validator("what")
    @classmethod
    def _are_known(cls, names: list[str]) -> list[str]:
        if not names:
            raise ValueError(f"name at least one of {', '.join(known_analyses())}")
        names = [STORED_AS.get(name, name) for name in names]
        for name in names:
            if name not in _STORED and name not in (everything := known_analyses()):
                raise UnfitValueError(f"no analysis '{name}'", nearest(name, everything))
        more = ["tellurium", "grains"] if GROWTH in names else []
        return list(dict.fromkeys([*names, *more]))

    @field_validator("bonds_A")
    @classmethod
    def _are_pairs(cls, bonds: dict[str, float]) -> dict[str, float]:
        for pair, end in bonds.items():
            if pair.count("-") != 1 or not all(pair.split("-")) or end <= 0:
                raise ValueError(f"'{pair}: {end:g}' is no bond, for example Ge-Te: 3.2")
        return {"-".join(sorted(pair.split("-"))): end for pair, end in bonds.items()}

    @model_validator(mode="after")
    def _describes_surroundings(self) -> AnalysisPlan:
        self.soap_options()
        return self

    @property
    def per_frame(self) -> tuple[str, ...]:
        """The analyses that look at one frame alone."""
        return tuple(name for name in self.what if name != GROWTH)

    def soap_options(self) -> SoapOptions:
        """Return the hyperparameters of k-bar."""
        unknown = [key for key in self.soap if key not in SoapOptions.__dataclass_fields__]
        if unknown:
            raise UnfitValueError(f"soap has no '{unknown[0]}'", nearest(unknown[0], SoapOptions.__dataclass_fields__))
        try:
            return SoapOptions(**self.soap)
        except (InputError, TypeError) as error:
            raise ValueError(str(error)) from error

    def every_of(self, n_frames: int) -> int:
        """Return the distance of frames that are taken of so many."""
        return self.every if self.frames is None else max(1, round(n_frames / self.frames))

    def frame_options(
        self,
        crystals: dict[str, Atoms],
        *,
        mobile: tuple[int, int] | None = None,
        centre_A: Centre | None = None,
    ) -> FrameOptions:
        """Return what each frame's analysis gets; `crystals` are the references of k-bar by name."""
        crystal = references(crystals, self.soap_options()) if "k-bar" in self.what else None
        own: dict[Pair, float] = {}
        for pair, end in self.bonds_A.items():
            one, other = pair.split("-")
            own[one, other] = end
        return FrameOptions(
            what=self.per_frame,
            known=crystal,
            k_bar_cutoff=self.k_bar_cutoff,
            rmsd_cutoff=self.rmsd_cutoff,
            merge_threshold=self.merge_threshold,
            min_anions=self.min_grain,
            bonds_A=own,
            gamma_above=tuple(self.gamma_above),
            anion=self.material.anion,
            mobile=mobile,
            bin_A=self.bin_A,
            centre_A=centre_A,
        )

    def crystals(self, results: Results | None, formula: str) -> dict[str, Atoms]:
        """Return the reference crystals of k-bar for frames of a composition; none where k-bar is not asked for.

        Raises InputError if one cannot be found or built, is of another composition, or is no crystal.
        """
        if "k-bar" not in self.what:
            return {}
        found: dict[str, Atoms] = {}
        for name in self.references:
            found |= _crystal(results, name, formula, self.material)
        for name, atoms in found.items():
            if name not in BUILT:
                _check_reference(name, atoms, formula, self.material.anion)
        return found


def known_analyses() -> list[str]:
    """Return the names of all analyses, those of plugins at the end."""
    return [name for name in known("analyses", dict.fromkeys((*OWN, *_STORED))) if name not in _GIVEN]


def run_options(results: Results, run: Trajectory, plan: AnalysisPlan) -> FrameOptions:
    """Return what the analysis of a run's frames gets: of a device its mobile atoms, and its electrode.

    Raises InputError as `AnalysisPlan.crystals`.
    """
    formula, mobile, centre = formula_of(results, run), None, None
    if run.cycle_id is not None:
        cycle = results.get(Cycle, run.cycle_id)
        mobile = (cycle.groups["mobile"][0], cycle.groups["mobile"][1])
        centre = _electrode(cycle)
    return plan.frame_options(plan.crystals(results, formula), mobile=mobile, centre_A=centre)


def formula_of(results: Results, run: Trajectory) -> str:
    """Return the composition of a run; of a device that of its crystal, for its cell may miss some atoms."""
    cycle = results.get(Cycle, run.cycle_id) if run.cycle_id is not None else None
    return run.formula if cycle is None else str(cycle.cell.get("formula") or run.formula)


def anion_of(cycle: Cycle) -> str:
    """Return the element of the close-packed sublattice of a device's crystal."""
    return stored_material(cycle.cell).anion


def _electrode(cycle: Cycle) -> Centre | None:
    """Return the centre of the domes of a mushroom cell: above the middle of its bottom electrode."""
    profiles = (stage.get("profile") or {} for operation in cycle.operations for stage in operation.stages)
    centres = [profile["centre_A"] for profile in profiles if profile.get("kind") == "dome"]
    if not centres:
        return None
    x, y, z = centres[0]
    return float(x), None if y is None else float(y), float(z)


def _crystal(results: Results | None, name: str, formula: str, material: Material) -> dict[str, Atoms]:
    if name in BUILT:
        build, repeat = (rocksalt, (4, 4, 4)) if name == "rocksalt" else (trigonal, (4, 2, 1))
        try:
            atoms = build(formula, repeat, material=material)
        except InputError as error:
            if name == "trigonal":
                return {}  # a composition without a known trigonal phase
            raise InputError(error.message, "give crystals of the composition: --reference FILE") from error
        atoms.rattle(BUILT_RATTLE_A, seed=1)
        return {name: atoms}
    if Path(name).is_file():
        records = list(read_records(Path(name)))
        if not records or records[0].atoms is None:
            raise InputError(f"{name}: no structure can be read from it", "name a file with a crystal")
        return {f"{Path(name).name}:{each.index}": each.atoms for each in records if each.atoms is not None}
    if results is None or not results.database["structures"].count_documents({"_id": name}, limit=1):
        raise InputError(f"no reference crystal '{name}'", f"a file, the id of a structure, {' or '.join(BUILT)}")
    return {name: load_atoms(results, name)}


def _check_reference(name: str, atoms: Atoms, formula: str, anion: str) -> None:
    own, wanted = _shares(atoms.get_chemical_formula()), _shares(formula)
    if any(abs(own.get(element, 0) - wanted.get(element, 0)) > _SHARES_DIFFER for element in {*own, *wanted}):
        raise InputError(
            f"reference {name} is {reduced_formula(parse_formula(atoms.get_chemical_formula()))}, the frames are "
            f"{reduced_formula(parse_formula(formula))}",
            "take crystals of the frames' composition",
        )
    if not np.all(np.isfinite(atoms.positions)):
        raise InputError(f"reference {name} has positions that are not finite", "take another frame")
    if anion in own and (fraction := crystallinity(atoms, anion=anion).fraction) < _LEAST_CRYSTAL:
        raise InputError(
            f"reference {name} is no crystal: {100 * fraction:.0f} % of its atoms are crystal-like by {anion}",
            "take a rock-salt or a trigonal crystal",
        )


def _shares(formula: str) -> dict[str, float]:
    counts = parse_formula(formula)
    return {element: count / sum(counts.values()) for element, count in counts.items()}
