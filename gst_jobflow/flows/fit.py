"""A fit as people ask for it: from a first guess, with an upfit after it, or as an ensemble."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker

from gst_jobflow.base.errors import InputError
from gst_jobflow.evaluation.ensemble import EnsembleMaker
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker


@dataclass
class FitFlowMaker(Maker):
    """One fit, or several that belong together.

    Attributes
    ----------
    potential_name
        Name of the potential; those of a first guess, an upfit and members of an ensemble are made from it.
    config
        Of the main fit.
    first_guess
        Fit the linear potential first, and go on from it.
    upfit_kappa
        Go on from the finished fit with this smaller share of forces in the loss; None: no upfit.
    ensemble
        How many fits, which differ in seed and bootstrap weights; 1: no ensemble.
    """

    name: str = "fit"
    potential_name: str = "potential"
    config: FitConfig = field(default_factory=FitConfig.small)
    first_guess: bool = False
    upfit_kappa: float | None = None
    ensemble: int = 1
    tags: list[str] = field(default_factory=list)

    def make(self, dataset_id: str, parent_id: str | None = None) -> Flow:
        """Flow of all fits; its output is that of the last: `potential_id`, `rmse`.

        Raises
        ------
        InputError
            What is asked for contradicts itself.
        """
        if self.first_guess and (parent_id is not None or self.config.solver == "linear"):
            raise InputError(
                "a first guess is for a fit by pacemaker that has no parent", "leave --first-guess or the other out"
            )
        if self.config.solver == "linear" and not (self.upfit_kappa is None and parent_id is None):
            raise InputError(
                "the linear solver goes on from nothing",
                "fit with another kappa instead of an upfit, or go on by --solver pacemaker",
            )
        if self.ensemble < 2:
            jobs = self._stages(self.potential_name, self.config, self.tags, dataset_id, parent_id)
            return Flow([*jobs], output=jobs[-1].output, name=f"fit {self.potential_name}")
        tag = f"ensemble:{uuid.uuid4().hex[:12]}"
        jobs, members = [], []
        for number in range(self.ensemble):
            stages = self._stages(
                f"{self.potential_name}-{number + 1}", _member(self.config, number), [*self.tags, tag],
                dataset_id, parent_id,
            )  # fmt: skip
            jobs += stages
            members.append(stages[-1].output["potential_id"])
        together = EnsembleMaker(study_name=self.potential_name).make(dataset_id, members)
        return Flow([*jobs, together], output=together.output, name=f"ensemble {self.potential_name}")

    def _stages(
        self, name: str, config: FitConfig, tags: list[str], dataset_id: str, parent_id: str | None
    ) -> list[Job]:
        jobs: list[Job] = []

        def fit(what: str, config: FitConfig, parent: Any) -> Any:
            potential_name = name if what == "fit" else f"{name}-{what}"
            maker = FitMaker(potential_name=potential_name, config=config, tags=tags)
            job = maker.make(dataset_id, parent)
            job.name = f"{what} {name}"
            jobs.append(job)
            return job.output["potential_id"]

        start = fit("linear", config.as_linear(), None) if self.first_guess else parent_id
        main = fit("fit", config, start)
        if self.upfit_kappa is not None:
            fit("upfit", config.upfit(self.upfit_kappa), main)
        return jobs


def _member(config: FitConfig, number: int) -> FitConfig:
    """The fit of member `number`: another seed, which draws the weights of its structures."""
    weights = config.weights.model_copy(update={"bootstrap": True})
    return config.model_copy(update={"seed": config.seed + number, "weights": weights})
