"""A whole search by its jobs, in a real database; its fits are a formula of their configuration."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.errors import GstError, InputError, MissingProgramError, RunError
from gst_jobflow.documents import ArtifactRef, Dataset, Potential, PotentialArtifacts, Rmse, Study, derive_id
from gst_jobflow.fitting.config import FitConfig
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.flows import search as jobs
from gst_jobflow.flows.search import HyperoptMaker, reopen
from gst_jobflow.hyperopt import table
from gst_jobflow.hyperopt.plan import SearchPlan
from gst_jobflow.store import Results, ingest
from gst_jobflow.store.context import job_results, job_uuid

pytestmark = pytest.mark.mongo

FIELDS = {"loss.kappa": {"low": 0.1, "high": 0.9}, "radial.rcut_A": {"low": 4.0, "high": 8.0}}
NO_FILE = ArtifactRef(sha256="0" * 64, size_bytes=1, name="potential.yaml")


def plan(**changes: Any) -> SearchPlan:
    return SearchPlan(**{"space": {"fields": FIELDS}, "n_fits": 6, "n_start": 3, **changes})


def errors_of(config: FitConfig) -> tuple[float, float]:
    """Energy (meV/atom) and force (meV/Å) errors with a valley at kappa 0.4 and 6 Å."""
    bowl = 8 * (config.loss.kappa - 0.4) ** 2 + (config.radial.rcut_A - 6.0) ** 2 / 4
    return 5 * math.exp(bowl), 80 * math.exp(bowl)


@pytest.fixture
def dataset(results: Results) -> Dataset:
    """A dataset's document; the formula does not read its members."""
    found = Dataset(
        _id="data", name="data", fingerprint="formula", elements=["Ge", "Sb", "Te"], n_members=10, n_atoms=100,
        counts={"train": 8, "test": 2}, counts_by_config_type={}, reference_energies_eV={"Ge": 0, "Sb": 0, "Te": 0},
        reference_energies_source="made up", split={"seed": 1}, members=NO_FILE,
    )  # fmt: skip
    results.add(found)
    return found


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[FitConfig]:
    """Replace pacemaker's fit by the formula; the configurations that were fitted, in their order."""
    fitted: list[FitConfig] = []

    def fit(maker: FitMaker, dataset_id: str, parent_id: str | None = None) -> Potential:
        config = maker.config
        fitted.append(config)
        if config.radial.rcut_A > 8.2:
            raise RunError("the loss is not finite", "read its output", "crash")
        energy, force = errors_of(config)
        content = config.model_dump(mode="json")
        potential = Potential(
            _id=derive_id("potential", content), name=maker.potential_name, dataset_id=dataset_id,
            elements=list(config.elements), n_densities=3, n_functions=100, cutoff_A=config.radial.rcut_A,
            rmse={"test": Rmse(energy_meV_per_atom=energy, force_meV_per_A=force)},
            artifacts=PotentialArtifacts(yaml=NO_FILE, yace=NO_FILE), config=content, job_uuid=job_uuid(),
        )  # fmt: skip
        job_results().add(potential)
        return potential

    monkeypatch.setattr(jobs, "fit_potential", fit)
    return fitted


def stored(results: Results, dataset: Dataset, **changes: Any) -> HyperoptMaker:
    maker = HyperoptMaker(plan(**changes), name="valley")
    results.add(maker.study(dataset.id))
    return maker


def test_a_search_runs_all_fits_and_improves_on_its_start(
    results: Results, dataset: Dataset, fits: list[FitConfig], run: Callable[..., None]
) -> None:
    maker = stored(results, dataset, n_fits=8)
    run(maker.make())
    study = results.get(Study, maker.study_id)
    assert study.state == "finished"
    assert [row["state"] for row in study.table] == ["finished"] * 8
    assert len({tuple(row["values"]) for row in study.table}) == len(fits) == 8
    best = study.outcome["best_loss"]
    assert best < min(row["loss"] for row in study.table[:3])
    assert study.outcome["best_potential_id"] in {member.id for member in study.members}
    assert set(study.outcome["surrogate"]) >= {"length_scales", "seed", "box_cox_lambda"}
    assert study.report is not None


def test_fits_at_once_give_the_same_points_whatever_order_they_end_in(
    results: Results, dataset: Dataset, fits: list[FitConfig], run: Callable[..., None]
) -> None:
    maker = stored(results, dataset, at_once=3)
    run(maker.make())
    rows = results.get(Study, maker.study_id).table
    for trial, row in enumerate(rows):
        # by the rule alone, from the finished table
        point = table.propose(maker.plan, rows, trial)
        assert [point[name] for name in maker.plan.space.names] == row["values"]


