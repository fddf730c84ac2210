"""Fits that differ in a few fields, on one dataset: what each field is worth, in accuracy and speed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobflow import Flow, Maker, job

from gst_jobflow.base.errors import DataError, InputError, MissingProgramError
from gst_jobflow.base.settings import find_project
from gst_jobflow.base.strict import flattened
from gst_jobflow.datasets.members import load_members
from gst_jobflow.documents import Dataset, Member, Potential, Study
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.evaluation.speed import measure
from gst_jobflow.fitting.config import FitConfig, without_default_exponents
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.flows.robustness import RobustnessMaker
from gst_jobflow.flows.study import store_finished
from gst_jobflow.hyperopt.space import config_of
from gst_jobflow.store import Results
from gst_jobflow.store.context import job_results

MAX_FITS = 100
RANDOM_SHARE = "random_share"
"""Column of the share of random structures that a potential was shown."""
_ROUNDS = 3


@dataclass
class AblationMaker(Maker):
    """Make a fit for each combination of values and share of random structures, and a study with their table.

    Attributes
    ----------
    study_name
        Also the beginning of the names of potentials.
    config
        Settings that all fits share.
    vary
        Values by dotted name of a field, as `{"embedding.n_densities": [1, 2, 3]}`.
    robustness
        Hot melts that every potential runs, too; None: none.
    one_at_a_time
        Make no combinations: each fit differs from the first in one value, as in Table 1 of the reference paper.

    Examples
    --------
    >>> maker = AblationMaker(config=FitConfig.small(), vary={"embedding.n_densities": [1, 2, 3]})
    >>> submit(maker.make(dataset_id), find_project())  # doctest: +SKIP
    """

    name: str = "ablation"
    study_name: str = "ablation"
    config: FitConfig = field(default_factory=FitConfig.small)
    vary: dict[str, list[Any]] = field(default_factory=dict)
    robustness: RobustnessPlan | None = None
    one_at_a_time: bool = False

    def make(self, dataset_id: str, by_share: Sequence[tuple[float, str]] = ()) -> Flow:
        """Return the flow of all fits, their robustness if requested, and the job that collects them.

        Parameters
        ----------
        dataset_id
            Dataset of all fits, unless there are shares.
        by_share
            Shares of its random structures, each with the dataset that has it; see `datasets.change.fraction_datasets`.

        Raises
        ------
        InputError
            A field is unknown, a combination cannot be, or there are too many.
        """
        study_id, jobs, rows = uuid.uuid4().hex, [], []
        fits = self._fits(dataset_id, by_share)
        for values, config, dataset in fits:
            name = self._name(values, fits[0][0])
            fit = FitMaker(
                potential_name=name, config=config, tags=[f"ablation:{self.study_name}"], measure_speed=False
            )
            fitted = fit.make(dataset)
            fitted.name = f"fit {name}"
            jobs.append(fitted)
            rows.append({**values, "potential_id": fitted.output["potential_id"]})
        plan = {"dataset_id": dataset_id, "vary": self.vary, "config": self.config.model_dump(mode="json")}
        if by_share:
            plan["random_shares"] = {f"{share:g}": id for share, id in by_share}
        tested = []
        if self.robustness is not None:
            maker = RobustnessMaker(study_name=f"{self.study_name} robustness", plan=self.robustness)
            tested = [maker.make([row["potential_id"] for row in rows])]
        together = collect_ablation(study_id, self.study_name, plan, rows, tested[0].output if tested else None)
        return Flow([*jobs, *tested, together], output=together.output, name=f"ablation {self.study_name}")

    def _name(self, values: dict[str, Any], first: dict[str, Any]) -> str:
        """Return the name of a potential: all values or, of one at a time, the one that differs from the first fit."""
        shown = {path: value for path, value in values.items() if not self.one_at_a_time or value != first[path]}
        words = [
            f"{path.rpartition('.')[2]}{f'{value:g}' if isinstance(value, float) else value}"
            for path, value in shown.items()
        ]
        return "-".join([self.study_name, *(words or ["reference"])])

    def _fits(
        self, dataset_id: str, by_share: Sequence[tuple[float, str]]
    ) -> list[tuple[dict[str, Any], FitConfig, str]]:
        """Return the varied values, the settings and the dataset of each fit."""
        by_value = dict(by_share)
        axes = ({RANDOM_SHARE: list(by_value)} if by_value else {}) | self.vary
        chosen = values_of_fits(axes, self.one_at_a_time)
        if len(chosen) > MAX_FITS:
            raise InputError(f"{len(chosen)} fits are more than {MAX_FITS}", "vary fewer fields, values or shares")
        fits = [
            (
                values,
                config_of(self.config, {path: value for path, value in values.items() if path != RANDOM_SHARE}),
                by_value.get(values.get(RANDOM_SHARE, -1), dataset_id),
            )
            for values in chosen
        ]
        if len(fits) < 2:
            raise InputError("one fit compares nothing", "give --vary or --share a second value, or use gst submit fit")
        return fits


def values_of_fits(axes: Mapping[str, Sequence[Any]], one_at_a_time: bool = False) -> list[dict[str, Any]]:
    """Return the values of each fit by name of what varies; the first value on each axis is that of the first fit.

    With `one_at_a_time`, each further fit changes one of them; otherwise every combination is a fit. If nothing varies,
    that is an InputError.
    """
    if not axes or not all(axes.values()):
        raise InputError("nothing to vary", "for example --vary embedding.n_densities=1,2,3")
    if not one_at_a_time:
        return [dict(zip(axes, chosen, strict=True)) for chosen in product(*axes.values())]
    first = {name: values[0] for name, values in axes.items()}
    return [first, *({**first, name: value} for name, values in axes.items() for value in values[1:])]


@job(name="collect")
def collect_ablation(
    study_id: str,
    name: str,
    plan: dict[str, Any],
    rows: list[dict[str, Any]],
    robustness: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Check that the fits differ in what was varied only, time all potentials in turns, and store the study.

    Returns `study_id`, `table`, `page`; raises as `check_inputs`.
    """
    results = job_results()
    potentials = [results.get(Potential, row["potential_id"]) for row in rows]
    check_inputs(results, potentials, [*plan["vary"], *([RANDOM_SHARE] if "random_shares" in plan else [])])
    # measured here, where no fit runs beside them
    speeds = _speeds(results, potentials)
    melts = {row["potential_id"]: row for row in (robustness or {}).get("table", []) if row["composition"] == "all"}
    table = []
    for row, potential, speed in zip(rows, potentials, speeds, strict=True):
        numbers = _numbers(potential) | {"us_per_atom_step": speed}
        numbers["relative_speed"] = speeds[0] / speed if speed and speeds[0] else None
        if melt := melts.get(potential.id):
            numbers |= {"success": melt["fraction"], "success_low": melt["low"], "success_high": melt["high"]}
        table.append({key: value for key, value in row.items() if key != "potential_id"} | numbers)
    members = [Member(collection="potentials", id=row["potential_id"], role="fit") for row in rows]
    datasets = {plan["dataset_id"], *(each.dataset_id for each in potentials if each.dataset_id)}
    members += [Member(collection="datasets", id=id, role="dataset") for id in sorted(datasets)]
    if robustness is not None:
        members.append(Member(collection="studies", id=robustness["study_id"], role="robustness"))
    study = Study(id=study_id, name=name, kind="ablation", plan=plan, members=members, table=table)
    return store_finished(results, study)


