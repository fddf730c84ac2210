"""`gst structures gamma` and `select`, from a database with a trajectory of two segments."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from gst_jobflow.documents import Cycle, Structure, Trajectory
from gst_jobflow.selection.grade import gammas
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms, structure_document
from scripts._tiny_potential import ELEMENTS, soft_crystal
from tests.dynamics.test_maker import stored
from tests.selection.conftest import Gst

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.dynamics.deck import PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine

pytestmark = [pytest.mark.mongo, pytest.mark.lammps]


def compressed(scale: float, seed: int = 0) -> Atoms:
    atoms = soft_crystal((1, 1, 1))
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
    atoms.wrap()
    return atoms


def dump(path: Path, frames: dict[int, Atoms]) -> Path:
    lines = []
    for step, atoms in frames.items():
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms)), "ITEM: BOX BOUNDS pp pp pp"]
        lines += [f"0 {edge!r}" for edge in atoms.cell.lengths().tolist()]
        lines += ["ITEM: ATOMS id type x y z"]
        for number, atom in enumerate(atoms, 1):
            x, y, z = atom.position.tolist()
            lines.append(f"{number} {ELEMENTS.index(atom.symbol) + 1} {x!r} {y!r} {z!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.write("\n".join([*lines, ""]))
    return path


FRAMES = {0: compressed(1.0), 100: compressed(0.85, 1), 200: compressed(0.8, 2), 300: compressed(0.75, 3)}
LOST = compressed(0.6, 4)


def stored_trajectory(results: Results, potential_id: str, folder: Path, n_atoms: int = 8) -> Trajectory:
    """Of two segments; the second begins again before where the first ended."""
    start = structure_document(FRAMES[0], "crystal", group="a group")
    results.add(start)
    first = dump(folder / "0" / "dump_1.lammpstrj.gz", {0: FRAMES[0], 100: FRAMES[100], 200: LOST})
    second = dump(folder / "1" / "dump_1.lammpstrj.gz", {200: FRAMES[200], 300: FRAMES[300]})
    trajectory = Trajectory(
        _id=f"run{n_atoms}",
        name=f"run{n_atoms}",
        protocol="melt_quench",
        stages=[],
        potential_id=potential_id,
        start_structure_id=start.id,
        formula="SbTe",
        n_atoms=n_atoms,
        state="failed",
        timestep_fs=1.0,
        n_steps=300,
        duration_ps=0.3,
        n_frames=4,
        seed=1,
        files=[results.artifacts.put(path) for path in (first, second)],
    )
    results.add(trajectory)
    return trajectory


def test_frames_that_extrapolate_become_candidates(
    gst: Gst, project: Project, engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    results = Results.open(project)
    potential = stored(results, tiny_potential)
    trajectory = stored_trajectory(results, potential, tmp_path)
    code, out, err = gst("gamma", "--potential", "tiny", "--from", "run8", "--json")
    assert code == 0, err
    rows = json.loads(out)["structures"]
    assert [row["structure"] for row in rows] == ["step 0", "step 100", "step 200", "step 300"]
    grades = [row["max_gamma"] for row in rows]
    assert grades == sorted(grades) and grades[0] < 1.5 < grades[-1]
    words = ("select", "--potential", "tiny", "--from", "run8", "--gamma", f"{grades[1] - 1e-6}:{grades[2] + 1e-6}")
    code, _, err = gst(*words, "--dry-run")
    assert code == 0, err
    assert results.database["structures"].count_documents({}) == 1
    code, out, err = gst(*words, "--tag", "next", "--iteration", "3", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["graded"], told["new"]) == (4, 2)
    documents = {
        each.source["step"]: each
        for each in results.get_many(Structure, [r["structure_id"] for r in told["structures"]])
    }
    assert set(documents) == {100, 200}
    one = documents[200]
    assert (one.parents, one.group, one.tags, one.iteration) == (
        [trajectory.start_structure_id],
        "a group",
        ["next"],
        3,
    )
    assert (one.config_type, one.source["trajectory_id"], one.source["potential_id"]) == ("crystal", "run8", potential)
    assert one.source["max_gamma"] == pytest.approx(grades[2])
    np.testing.assert_allclose(load_atoms(results, one.id).positions, FRAMES[200].positions, atol=1e-10)
    # the same again changes nothing
    assert json.loads(gst(*words, "--tag", "next", "--json")[1])["new"] == 0


def test_stored_structures_and_files_are_graded_and_chosen(
    gst: Gst, project: Project, engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    results = Results.open(project)
    stored(results, tiny_potential)
    known = [structure_document(atoms, "crystal", tags=["all"]) for atoms in FRAMES.values()]
    results.add_many(known)
    write(tmp_path / "frames.extxyz", list(FRAMES.values()), format="extxyz")
    of_files = json.loads(gst("gamma", str(tmp_path / "frames.extxyz"), "--potential", "tiny", "--json")[1])
    of_store = json.loads(gst("gamma", "-w", "tags=all", "--potential", "tiny", "--json")[1])
    by_id = {row["structure"]: row["max_gamma"] for row in of_store["structures"]}
    assert [row["max_gamma"] for row in of_files["structures"]] == pytest.approx(
        [by_id[each.id] for each in known], abs=1e-6
    )
    code, out, _ = gst("select", "--potential", "tiny", "-w", "tags=all", "--gamma", "0", "-n", "2", "--tag", "chosen")
    assert code == 0 and len(out.split()) == 2
    tagged = results.find(Structure, {"tags": "chosen"})
    assert {each.id for each in tagged} == set(out.split())
    code, out, err = gst("gamma", "-w", "tags=all", "--potential", "tiny")
    assert code == 0 and "largest gamma" in out and "of 4 structures are above 1" in err


def test_cells_are_cut_out_of_large_frames(
    gst: Gst, project: Project, engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    results = Results.open(project)
    potential = stored(results, tiny_potential)
    start = structure_document(soft_crystal((4, 4, 4)), "device", group="a group")
    results.add(start)
    late = soft_crystal((4, 4, 4))
    # two atoms near neighbours, far from each other
    late.positions[100] += 0.6 * late.get_distance(100, 101, mic=True, vector=True)
    late.positions[400] += 0.55 * late.get_distance(400, 401, mic=True, vector=True)
    file = dump(tmp_path / "dump_1.lammpstrj.gz", {0: soft_crystal((4, 4, 4)), 50: late})
    known = {"protocol": "RESET", "stages": [], "state": "finished", "timestep_fs": 1.0, "formula": "SbTe", "seed": 1}
    run = Trajectory(
        _id="big", name="big", potential_id=potential, start_structure_id=start.id, n_atoms=512, n_steps=50,
        duration_ps=0.05, n_frames=2, files=[results.artifacts.put(file)], **known,
    )  # fmt: skip
    results.add(run)
    before, after = (
        row["max_gamma"]
        for row in json.loads(gst("gamma", "--potential", "tiny", "--from", "big", "--json")[1])["structures"]
    )
    assert after > 1.2 * before
    words = ("select", "--potential", "tiny", "--from", "big", "--cluster", "-n", "2", "--tag", "cut", "--gamma")
    code, out, err = gst(*words, str(before + 1e-6), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["new"], len(told["structures"])) == (2, 2), told
    centres = {int(row["from"].rpartition(" ")[2]) for row in told["structures"]}
    assert all(row["from"].startswith("step 50 atom") for row in told["structures"]), told
    one, other = results.get_many(Structure, [row["structure_id"] for row in told["structures"]])
    assert one.n_atoms < 300 and one.group == "a group" and one.config_type == "device" and one.tags == ["cut"]
    assert one.parents == [start.id] and one.min_distance_A is not None
    assert {one.source["atom"], other.source["atom"]} == centres
    assert one.source["builder"] == "cluster" and one.source["gamma"] <= one.source["max_gamma"]
    # by gst structures gamma, which knows nothing of frames
    again = json.loads(gst("gamma", "-w", "tags=cut", "--potential", "tiny", "--json")[1])["structures"]
    assert sorted(row["max_gamma"] for row in again) == pytest.approx(
        sorted(row["max_gamma"] for row in told["structures"])
    )
    code, _, err = gst(*words, str(before + 1e-6))
    assert code == 0 and "gamma" in err and "0 new, 2 known before" in err
    of_stored = gst("select", "--potential", "tiny", "-w", "n_atoms=512", "--cluster", "--gamma", "1e6", "--dry-run")
    assert of_stored[0] == 1 and "no atom has gamma in 1e+06..inf" in of_stored[2]


def add_cell(results: Results, potential: str, folder: Path, atoms: Atoms) -> str:
    """Store a device cell whose second half is frozen, and a run of one frame that ends there; return its end."""
    half, n_atoms = len(atoms) // 2, len(atoms)
    groups = {"mobile": [1, half], "barrier": [half + 1, n_atoms]}
    start = structure_document(soft_crystal((4, 4, 4)), "device", group="a group")
    end = structure_document(atoms, "device")
    results.add_many([start, end])
    known = {"formula": "SbTe", "n_atoms": n_atoms, "seed": 1, "potential_id": potential}
    results.add(Cycle(_id="cell", name="cell", device="cross-point", groups=groups, structure_id=start.id,
                      operations=[], **known))  # fmt: skip
    results.add(Trajectory(
        _id="reset", name="reset", protocol="RESET", stages=[], state="finished", timestep_fs=1.0, cycle_id="cell",
        start_structure_id=start.id, final_structure_id=end.id, n_steps=50, duration_ps=0.05, n_frames=1,
        files=[results.artifacts.put(dump(folder / "dump_1.lammpstrj.gz", {50: atoms}))], **known,
    ))  # fmt: skip
    return end.id


def test_a_frozen_barrier_does_not_count(
    gst: Gst, project: Project, engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    results = Results.open(project)
    potential, atoms = stored(results, tiny_potential), soft_crystal((4, 4, 4))
    atoms.positions[100] += 0.35 * atoms.get_distance(100, 101, mic=True, vector=True)
    atoms.positions[400] += 0.7 * atoms.get_distance(400, 401, mic=True, vector=True)
    end = add_cell(results, potential, tmp_path, atoms)
    (by_atom,) = gammas(engine, tiny_potential, [atoms], tmp_path / "all")
    largest = by_atom[:256].max()
    assert by_atom.argmax() >= 256 and by_atom.max() > 1.2 * largest, "the barrier has the larger grade"
    # the window ends below the barrier's grade
    window = f"{0.98 * largest}:{1.01 * largest}"
    select = ("select", "--potential", "tiny", "--gamma", window, "--max-atoms", "600", "--json")
    code, out, err = gst(*select, "--from", "reset", "--tag", "next")
    assert code == 0, err
    (chosen,) = json.loads(out)["structures"]
    assert chosen["max_gamma"] == pytest.approx(largest, rel=1e-6)
    for words in (("--from", "reset"), ("-w", f"_id={end}"), ("-w", f"_id={chosen['structure_id']}")):
        (row,) = json.loads(gst("gamma", "--potential", "tiny", *words, "--above", "0.9", "--json")[1])["structures"]
        assert row["max_gamma"] == pytest.approx(largest, rel=1e-6), words
        assert row["share_above"] == np.mean(by_atom[:256] > 0.9)
    words = ("select", "--potential", "tiny", "--from", "reset", "--cluster", "-n", "9", "--json", "--gamma")
    code, out, err = gst(*words, str(0.9 * largest))
    assert code == 0, err
    places = {int(row["from"].rpartition(" ")[2]) for row in json.loads(out)["structures"]}
    assert places and max(places) < 256, "atoms of the barrier are no centres"


def test_impossible_choices_are_one_line(
    gst: Gst, project: Project, engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    results = Results.open(project)
    stored(results, tiny_potential)
    stored_trajectory(results, "tiny", tmp_path, n_atoms=5000)
    select = ("select", "--potential", "tiny")
    for words, text in (
        ((*select, "--from", "run5000", "--gamma", "2"), "has 5000 atoms: whole cells are taken up to 300"),
        ((*select, "--from", "run9", "--gamma", "2"), "no trajectory 'run9'"),
        ((*select, "--from", "run5000", "--gamma", "2", "--cluster"), "has 8 atoms: cells of up to 300 are labelled"),
        ((*select, "--from", "run5000", "--gamma", "2", "--cluster", "--radius", "4"), "below the potential's cutoff"),
        ((*select, "--from", "run5000", "--gamma", "2", "--floor", "2"), "add --cluster"),
        ((*select, "--from", "run5000", "--gamma", "5:2"), "the range is empty"),
        ((*select, "--from", "run5000", "--gamma", "high"), "not numbers"),
        ((*select, "--gamma", "2"), "of which structures?"),
        ((*select, "-w", "tags=no", "--gamma", "2"), "no structure with tags=no"),
        ((*select, "-w", "n_atoms=8", "--gamma", "1e9"), "none of 1 structures has gamma in 1e+09..inf"),
        (("gamma", "--potential", "tny", "-w", "n_atoms=8"), "no potential 'tny'"),
    ):
        code, _, err = gst(*words)
        assert code == 1 and text in err and "Traceback" not in err, (words, err)