def test_a_fit_that_fails_is_a_row_and_the_search_goes_on(
    results: Results, dataset: Dataset, fits: list[FitConfig], run: Callable[..., None]
) -> None:
    wide = {"fields": {"radial.rcut_A": {"low": 7.0, "high": 9.5}}}
    maker = stored(results, dataset, space=wide, n_fits=6)
    run(maker.make())
    study = results.get(Study, maker.study_id)
    failed = [row for row in study.table if row["state"] == "failed"]
    assert failed and all(row["failure_class"] == "crash" for row in failed)
    assert study.state == "finished" and study.outcome["n_failed"] == len(failed)


@pytest.mark.parametrize(
    "error",
    [
        MissingProgramError("pacemaker is not installed", "run scripts/install_pacemaker"),
        RunError("pacemaker failed: OSError: [Errno 28] No space left on device", "", "crash"),
    ],
)
def test_a_fault_of_the_machine_stops_the_search_instead_of_failing_every_fit(
    results: Results,
    dataset: Dataset,
    fits: list[FitConfig],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    error: GstError,
) -> None:
    def fit(*_: Any) -> None:
        raise error

    monkeypatch.setattr(jobs, "fit_potential", fit)
    maker = stored(results, dataset)
    with pytest.raises(type(error)):
        run(maker.make())
    assert results.get(Study, maker.study_id).table[0]["state"] == "running"


def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    results: Results,
    dataset: Dataset,
    fits: list[FitConfig],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = stored(results, dataset), stored(results, dataset)
    run(whole.make())

    fit = jobs._fit

    def dies(results: Results, study: Study, trial: int) -> Any:
        if trial == 4:
            raise RunError("the worker died", "", "killed")
        return fit(results, study, trial)

    monkeypatch.setattr(jobs, "_fit", dies)
    with pytest.raises(RunError):
        run(cut.make())
    monkeypatch.setattr(jobs, "_fit", fit)
    # what recovery does: the job that was cut off runs again, and then those that waited for it
    run(cut.make(done=range(4)))
    points = [[row["values"] for row in results.get(Study, maker.study_id).table] for maker in (whole, cut)]
    assert points[0] == points[1]


def test_a_search_that_ended_goes_on_as_if_it_had_been_longer(
    results: Results, dataset: Dataset, fits: list[FitConfig], run: Callable[..., None]
) -> None:
    long, short = stored(results, dataset, n_fits=6), stored(results, dataset, n_fits=4)
    run(long.make())
    run(short.make())
    study = results.get(Study, short.study_id)
    with pytest.raises(InputError, match="has done 4 fits"):
        reopen(results, study, 4)
    short.plan = reopen(results, study, 6)
    before = len(fits)
    run(short.make(done=range(4)))
    assert len(fits) == before + 2
    tables = [results.get(Study, maker.study_id).table for maker in (long, short)]
    assert [row["values"] for row in tables[0]] == [row["values"] for row in tables[1]]
    assert results.get(Study, short.study_id).state == "finished"


@pytest.mark.parametrize(
    ("ending", "reason"), [({"target": 50.0}, "target"), ({"patience": 2, "min_progress": 0.9}, "no progress")]
)
def test_a_search_ends_early(
    results: Results,
    dataset: Dataset,
    fits: list[FitConfig],
    run: Callable[..., None],
    ending: dict[str, Any],
    reason: str,
) -> None:
    maker = stored(results, dataset, n_fits=30, ending=ending)
    run(maker.make())
    study = results.get(Study, maker.study_id)
    assert study.state == "finished" and study.outcome["ended_by"] == reason
    assert study.table[-1]["state"] == "left out" and len(fits) < 12


def test_a_search_that_ended_early_can_be_resumed(
    results: Results, dataset: Dataset, fits: list[FitConfig], run: Callable[..., None], tmp_path: Path
) -> None:
    maker = stored(results, dataset, n_fits=8, ending={"target": 1e6})
    run(maker.make())
    study = results.get(Study, maker.study_id)
    done = [row["trial"] for row in study.table if row["state"] == "finished"]
    assert len(done) < 8
    maker.plan = reopen(results, study, 8)
    # what the jobs of its first end left on disk is put in again before theirs run again, and by gst ingest
    assert ingest(results, [tmp_path / "jobs"])["entries"]
    study = results.get(Study, maker.study_id)
    assert study.state == "running" and "left out" not in {row["state"] for row in study.table}
    run(maker.make(done=done))
    study = results.get(Study, maker.study_id)
    assert [row["state"] for row in study.table] == ["finished"] * 8
    assert study.outcome["ended_by"] == "number of fits"
