"""Amorphous cells beside reference frames: the same potential agrees, another does not; which frames are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gst_jobflow.analysis.reference_frames import ReferenceSource, find_reference_frames
from gst_jobflow.analysis.validation import ValidationPlan
from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets import DatasetSpec, create_dataset
from gst_jobflow.documents import Label, Study, Trajectory
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.flows.validation import ValidationMaker, quenched_frames
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate
from tests.cli.test_control import gst
from tests.dynamics.conftest import engine
from tests.flows.conftest import run
from tests.flows.test_robustness import hard, soft

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.base.settings import Project

__all__ = ["engine", "hard", "run", "soft"]
pytestmark = [pytest.mark.mongo, pytest.mark.lammps]

PLAN = ValidationPlan(
    compositions=["SbTe"], runs=3, melt_ps=0.5, melt_K=1500, quench_ps=0.5, hold_ps=2.0, frame_every_ps=0.1,
    bonds_A={"Sb-Sb": 3.4, "Sb-Te": 3.4, "Te-Te": 3.4}, seed=4,
)  # fmt: skip
SIZE = {"formula": "SbTe", "n_atoms": 40, "density_g_cm3": 4.0, "cell_shape": "cubic"}


def add_frames(
    results: Results, frames: Sequence[Atoms], group: str, method: str = "pbe", config_type: Any = "aimd"
) -> list[str]:
    """Store labelled frames of one run, as an import does."""
    ids = []
    for step, atoms in enumerate(frames, 1):
        source = {"builder": "aimd", "step": step}
        structure = structure_document(atoms, config_type, source=source, group=group)
        results.add(structure)
        forces = np.zeros((len(atoms), 3))
        results.put_labels([Label.of(structure, method, {}, energy_eV=-1.0, forces_eV_A=forces, wall_s=0)])
        ids.append(structure.id)
    return ids


@pytest.fixture
def references(results: Results, run: Callable[..., Any], hard: str) -> list[str]:
    """Frames of three runs of the hard potential from other starts, stored as if from first principles."""
    ids: list[str] = []
    for seed in (101, 102, 103):
        start = HardSphereSpec(**SIZE, seed=seed)  # type: ignore[arg-type]
        maker = MeltQuenchMaker(start=start, stages=PLAN.stages(), seed=seed, output=PLAN.output())
        made = run(maker.make(hard))["melt-quench"]
        ids += add_frames(results, quenched_frames(results, PLAN, made["trajectory_id"]), f"run {seed}")
    return ids


def test_the_same_potential_agrees_within_errors_and_another_does_not(
    results: Results, run: Callable[..., Any], references: list[str], hard: str, soft: str
) -> None:
    found = find_reference_frames(results, PLAN.references, PLAN.compositions)
    assert found["SbTe"].n_frames == len(references) == 60 and len(found["SbTe"].runs) == 3
    compared = run(ValidationMaker(study_name="both", plan=PLAN).make([hard, soft], found))["compare"]
    study = results.get(Study, compared["study_id"])
    assert (study.kind, study.state) == ("validation", "finished")
    assert sum(member.role == "run" for member in study.members) == 6
    assert {member.id for member in study.members if member.role == "reference"} == set(references)
    worst: dict[str, float] = {}
    for row in study.table:
        assert row["errors_between_runs"] and row["frames"] == 60
        if row["quantity"] == "rdf.Sb-Te":
            worst[row["potential"]] = row["difference"] / row["error"]
    assert worst["hard"] < 2.0 < 3.0 < worst["soft"]
    starts: dict[tuple[str | None, int], list[str | None]] = {}
    quenched = [results.get(Trajectory, member.id) for member in study.members if member.role == "run"]
    for each in quenched:
        starts.setdefault((each.start_structure_id, each.seed), []).append(each.potential_id)
    assert all(sorted(map(str, ids)) == sorted([hard, soft]) for ids in starts.values()), "starts and seeds are shared"
    assert len(starts) == 3
    means = [
        sb_te_neighbours(quenched_frames(results, PLAN, each.id)) for each in quenched if each.potential_id == soft
    ]
    (row,) = [row for row in study.table if (row["quantity"], row["potential"]) == ("coordination_Sb_Te", "soft")]
    assert row["value"] == pytest.approx(np.mean(means), rel=1e-6)
    assert row["value_error"] == pytest.approx(np.std(means, ddof=1) / np.sqrt(3), rel=1e-6)
    assert row["error"] == pytest.approx(np.hypot(row["reference_error"], row["value_error"]))
    assert row["difference"] == pytest.approx(row["value"] - row["reference"])
    page = Path(compared["page"]).read_text()
    assert "g(r) of Sb-Te" in page and page.count("data:image/png") >= 2


def sb_te_neighbours(frames: Sequence[Atoms]) -> float:
    """Mean number of Te within 3.4 Å of a Sb, from all distances."""
    counts = []
    for atoms in frames:
        away = atoms.get_all_distances(mic=True)
        sb, te = atoms.symbols == "Sb", atoms.symbols == "Te"
        counts.append((away[np.ix_(sb, te)] < 3.4).sum() / sb.sum())
    return float(np.mean(counts))


def test_reference_frames_that_do_not_fit_are_refused(
    project: Project, results: Results, hard: str, tmp_path: Path
) -> None:

    def frames(number: int, formula: str = "SbTe", first: int = 0) -> list[Atoms]:
        spec = HardSphereSpec(**{**SIZE, "formula": formula})
        return [generate(spec, first + index) for index in range(number)]

    def refused(words: str, *options: str) -> None:
        with pytest.raises(InputError, match=words):
            gst(project, "submit", "validate", "hard", *options)

    refused("no labelled reference frames")
    add_frames(results, frames(3), "a")
    refused("no labelled reference frames of Sb2Te3", "--compositions", "Sb2Te3")
    refused("has no Ge", "--compositions", "GeTe")
    refused("is not a whole number", "--quench-ps", "0.0005")
    refused("cannot|whole|atoms", "--atoms", "41")
    add_frames(results, frames(3, first=10), "b", method="scan")
    refused("of 2 methods: pbe, scan")
    refused("no reference frame has a label of method r2scan", "--fingerprint", "r2scan")
    gst(project, "submit", "validate", "hard", "--fingerprint", "pb", "--runs", "2")
    (study_job,) = results.database["fireworks"].find({"name": "compare"})
    reference = study_job["spec"]["_tasks"][0]["job"]["function_args"][3][0]
    assert sum(map(len, reference["runs"])) == 3 and reference["fingerprint"] == "pbe"
    assert results.database["fireworks"].count_documents({}) == 3


def test_dynamics_with_a_potential_is_no_reference(
    project: Project, results: Results, run: Callable[..., Any], hard: str
) -> None:
    start = HardSphereSpec(**SIZE, seed=7)  # type: ignore[arg-type]
    run(MeltQuenchMaker(start=start, stages=PLAN.stages(), output=PLAN.output()).make(hard))
    with pytest.raises(InputError, match="not from first principles"):
        find_reference_frames(results, ReferenceSource(trajectories=["melt_quench"]), [])


def test_frames_of_a_file_keep_their_order_even_if_each_is_its_own_group(results: Results) -> None:
    atoms = [generate(HardSphereSpec(**SIZE), seed) for seed in range(8)]  # type: ignore[arg-type]
    ids = []
    for index, each in enumerate(atoms):
        structure = structure_document(each, "aimd", source={"builder": "import", "file": "run.xyz", "index": index})
        results.add(structure)
        forces = np.zeros((len(each), 3))
        results.put_labels([Label.of(structure, "pbe", {}, energy_eV=-1.0, forces_eV_A=forces, wall_s=0)])
        ids.append(structure.id)
    found = find_reference_frames(results, ReferenceSource(), ["SbTe"])["SbTe"]
    assert [id for run in found.runs for id in run] == ids != sorted(ids)
    assert found.thinned(3).n_frames == 3, "also where each frame is a run of its own"


def test_of_a_dataset_its_frames_of_dynamics_are_the_reference(results: Results) -> None:
    frames = [generate(HardSphereSpec(**SIZE), seed) for seed in range(12)]  # type: ignore[arg-type]
    ids = add_frames(results, frames[:6], "run") + add_frames(results, frames[6:8], "other run")
    for frame in frames[8:]:
        add_frames(results, [frame], f"crystal of {frame.cell.volume}{frame.positions[0, 0]}", config_type="crystal")
    energies = DatasetSpec(reference_energies={"Sb": 0.0, "Te": 0.0})
    create_dataset(results, "all", "pbe", energies, where=[])
    found = find_reference_frames(results, ReferenceSource(datasets=["all"]), ["SbTe"])["SbTe"]
    assert sorted(id for run in found.runs for id in run) == sorted(ids) and sorted(map(len, found.runs)) == [2, 6]
    create_dataset(results, "crystals", "pbe", energies, where=["config_type=crystal"])
    with pytest.raises(InputError, match="no frames of config type aimd"):
        find_reference_frames(results, ReferenceSource(datasets=["crystals"]), [])