def check_inputs(results: Results, potentials: Sequence[Potential], varied: Sequence[str]) -> None:
    """Refuse potentials that differ in more than what was varied (DataError): no table tells what a value is worth.

    Settings, test set, reference energies, weights, method, and, unless `RANDOM_SHARE` is varied, training set are
    compared.
    """
    data = {id: _data_inputs(results, id) for id in {potential.dataset_id or "" for potential in potentials}}
    # default exponents follow the number of densities
    settings = [dict(flattened(without_default_exponents(each.config))) for each in potentials]
    first, *others = [own | data[each.dataset_id or ""] for own, each in zip(settings, potentials, strict=True)]
    for potential, inputs in zip(potentials[1:], others, strict=True):
        differing = {key for key in first.keys() | inputs.keys() if first.get(key) != inputs.get(key)}
        if RANDOM_SHARE in varied:
            differing.discard("training set")
        if more := sorted(key for key in differing if not any(f"{key}.".startswith(f"{path}.") for path in varied)):
            raise DataError(
                f"potentials {potentials[0].name} and {potential.name} differ in {', '.join(more)}, too",
                "an ablation varies only what its table names: fit them again with equal settings",
            )


def _data_inputs(results: Results, dataset_id: str) -> dict[str, Any]:
    """Return everything of a dataset that a fit depends on."""
    dataset = results.get(Dataset, dataset_id)
    members = load_members(results, dataset)
    return {
        "reference energies": dataset.reference_energies_eV,
        "weights": dataset.config_type_weights,
        "method": dataset.fingerprint,
        "test set": sorted(members.label_ids[members.test].tolist()),
        "training set": sorted(members.label_ids[~members.test].tolist()),
    }


def _numbers(potential: Potential) -> dict[str, Any]:
    found: dict[str, Any] = {"functions": potential.n_functions, "parameters": potential.n_parameters}
    for split in ("train", "test"):
        if split in potential.rmse:
            errors = potential.rmse[split]
            found[f"{split}_energy_meV_per_atom"] = errors.energy_meV_per_atom
            found[f"{split}_force_meV_per_A"] = errors.force_meV_per_A
    found["converged"] = potential.converged
    found["fit_min"] = potential.cost.wall_s / 60 if potential.cost else None
    return found


def _speeds(results: Results, potentials: Sequence[Potential]) -> list[float | None]:
    """Return µs an atom and step of each potential: the fastest of `_ROUNDS` measurements in turns on one cell."""
    try:
        engine = lammps_engine(find_project().settings, n_ranks=1)
    except MissingProgramError:
        return [potential.speed.us_per_atom_step if potential.speed else None for potential in potentials]
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix="gst_speed_"))) for _ in potentials]
        files = [link_potential(results, each, folder) for each, folder in zip(potentials, folders, strict=True)]
        rounds = [[measure(engine, each) for each in files] for _ in range(_ROUNDS)]
    return [
        min((speed.us_per_atom_step for speed in found if speed), default=None) for found in zip(*rounds, strict=True)
    ]
