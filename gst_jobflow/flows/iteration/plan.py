"""Plan of a training protocol in iterations, as written in YAML. Some are shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import check_known
from gst_jobflow.base.shipped import Shipped
from gst_jobflow.base.strict import StrictModel, UnfitValueError, checked, merged
from gst_jobflow.datasets.spec import DatasetSpec, positive_weights
from gst_jobflow.datasets.split import SplitSpec
from gst_jobflow.devices.programme import load_programme
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.fitting.config import PRESETS as FITS
from gst_jobflow.fitting.config import FitConfig, without_default_exponents
from gst_jobflow.flows.iteration.gate import Gate, check_config_types
from gst_jobflow.flows.iteration.sources import OF_COMPOSITIONS, FailureSource, Source
from gst_jobflow.hyperopt.plan import PRESETS as SEARCHES
from gst_jobflow.labelling.backend import LabelBackend, free_atom_energies
from gst_jobflow.store.work import AssumedCosts
from gst_jobflow.structures.composition import Formula, elements_in
from gst_jobflow.structures.material import Material, OfMaterial, stored_material

PLANS = Shipped("plan", "gst_jobflow.flows.iteration")


class LabelSettings(StrictModel):
    """Method of all labels, and the jobs that compute them."""

    backend: str = Field("vasp", description="As gst submit label --backend takes it")
    options: dict[str, Any] = Field(default_factory=dict, description="Fields of the backend's settings")
    jobs: int = Field(4, ge=1, le=200, description="Labelling jobs of an iteration")


class TestSet(StrictModel):
    """Structures that no fit sees: the test set of a dataset, the same in all iterations, or drawn by group."""

    dataset: str | None = Field(None, description="Id or name of a dataset whose test set it is")
    fraction: float = Field(
        0.1, gt=0, lt=1, description="Else: share of the groups of each config type; known groups keep their side"
    )
    seed: int = Field(0, ge=0)


class DataSettings(StrictModel):
    """Which labels enter the datasets, and with what weights and reference energies; see `gst dataset create`."""

    config_type_weights: dict[str, float] = Field(default_factory=dict)
    reference_energies: dict[str, float] | Literal["least-squares", "free-atoms", "backend"] = Field(
        "least-squares",
        description="As in gst dataset create; backend: free atoms as the label backend knows them",
    )
    reference_energies_source: str = "given"
    max_force_eV_A: float | None = Field(None, gt=0, description="Leave out labels with a larger force on an atom")
    near_duplicates_A: float | None = Field(None, gt=0, le=1, description="Keep one of nearly equal structures, Å")

    @field_validator("config_type_weights")
    @classmethod
    def _of_known_types(cls, weights: dict[str, float]) -> dict[str, float]:
        check_config_types(weights)
        return positive_weights(weights)


class SettingsSearch(StrictModel):
    """Search of the settings of the fit; its best fit is the potential of the iteration."""

    preset: str = Field("xpot-gst", description="Search, as gst submit hyperopt --preset takes it")
    fits: int | None = Field(None, ge=2)
    iterations: list[int] = Field(default_factory=lambda: [0], description="Iterations that search; others reuse it")

    @field_validator("preset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        check_known("no search", name, SEARCHES, UnfitValueError)
        return name


class FitSettings(StrictModel):
    """Fit of each iteration: preset and fields, optional search before and upfit after it, optional ensemble."""

    preset: str = Field("gst-ace-24", description="gst-ace-24, small or linear")
    options: dict[str, Any] = Field(default_factory=dict, description="Fields that replace the preset's")
    first_guess: bool = Field(False, description="Fit the linear potential first and start from it")
    upfit_kappa: float | None = Field(None, gt=0, lt=1, description="Smaller share of forces in an upfit after it")
    ensemble: int = Field(1, ge=1, le=50, description="Fits that differ in seed and weights; the first one is used")
    search: SettingsSearch | None = None

    @field_validator("preset")
    @classmethod
    def _is_known(cls, name: str) -> str:
        check_known("no preset", name, FITS, UnfitValueError)
        return name

    @model_validator(mode="after")
    def _searches_alone(self) -> FitSettings:
        if self.search is not None and (self.ensemble > 1 or self.first_guess):
            raise UnfitValueError("a search excludes ensemble and first_guess", "leave these out, or the search")
        return self

    def config(self, elements: tuple[str, ...]) -> FitConfig:
        """Return the settings of the fit for these elements; InputError if a field or value does not fit."""
        base = FITS[self.preset](elements).editable()
        return checked(FitConfig, without_default_exponents(merged(base, self.options)), "fit.options")


class Start(StrictModel):
    """What the first iteration builds on."""

    dataset: str | None = Field(None, description="Dataset that the first one continues: id or name")
    potential: str | None = Field(None, description="Potential that sources of the first iteration use: id or name")


class IterationStep(StrictModel):
    """One iteration, or several that are alike."""

    sources: list[Source] = Field(default_factory=list)
    repeat: int = Field(1, ge=1, le=50)


class IterationPlan(OfMaterial):
    """Training protocol: sources of candidates for each iteration, and what all iterations share."""

    name: str = Field(min_length=1)
    description: str = ""
    compositions: list[Formula] = Field(
        default_factory=lambda given: list(given["material"].compositions),
        min_length=1,
        description="Of sources that name none",
    )
    elements: list[str] = Field(default_factory=list, description="Elements of the fits; none: those of all sources")
    seed: int = Field(1, ge=1)
    start: Start = Field(default_factory=Start)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    test: TestSet = Field(default_factory=TestSet)
    data: DataSettings = Field(default_factory=DataSettings)
    fit: FitSettings = Field(default_factory=FitSettings)
    robustness: RobustnessPlan | None = Field(None, description="Hot melts that every potential runs; null: none")
    robustness_jobs: int = Field(1, ge=1, description="Jobs that share them")
    gate: Gate = Field(default_factory=Gate)
    assumed: AssumedCosts = Field(default_factory=AssumedCosts, description="For --estimate, until it is measured")
    iterations: list[IterationStep] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _compositions_for_all(cls, data: Any) -> Any:
        """Give material and compositions of the plan to sources and robustness runs that name none."""
        if not isinstance(data, dict):
            return data
        if not isinstance(data.get("iterations"), list):
            return data
        material = stored_material(data)
        formulas = data.get("compositions") or list(material.compositions)
        steps = [_of_the_plan(step, material, formulas) for step in data["iterations"]]
        melts = data.get("robustness")
        if isinstance(melts, Mapping):
            melts = {"material": material, "compositions": formulas, **melts}
        return {**data, "iterations": steps} | ({"robustness": melts} if "robustness" in data else {})

    @model_validator(mode="after")
    def _fits_together(self) -> IterationPlan:
        self.fit.config(self.all_elements)
        self._check_elements()
        self._check_first()
        self.gate.check(self.robustness is not None, self.fit.ensemble)
        searched = self.fit.search.iterations if self.fit.search else []
        if wrong := [number for number in searched if not 0 <= number < self.number_of_iterations]:
            raise UnfitValueError(
                f"fit.search names iteration {wrong[0]}, there are {self.number_of_iterations}", "count them from 0"
            )
        energies = self.data.reference_energies
        if isinstance(energies, dict) and (missing := sorted(set(self.all_elements) - set(energies))):
            raise UnfitValueError(f"data.reference_energies has no {', '.join(missing)}", "give one for each element")
        for source in (each for step in self.iterations for each in step.sources):
            if isinstance(source, FailureSource):
                self._check_failures(source)
        return self

    def _check_failures(self, source: FailureSource) -> None:
        if self.robustness is None:
            raise UnfitValueError("source failures needs robustness runs", "add robustness: {} to the plan")
        if self.robustness.n_atoms > (most := source.frames.max_atoms):
            raise UnfitValueError(
                f"robustness runs have {self.robustness.n_atoms} atoms, and source failures takes whole cells of up to "
                f"{most}",
                "lower robustness.n_atoms, or raise frames: {max_atoms} of the source",
            )

    def _check_elements(self) -> None:
        used = elements_in([formula for step in self.iterations for each in step.sources for formula in each.formulas])
        used |= set(self.robustness.elements if self.robustness else ())
        if self.elements and (more := sorted(used - set(self.elements))):
            raise UnfitValueError(
                f"compositions have {', '.join(more)}, which is not among elements", "add it there, or leave it out"
            )

    def _check_first(self) -> None:
        first = self.iterations[0].sources
        if not first and self.start.dataset is None:
            raise UnfitValueError("the first iteration has no sources", "add one, such as kind: hard-spheres")
        if any(each.kind == "failures" for each in first):
            raise UnfitValueError("the first iteration has no failures yet", "name source failures in a later one")
        if self.start.potential is None and (early := [each.kind for each in first if each.needs_potential]):
            raise UnfitValueError(
                f"source {early[0]} of the first iteration needs a potential",
                "name one in start.potential, or begin with hard-spheres or crystals",
            )
        if any(not step.sources for step in self.iterations[1:]):
            raise UnfitValueError("an iteration has no sources", "add one, such as kind: search")

    @property
    def steps(self) -> list[list[Source]]:
        """Sources of each iteration."""
        return [step.sources for step in self.iterations for _ in range(step.repeat)]

    def most_labels(self, number: int) -> int:
        """Return the most labels of an iteration; stored structures, unknown before it runs, do not count."""
        return sum(self._most_of(source) for source in self.steps[number])

    def _most_of(self, source: Source) -> int:
        if source.kind == "failures" and self.robustness is not None:
            runs = self.robustness.runs * len(self.robustness.compositions)
            return min(runs * source.frames.number, source.choose.number or runs * source.frames.number)
        return source.most or 0

    @property
    def number_of_iterations(self) -> int:
        """Number of iterations, at most."""
        return sum(step.repeat for step in self.iterations)

    @property
    def all_elements(self) -> tuple[str, ...]:
        """Elements of the fits, sorted."""
        formulas = [formula for step in self.iterations for each in step.sources for formula in each.formulas]
        return tuple(sorted(set(self.elements) or elements_in(formulas) or elements_in(self.compositions)))

    def dataset_spec(
        self, number: int, parent_id: str | None, test_id: str | None, backend: LabelBackend
    ) -> DatasetSpec:
        """Return the settings of the dataset of an iteration."""
        split = SplitSpec(test_fraction=self.test.fraction, seed=self.test.seed)
        data = self.data.model_dump()
        if data["reference_energies"] == "backend":
            data["reference_energies"] = free_atom_energies(backend, self.all_elements)
            data["reference_energies_source"] = "free atoms by the method of the labels"
        return DatasetSpec(**data, split=split, iteration=number, parent_id=parent_id, test_dataset_id=test_id)


def _of_the_plan(step: Any, material: Material, formulas: list[str]) -> Any:
    if not isinstance(step, Mapping) or not isinstance(step.get("sources"), list):
        return step
    return {**step, "sources": [_source(source, material, formulas) for source in step["sources"]]}


def _source(source: Any, material: Material, formulas: list[str]) -> Any:
    if not isinstance(source, Mapping):
        return source
    kind, given = source.get("kind"), {"material": material}
    if kind in OF_COMPOSITIONS:
        return {**given, "compositions": formulas, **source}
    if kind == "crystals" and isinstance(source.get("crystals"), list):
        crystals = [{**given, **each} if isinstance(each, Mapping) else each for each in source["crystals"]]
        return {**source, "crystals": crystals}
    if kind == "cycle" and isinstance(source.get("programme"), str):
        return {**source, "programme": load_programme(source["programme"], material)}
    return source
