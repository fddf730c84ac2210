"""Plan of a search: space, number of fits, objective and ending."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.documents import Study
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.hyperopt.propose import StartKind
from gst_jobflow.hyperopt.space import Space, config_of

MOST_FITS = 400
"""A search is one workflow with a firework for each fit; FireWorks' cost of a launch grows with its size."""

Speed = Literal["none", "measured", "functions"]


class Objective(StrictModel):
    """Loss: alpha * energy RMSE (meV/atom) + (1 - alpha) * force RMSE (meV/Å) of the test set."""

    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the energies")
    speed: Speed = Field(
        "none",
        description="Second objective of a search for a front: 'measured', µs per atom and step of molecular dynamics, "
        "timed by the job of the fit; 'functions', the number of basis functions instead",
    )

    def loss(self, energy_meV_per_atom: float, force_meV_per_A: float) -> float:
        """Return the loss of a fit."""
        return self.alpha * energy_meV_per_atom + (1 - self.alpha) * force_meV_per_A


class Ending(StrictModel):
    """Conditions that end a search before all its fits."""

    target: float | None = Field(None, gt=0, description="A loss that is good enough")
    patience: int | None = Field(None, ge=1, description="Fits after the start without progress")
    min_progress: float = Field(0.01, ge=0, lt=1, description="A smaller relative gain of the best loss is no progress")


class SearchPlan(StrictModel):
    """Settings of a search; data and base fit are given separately."""

    space: Space
    n_fits: int = Field(32, ge=2, le=MOST_FITS)
    n_start: int = Field(8, ge=2, description="Fits at evenly spread points before the first proposal")
    start: StartKind = "hammersley"
    at_once: int = Field(1, ge=1, description="Fits at once")
    objective: Objective = Field(default_factory=Objective)
    ending: Ending = Field(default_factory=Ending)
    seed: int = Field(42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _numbers_agree(self) -> SearchPlan:
        for name, option in (("at_once", "--at-once"), ("n_start", "--start")):
            if getattr(self, name) > self.n_fits:
                raise UnfitValueError(
                    f"{name} = {getattr(self, name)} is more than n_fits = {self.n_fits}",
                    f"set {name} ({option}) to at most {self.n_fits}, or raise n_fits (--fits)",
                )
        return self


def xpot_gst(fit: FitConfig) -> tuple[SearchPlan, FitConfig]:
    """Return the search of GST-ACE-24: four hyperparameters, 32 fits of which 8 explore, random state 42.

    The paper does not say which four. The closest published search (XPOT-ACE for Sb2Te3, JCTC 2024) varies the radial
    parameter in 1..10, dcut in 0.001..1 and the exponents of the embedding in 0.025..0.975. pacemaker's evaluator
    ignores dcut, and the radial parameter of that search's basis (SBessel). So this search uses the basis ChebExpCos,
    which has a parameter, and varies the share of forces in the loss instead of dcut. Raises InputError if the fit does
    not have the three densities whose exponents are searched.
    """
    if fit.embedding.n_densities != 3:
        raise InputError(
            f"xpot-gst searches the exponents of three densities, but the fit has {fit.embedding.n_densities}",
            "choose a fit with n_densities = 3, or write the space in a file: --space",
        )
    radial = fit.radial.model_copy(update={"radbase": "ChebExpCos"})
    fields = {
        "radial.radparameters[0]": {"low": 1.0, "high": 10.0},
        "embedding.fs_parameters[3]": {"low": 0.025, "high": 0.975},
        "embedding.fs_parameters[5]": {"low": 0.025, "high": 0.975},
        "loss.kappa": {"low": 0.1, "high": 0.9},
    }
    return SearchPlan(space={"fields": fields}), fit.model_copy(update={"radial": radial})  # type: ignore[arg-type]


PRESETS = {"xpot-gst": xpot_gst}
"""Searches by name."""


def preset(name: str, fit: FitConfig) -> tuple[SearchPlan, FitConfig]:
    """Return the plan of a preset, and the fit that it varies; raises InputError if there is none of this name."""
    check_known("no search", name, PRESETS)
    return PRESETS[name](fit)


def plan_of(study: Study) -> SearchPlan:
    """Return the plan of a study."""
    return SearchPlan.model_validate({key: study.plan[key] for key in study.plan if key in SearchPlan.model_fields})


def base_fit(study: Study) -> FitConfig:
    """Return the settings that all fits of a study share."""
    fit = study.plan["fit"]
    # earlier versions stored no exponents; null stands for theirs
    embedding = {"fs_parameters": None, **fit.get("embedding", {})}
    return FitConfig.model_validate({**fit, "embedding": embedding})


def trial_config(study: Study, trial: int) -> FitConfig:
    """Return the fit of a trial."""
    return config_of(base_fit(study), point_of(plan_of(study).space, study.table[trial]["values"]))


def point_of(space: Space, values: list[Any]) -> dict[str, Any]:
    """Return the point that a row of the study's table has tried."""
    return dict(zip(space.names, values, strict=True))
