"""Fits that differ in a few fields, on one dataset: what each field is worth, in accuracy and speed."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Maker, job

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Member, Potential, Study, now
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.maker import link_potential
from gst_jobflow.evaluation.speed import measure
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.hyperopt.space import config_of
from gst_jobflow.store.context import job_results

if TYPE_CHECKING:
    from gst_jobflow.documents import Speed
    from gst_jobflow.store import Results

MAX_FITS = 100


@dataclass
class AblationMaker(Maker):
    """A fit for each combination of values, and a study with their table.

    Attributes
    ----------
    study_name
        Names of the potentials begin with it.
    config
        What all fits share.
    vary
        Values by dotted name of a field, as `{"embedding.n_densities": [1, 2, 3]}`.
    """

    name: str = "ablation"
    study_name: str = "ablation"
    config: FitConfig = field(default_factory=FitConfig.small)
    vary: dict[str, list[Any]] = field(default_factory=dict)

    def make(self, dataset_id: str) -> Flow:
        """Flow of all fits and of the job that collects them.

        Raises
        ------
        InputError
            A field is unknown or a combination cannot be.
        """
        study_id, tag = uuid.uuid4().hex, f"ablation:{self.study_name}"
        jobs, rows = [], []
        for values, config in combinations(self.config, self.vary):
            words = "-".join(f"{path.rpartition('.')[2]}{value}" for path, value in values.items())
            name = f"{self.study_name}-{words}"
            fit = FitMaker(potential_name=name, config=config, tags=[tag], measure_speed=False)
            fitted = fit.make(dataset_id)
            fitted.name = f"fit {name}"
            jobs.append(fitted)
            rows.append({**values, "potential_id": fitted.output["potential_id"]})
        plan = {"dataset_id": dataset_id, "vary": self.vary, "config": self.config.model_dump(mode="json")}
        together = collect_ablation(study_id, self.study_name, plan, rows)
        return Flow([*jobs, together], output=together.output, name=f"ablation {self.study_name}")


def combinations(config: FitConfig, vary: Mapping[str, Sequence[Any]]) -> list[tuple[dict[str, Any], FitConfig]]:
    """Each combination of values, and the fit that it makes.

    Raises
    ------
    InputError
        There are none or too many, a field is unknown, or a combination cannot be.
    """
    if not vary or not all(vary.values()):
        raise InputError("nothing to vary", "for example --vary embedding.n_densities=1,2,3")
    made = []
    for chosen in product(*vary.values()):
        values = dict(zip(vary, chosen, strict=True))
        made.append((values, config_of(config, values)))
    if len(made) > MAX_FITS:
        raise InputError(f"{len(made)} fits are more than {MAX_FITS}", "vary fewer fields or values")
    return made


@job(name="collect")
def collect_ablation(study_id: str, name: str, plan: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Time all potentials one after the other, and store the study.

    Returns
    -------
    dict
        `study_id`, `table`.
    """
    results = job_results()
    table = []
    for row in rows:
        potential = results.get(Potential, row["potential_id"])
        values = {key: value for key, value in row.items() if key != "potential_id"}
        table.append({**values, **_numbers(results, potential)})
    members = [Member(collection="potentials", id=row["potential_id"], role="fit") for row in rows]
    members.append(Member(collection="datasets", id=plan["dataset_id"], role="dataset"))
    study = Study(
        id=study_id, name=name, kind="ablation", state="finished", plan=plan, members=members, table=table,
        finished_at=now(),
    )  # fmt: skip
    results.add(study)
    return {"study_id": study.id, "table": table}


def _numbers(results: Results, potential: Potential) -> dict[str, Any]:
    found: dict[str, Any] = {"functions": potential.n_functions, "parameters": potential.n_parameters}
    for split in ("train", "test"):
        if split in potential.rmse:
            errors = potential.rmse[split]
            found[f"{split}_energy_meV_per_atom"] = errors.energy_meV_per_atom
            found[f"{split}_force_meV_per_A"] = errors.force_meV_per_A
    speed = _speed(results, potential)
    found["us_per_atom_step"] = speed.us_per_atom_step if speed else None
    found["converged"] = potential.converged
    found["fit_min"] = potential.cost.wall_s / 60 if potential.cost else None
    return found


def _speed(results: Results, potential: Potential) -> Speed | None:
    """Measured here, one potential at a time: fits that run beside each other would disturb it."""
    try:
        engine = lammps_engine(find_project().settings, n_ranks=1)
    except MissingProgramError:
        return potential.speed
    with tempfile.TemporaryDirectory(prefix="gst_speed_") as folder:
        return measure(engine, link_potential(results, potential, Path(folder)))
