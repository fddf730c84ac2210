"""`gst structures sample`: frames of trajectories that are independent, as structures."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.documents import Cycle, Potential, Structure, Trajectory
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import Anneal, Quench, Relax
from gst_jobflow.flows.aimd import AimdMaker
from gst_jobflow.selection.course import timed_stages
from gst_jobflow.selection.sample import Request, apart, mean_displacement_A, sample, shares
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms, structure_document
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from scripts._tiny_potential import soft_crystal
from tests.dynamics.test_maker import stored
from tests.flows.test_aimd import SPEC, backend, job_of, program, stored_start  # noqa: F401
from tests.selection.conftest import Gst
from tests.selection.test_command import dump
from tests.selection.test_decorrelation import first_order

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.dynamics.deck import PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine

FRAME_STEPS = 20


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 200))
def test_a_number_is_dealt_out_evenly(counts, number):
    dealt = shares(counts, number)
    assert sum(dealt) == min(number, sum(counts))
    assert all(0 <= one <= count for one, count in zip(dealt, counts, strict=True))
    # who has less than another by more than one has no more to give
    assert all(one == count or max(dealt) - one <= 1 for one, count in zip(dealt, counts, strict=True))


@given(st.lists(st.floats(0, 100), max_size=60), st.floats(0.01, 20), st.floats(-10, 50))
def test_chosen_times_are_apart_without_unneeded_gaps(times, spacing, last):
    times = sorted(times)
    chosen = [times[place] for place in apart(times, spacing, last)]
    assert all(later - sooner >= spacing - 1e-5 for sooner, later in zip([last, *chosen], chosen, strict=False))
    for time in set(times) - set(chosen):
        sooner = max([last, *(one for one in chosen if one <= time)])
        assert time - sooner < spacing


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_drift_and_cell_borders_are_no_displacement(seed, size):
    generator = np.random.default_rng(seed)
    before = soft_crystal((2, 2, 2))
    moves = generator.normal(size=(len(before), 3)) * size / 4
    moves -= moves.mean(axis=0)
    after = before.copy()
    after.positions += moves + generator.uniform(-1, 1, 3)
    after.wrap()
    assert mean_displacement_A(before, after) == pytest.approx(np.linalg.norm(moves, axis=1).mean(), rel=1e-6)


def trajectory(**fields: Any) -> Trajectory:
    known = {
        "_id": "run", "name": "run", "protocol": "melt_quench", "potential_id": "tiny", "formula": "SbTe",
        "n_atoms": 8, "state": "finished", "timestep_fs": 1.0, "n_frames": 100, "seed": 1, "stages": [],
    }  # fmt: skip
    return Trajectory(**{**known, **fields})


def test_stages_are_those_that_took_time_and_were_reached():
    stages = [{"kind": "relax"}, {"kind": "anneal", "duration_ps": 2.0}, {"kind": "quench", "duration_ps": 3.0}]
    found = timed_stages(trajectory(stages=stages, n_steps=4000, duration_ps=4.0))
    assert [(one.number, one.kind, one.begin_ps, one.end_ps) for one in found] == [
        (2, "anneal", 0.0, 2.0),
        (3, "quench", 2.0, 4.0),
    ]
    (whole,) = timed_stages(trajectory(n_steps=100, duration_ps=0.1))
    assert (whole.begin_ps, whole.end_ps, whole.is_constant) == (0.0, 0.1, False)


class Made:
    """A trajectory in three stages of 4 ps: a liquid at 1,000 K, a ramp to 300 K, a solid there; a row every 4 fs.

    The energy is correlated over g = 19 rows in the liquid and in the ramp, over 3 in the solid, plus what its heat
    capacity makes of the ramp. In the liquid and the ramp atoms walk, in the solid they do not. The first 0.4 ps are no
    equilibrium.
    """

    ps = 4.0
    rows = 1000
    spacing_ps = 19 * 0.004

    def __init__(self, results: Results, folder: Path, **fields: Any) -> None:
        generator = np.random.default_rng(5)
        start = structure_document(soft_crystal((1, 1, 1)), "hard_sphere", group="a group")
        results.add(start)
        self.start = start
        self.frames = self._walk(generator)
        frames = results.artifacts.put(dump(folder / "dump_1.lammpstrj.gz", self.frames))
        potential = Potential(
            _id="tiny", name="tiny", elements=["Sb", "Te"], n_densities=1, n_functions=4, cutoff_A=5.0,
            artifacts={"yace": frames},  # nobody reads it: only the elements are asked for
        )  # fmt: skip
        results.add(potential)
        kelvin = np.concatenate([np.full(1000, 1000.0), np.linspace(1000, 300, 1000), np.full(1000, 300.0)])
        energy = np.concatenate([first_order(0.9, 2000, 1), first_order(0.5, 1000, 2)]) + 0.1 * kelvin
        energy[:100] += 40 * np.exp(-np.arange(100) / 20)
        stages = [
            {"kind": "anneal", "temperature_K": 1000, "duration_ps": 4.0},
            {"kind": "quench", "start_K": 1000, "end_K": 300, "duration_ps": 4.0},
            {"kind": "anneal", "temperature_K": 300, "duration_ps": 4.0},
        ]
        self.document = trajectory(
            stages=stages, n_steps=12_000, duration_ps=12.0, start_structure_id=start.id,
            thermo={
                "time_ps": (0.004 * np.arange(1, 3001)).tolist(),
                "potential_eV": energy.tolist(),
                "temperature_K": (kelvin + generator.normal(size=3000, scale=30)).tolist(),
            },
            files=[frames],
            **fields,
        )  # fmt: skip
        results.add(self.document)

    def _walk(self, generator: np.random.Generator) -> dict[int, Atoms]:
        atoms, frames = soft_crystal((1, 1, 1)), {}
        for step in range(0, 12_001, FRAME_STEPS):
            if step <= 8000:
                atoms.positions += generator.normal(size=(8, 3), scale=0.05)
                frames[step] = atoms.copy()
            else:
                frames[step] = atoms.copy()
                frames[step].positions += generator.normal(size=(8, 3), scale=0.15)
            frames[step].wrap()
        return frames


@pytest.fixture
def made(project: Project, tmp_path: Path) -> Made:
    return Made(Results.open(project), tmp_path)


@pytest.mark.mongo
def test_frames_are_as_far_apart_as_the_energy_is_correlated(gst: Gst, made: Made) -> None:
    code, out, err = gst("sample", "--from", "run", "--dry-run", "--json")
    assert code == 0, err
    told = json.loads(out)
    liquid, ramp, solid = told["stages"]
    # 900 rows are 47 times the liquid's correlation, 1,000 are 333 times the solid's
    assert liquid["decorrelation_ps"] == pytest.approx(made.spacing_ps, rel=0.5)
    assert ramp["decorrelation_ps"] == pytest.approx(made.spacing_ps, rel=0.5)
    assert solid["decorrelation_ps"] == pytest.approx(3 * 0.004, rel=0.3)
    assert 0.2 < liquid["equilibrated_from_ps"] < 1.5
    for stage in told["stages"]:
        times = [row["time_ps"] for row in told["structures"] if row["stage"] == stage["stage"]]
        assert times[0] >= stage["equilibrated_from_ps"] - 1e-6
        # the next frame that is stored, and none is left out
        gap = np.ceil(stage["decorrelation_ps"] / 0.02 - 1e-6) * 0.02
        np.testing.assert_allclose(np.diff(times), gap, atol=1e-6)
    assert [stage["is_solid"] for stage in told["stages"]] == [False, False, True]
    # a Maxwell distribution of two times 0.15² along each axis
    moved = [row["moved_A"] for row in told["structures"] if row["stage"] == 3][1:]
    assert np.mean(moved) == pytest.approx(np.sqrt(8 / np.pi) * np.sqrt(2) * 0.15, rel=0.1)


@pytest.mark.mongo
def test_sampled_frames_are_stored_once_like_selected_ones(gst: Gst, project: Project, made: Made) -> None:
    words = ("sample", "--from", "run", "-n", "9", "--tag", "next", "--iteration", "3")
    assert gst(*words, "--dry-run")[0] == 0
    results = Results.open(project)
    assert results.database["structures"].count_documents({}) == 1
    code, out, err = gst(*words)
    assert code == 0 and "9 new, 0 known before" in err and "a solid that vibrates" in err
    documents = list(results.get_many(Structure, out.split()))
    assert len(documents) == 9 and {each.group for each in documents} == {"a group"}
    assert all(each.parents == [made.start.id] and each.tags == ["next"] for each in documents)
    assert {(each.iteration, each.config_type) for each in documents} == {(3, "hard_sphere")}
    assert [each.source["stage"] for each in documents] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    one = documents[4]
    assert one.source["builder"] == "sample" and one.source["potential_id"] == "tiny"
    assert one.source["trajectory_id"] == "run" and one.source["time_ps"] == one.source["step"] * 1e-3
    # in the middle of the ramp
    assert one.source["temperature_K"] == pytest.approx(1000 - 700 * (one.source["time_ps"] - 4) / 4, abs=10)
    frame = made.frames[one.source["step"]]
    np.testing.assert_allclose(load_atoms(results, one.id).positions, frame.positions, atol=1e-10)
    code, out, err = gst(*words)
    assert code == 0 and "0 new, 9 known before" in err and set(out.split()) == {each.id for each in documents}


@pytest.mark.mongo
def test_limits_of_time_and_temperature_and_a_spacing_of_ones_own(gst: Gst, made: Made) -> None:
    def rows(*words: str) -> list[dict[str, Any]]:
        code, out, err = gst("sample", "--from", "run", "--dry-run", "--json", *words)
        assert code == 0, err
        return json.loads(out)["structures"]

    found = rows("--every-ps", "0.5")
    assert np.diff([row["time_ps"] for row in found]).min() >= 0.5 - 1e-6
    # nothing of the start is left out where the spacing is given
    assert found[0]["time_ps"] == pytest.approx(0.02) and len(found) == 24
    assert rows("--every-ps", "0.5", "--after-ps", "6")[0]["time_ps"] >= 6
    warm = rows("--temperature-range", "500:800")
    assert warm and all(500 <= row["temperature_K"] <= 800 and row["stage"] == 2 for row in warm)
    # 0.5 ps of a stage tell nothing of whether it is a solid
    assert "vibrates" not in gst("sample", "--from", "run", "--dry-run", "--after-ps", "11.5")[2]
    code, _, err = gst("sample", "--from", "run", "--dry-run", "--every-ps", "0.02")
    assert code == 0 and "frames are closer than that" in err
    err = gst("sample", "--from", "run", "--dry-run", "--every-ps", "0.01", "--after-ps", "4.01")[2]
    assert "stage 1 (anneal): no frame within the limits" in err and "stored every 0.02 ps" in err


@pytest.mark.mongo
def test_an_operation_of_a_cycle_is_chosen_by_its_number(gst: Gst, project: Project, made: Made) -> None:
    steps = {"stages": [], "duration_ps": 1.0}
    operations = [{"kind": "READ", **steps}, {"kind": "RESET", "trajectory_id": "run", **steps}]
    Results.open(project).add(
        Cycle(
            _id="c1", name="loop", device="cross-point", formula="SbTe", n_atoms=8, groups={}, potential_id="tiny",
            structure_id=made.start.id, operations=operations, seed=1,
        )
    )  # fmt: skip
    for which in ("loop:2", "c1:2", "loop"):
        code, out, err = gst("sample", "--from", which, "--from", "run", "-n", "3", "--dry-run")
        assert code == 0 and len(out.split()) == 3, err
    for which, text in (("loop:3", "no operation '3'"), ("loop:x", "no operation 'x'"), ("loop:1", "has not run")):
        code, _, err = gst("sample", "--from", which)
        assert code == 1 and text in err and "Traceback" not in err


@pytest.mark.mongo
@pytest.mark.parametrize(
    ("fields", "words", "text"),
    [
        ({}, ["--every-ps", "1", "--decorrelated"], "exclude each other"),
        ({}, ["--temperature-range", "900:300"], "the range is empty"),
        ({}, ["--temperature-range", "hot"], "not numbers"),
        ({}, ["--temperature-range", "5000:9000"], "no frame is within"),
        ({}, ["--after-ps", "100"], "no frame is within"),
        ({}, ["--from", "walk"], "no trajectory or cycle 'walk'"),
        ({}, ["--config-type", "melt"], "melt_quench"),
        ({"n_atoms": 5000}, [], "has 5000 atoms: whole cells are taken up to 300"),
        ({"state": "failed", "failure_class": "blow_up"}, [], "ended as blow_up"),
    ],
)
def test_impossible_samples_are_one_line(
    gst: Gst, project: Project, tmp_path: Path, fields: dict[str, Any], words: list[str], text: str
) -> None:
    Made(Results.open(project), tmp_path, **fields)
    code, _, err = gst("sample", "--from", "run", *words)
    assert code == 1 and text in err and "Traceback" not in err, err


@pytest.mark.mongo
def test_a_constant_energy_is_reported_and_needs_a_spacing(gst: Gst, project: Project, made: Made) -> None:
    thermo = {**made.document.thermo, "potential_eV": [-300.0] * 3000}
    Results.open(project).add(made.document.model_copy(update={"id": "still", "thermo": thermo}))
    code, _, err = gst("sample", "--from", "still")
    assert code == 1 and "the series is constant" in err and "--every-ps" in err and "nan" not in err.lower()
    code, out, err = gst("sample", "--from", "still", "--every-ps", "2", "--dry-run")
    assert code == 0 and len(out.split()) == 6 and "the series is constant" in err
    # nothing was measured at all
    Results.open(project).add(made.document.model_copy(update={"id": "mute", "thermo": {}}))
    assert "0 values are too few" in gst("sample", "--from", "mute")[2]
    assert gst("sample", "--from", "mute", "--every-ps", "2", "--dry-run")[0] == 0


@pytest.mark.mongo
def test_the_frozen_barrier_of_a_device_does_not_slow_its_atoms_down(
    project: Project, made: Made, tmp_path: Path
) -> None:
    results = Results.open(project)
    frames = {step: atoms.copy() for step, atoms in made.frames.items()}
    first = frames[min(frames)]
    for atoms in frames.values():
        atoms.positions[4:] = first.positions[4:]
    groups = {"mobile": [1, 4], "barrier": [5, 8]}
    results.add(Cycle(_id="c1", name="cell", device="cross-point", formula="SbTe", n_atoms=8, groups=groups,
                      potential_id="tiny", structure_id=made.start.id, operations=[], seed=1))  # fmt: skip
    file = results.artifacts.put(dump(tmp_path / "frozen" / "dump_1.lammpstrj.gz", frames))
    changes = {"id": "frozen", "name": "frozen", "cycle_id": "c1", "files": [file]}
    results.add(made.document.model_copy(update=changes))
    liquid, *_ = sample(results, [results.get(Trajectory, "frozen")], Request(every_ps=1.0))
    assert len(liquid.picks) > 1
    for before, after in pairwise(liquid.picks):
        one, other = (frames[pick.found.step or 0][:4] for pick in (before, after))
        assert after.moved_A == pytest.approx(mean_displacement_A(one, other))
        assert after.moved_A > 1.5 * mean_displacement_A(before.found.atoms, after.found.atoms)


@pytest.mark.mongo
@pytest.mark.lammps
def test_a_melt_quench_of_lammps(
    gst: Gst,
    run: Callable[..., dict[str, Any]],
    results: Results,
    engine: LammpsEngine,
    tiny_potential: PotentialFiles,
) -> None:
    start = HardSphereSpec(formula="Sb1Te1", n_atoms=32, density_g_cm3=6.0, min_distance_A=2.4, seed=2)
    stages = [
        Relax(max_iterations=5),
        Anneal(temperature_K=2000, duration_ps=2.0),
        Quench(start_K=2000, end_K=300, duration_ps=2.0),
    ]
    output = Output(series_every=2, profile_every=0, dump_every=40)
    maker = MeltQuenchMaker(start=start, stages=stages, output=output)
    (told,) = run(maker.make(stored(results, tiny_potential))).values()
    code, out, err = gst("sample", "--from", told["trajectory_id"], "--tag", "mq", "--json")
    assert code == 0, err
    found = json.loads(out)
    melt, ramp = found["stages"]
    for stage in (melt, ramp):
        # the whole series counts, a row every 4 fs: vibrations of these atoms take some 0.1 ps
        assert 0.004 < stage["decorrelation_ps"] < 1.0 and stage["n_chosen"] >= 2
    rows = found["structures"]
    gaps = {stage["stage"]: stage["decorrelation_ps"] for stage in found["stages"]}
    for sooner, later in pairwise(rows):
        assert later["time_ps"] - sooner["time_ps"] >= gaps[later["stage"]] - 1e-6
        assert later["moved_A"] > 0
    by_stage = {row["stage"]: row["temperature_K"] for row in rows}
    assert by_stage[2] == pytest.approx(2000, rel=0.15) and by_stage[3] < by_stage[2]
    documents = list(results.find(Structure, {"source.builder": "sample"}))
    assert len(documents) == found["new"] == len(rows)
    trajectory = results.get(Trajectory, told["trajectory_id"])
    assert {each.group for each in documents} == {results.get(Structure, trajectory.start_structure_id).group}
    assert {each.config_type for each in documents} == {"melt_quench"}


@pytest.mark.mongo
def test_frames_from_first_principles_get_the_tags(gst: Gst, project, program, backend, job_of) -> None:  # noqa: F811
    start = stored_start(project)
    program.unconverged, program.steps_let = {4}, [7]
    # the first part ends before its time, and a second goes on
    job_of(AimdMaker(backend, SPEC), start.id)
    done = job_of(AimdMaker(backend, SPEC), start.id)
    results = Results.open(project)
    before = results.database["structures"].count_documents({})
    words = ("sample", "--from", done["trajectory_id"], "--tag", "next")
    code, _, err = gst(*words)
    assert code == 1 and "too few for a correlation time" in err
    code, out, err = gst(*words, "--every-ps", "0.004")
    assert code == 0 and "0 new, 4 known before" in err
    found = list(results.find(Structure, {"tags": "next"}))
    assert {each.id for each in found} == set(out.split()) and {each.config_type for each in found} == {"aimd"}
    assert sorted(each.source["step"] for each in found) == [2, 6, 8, 10]
    assert results.database["structures"].count_documents({}) == before
