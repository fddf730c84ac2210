"""Flows of fits: one fit, optionally after a linear first guess or before an upfit, or an ensemble."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker

from gst_jobflow.base.errors import InputError
from gst_jobflow.evaluation.ensemble import EnsembleMaker
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.engine import PluginConfig
from gst_jobflow.fitting.maker import Config, FitMaker


@dataclass
class FitFlowMaker(Maker):
    """One fit, or several that belong together.

    Attributes
    ----------
    potential_name
        Name of the potential; first guess, upfit and members of an ensemble get a suffix.
    config
        Settings of the main fit.
    plugin
        Name of the plugin that fits; empty: the fit is one of ours.
    first_guess
        Whether to fit the linear potential first and start from it.
    upfit_kappa
        Smaller share of forces in the loss of an upfit that follows; None: no upfit.
    ensemble
        Number of fits, which differ in seed and bootstrap weights; 1: no ensemble.

    Examples
    --------
    >>> maker = FitFlowMaker(potential_name="ace", config=FitConfig.small(), upfit_kappa=0.1)
    >>> [job.name for job in maker.make("4f0c1d").jobs]
    ['fit ace', 'upfit ace']
    """

    name: str = "fit"
    potential_name: str = "potential"
    config: Config = field(default_factory=FitConfig.small)
    first_guess: bool = False
    upfit_kappa: float | None = None
    ensemble: int = 1
    tags: list[str] = field(default_factory=list)
    plugin: str = ""

    def make(self, dataset_id: str, parent_id: str | None = None) -> Flow:
        """Return the flow of all fits; its output is that of the last: `potential_id`, `rmse`.

        Options that contradict each other are an InputError.
        """
        self._check(parent_id)
        name = self.potential_name
        if self.ensemble < 2:
            jobs = self._stages(name, self.config, self.tags, dataset_id, parent_id)
            return Flow([*jobs], output=jobs[-1].output, name=f"fit {name}")
        tags = [*self.tags, f"ensemble:{uuid.uuid4().hex[:12]}"]
        members = [
            self._stages(f"{name}-{number + 1}", _member(self.config, number), tags, dataset_id, parent_id)
            for number in range(self.ensemble)
        ]
        together = EnsembleMaker(study_name=name).make(
            dataset_id, [jobs[-1].output["potential_id"] for jobs in members]
        )
        jobs = [job for each in members for job in each]
        return Flow([*jobs, together], output=together.output, name=f"ensemble {name}")

    def _check(self, parent_id: str | None) -> None:
        has_start = self.first_guess or parent_id is not None
        if not isinstance(self.config, FitConfig):
            kind = self.plugin or "GRACE/FS"
            if has_start or self.upfit_kappa is not None:
                raise InputError(f"a {kind} fit cannot start from another potential", "leave out parent and upfit")
            if self.plugin and self.ensemble > 1:
                raise InputError(f"{kind} fits make no ensemble", "submit fits of several seeds")
            return
        linear = self.config.solver == "linear"
        if self.first_guess and (parent_id is not None or linear):
            raise InputError(
                "a first guess is for a fit by pacemaker that has no parent",
                "leave out --first-guess, or --parent and --solver linear",
            )
        if linear and not (self.upfit_kappa is None and parent_id is None):
            raise InputError(
                "the linear solver cannot start from another potential",
                "fit with another kappa instead of an upfit, or set --solver pacemaker",
            )

    def _stages(self, name: str, config: Config, tags: list[str], dataset_id: str, parent_id: str | None) -> list[Job]:
        jobs: list[Job] = []

        def fit(what: str, config: Config, parent: Any) -> Any:
            potential_name = name if what == "fit" else f"{name}-{what}"
            maker = FitMaker(potential_name=potential_name, config=config, tags=tags, plugin=self.plugin)
            job = maker.make(dataset_id, parent)
            job.name = f"{what} {name}"
            jobs.append(job)
            return job.output["potential_id"]

        if not isinstance(config, FitConfig):
            fit("fit", config, None)
            return jobs
        start = fit("linear", config.as_linear(), None) if self.first_guess else parent_id
        main = fit("fit", config, start)
        if self.upfit_kappa is not None:
            fit("upfit", config.upfit(self.upfit_kappa), main)
        return jobs


def _member(config: Config, number: int) -> Config:
    """Return the fit of member `number`: another seed, which draws the weights of its structures."""
    assert not isinstance(config, PluginConfig)  # they make no ensemble
    weights = config.weights.model_copy(update={"bootstrap": True})
    return config.model_copy(update={"seed": config.seed + number, "weights": weights})
