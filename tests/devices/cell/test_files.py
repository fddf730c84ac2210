"""Device cells as files: the same atoms as in memory, groups and description beside them; columns to replicate."""

import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.devices.cell import (
    CrossPointSpec,
    MushroomSpec,
    barrier_spec,
    build_device,
    device_counts,
    fit_barrier,
    plan_device,
)
from gst_jobflow.devices.cell import files as device_files
from gst_jobflow.devices.cell.files import write_device
from gst_jobflow.devices.cell.replicate import column_of, write_replicated
from gst_jobflow.structures.contacts import min_distance
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate
from gst_jobflow.structures.lammps_data import ATOM_LINE, atom_lines, read_data

SPECIES = ["Ge", "Sb", "Te"]
CELLS = [
    CrossPointSpec(repeat=(4, 3, 2), barrier_thickness_A=15, disorder=True, seed=5),
    MushroomSpec(repeat=(6, 3, 6), barrier_thickness_A=12.0, seed=3),
]


@pytest.mark.parametrize("spec", CELLS, ids=lambda spec: spec.kind)
@pytest.mark.parametrize("name", ["cell.data", "cell.data.gz"])
def test_a_written_cell_is_the_built_one(spec, name, tmp_path, monkeypatch):
    monkeypatch.setattr(device_files, "_CHUNK_ATOMS", 100)
    barrier = generate(barrier_spec(spec))
    built = build_device(spec, barrier)
    seen = []
    files = write_device(spec, barrier, tmp_path / name, SPECIES, "made up", lambda *line: seen.append(line))
    plain = tmp_path / "plain.data"
    plain.write_bytes(gzip.decompress(files.data.read_bytes()) if name.endswith("gz") else files.data.read_bytes())
    again = read_data(plain, SPECIES)
    assert (again.numbers == built.atoms.numbers).all()
    assert np.abs(again.positions - built.atoms.positions).max() < 1e-8
    assert again.cell.lengths() == pytest.approx(built.atoms.cell.lengths())
    assert (files.groups, files.layers, files.report) == (built.groups, built.layers, built.report)
    assert "made up" in plain.read_text().splitlines()[0]
    about = json.loads(files.about.read_text())
    assert about["groups"] == {group: list(ids) for group, ids in built.groups.items()}
    assert about["barrier"] == "made up"
    first, last = built.groups["barrier"]
    assert f"group barrier id {first}:{last}" in files.groups_file.read_text()
    assert seen[-1] == (name, len(again), len(again)) and len(seen) > 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "cell.groups", "cell.json", "plain.data"])


@given(
    st.lists(st.floats(0, 99_999, allow_nan=False), min_size=3, max_size=3),
    st.integers(1, 10**11),
    st.integers(1, 99),
)
@settings(max_examples=200, deadline=None)
def test_a_line_of_an_atom_reads_back(position, id, kind):
    line = atom_lines(id, np.array([kind]), np.array([position])).tobytes()
    assert len(line) == ATOM_LINE and line.endswith(b"\n")
    words = line.split()
    assert (int(words[0]), int(words[1])) == (id, kind)
    assert [float(word) for word in words[2:]] == pytest.approx(position, abs=6e-9, rel=1e-12)
    # no leading zeros, as people write numbers
    assert not re.search(rb" 0\d", line)


def test_positions_outside_the_box_are_not_written():
    for wrong in (np.nan, np.inf, -0.1):
        with pytest.raises(DataError, match="outside of the box"):
            atom_lines(1, np.array([1]), np.array([[0.0, wrong, 0.0]]))


def test_a_cell_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    spec = CELLS[1]
    barrier = generate(barrier_spec(spec))
    with pytest.raises(InputError, match="no atom type for Sb"):
        write_device(spec, barrier, tmp_path / "x.data", ["Ge", "Te"])
    with pytest.raises(InputError, match="there is no folder"):
        write_device(spec, barrier, tmp_path / "nowhere" / "x.data", SPECIES)
    with pytest.raises(InputError, match="is a folder"):
        write_device(spec, barrier, tmp_path, SPECIES)
    with pytest.raises(InputError, match="come as near as"):
        write_device(spec.model_copy(update={"min_contact_A": 8.0}), barrier, tmp_path / "x.data", SPECIES)
    monkeypatch.setattr(device_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10_000})())
    with pytest.raises(InputError, match=r"needs 0\.1 GB"):
        write_device(spec, barrier, tmp_path / "x.data", SPECIES)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["Ge1Sb2Te4", "Ge2Sb2Te5", "Ge3Sb2Te6", "Ge8Sb2Te11", "Sb2Te3", "GeTe"]),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(2, 5)),
    st.floats(3, 14),
    st.sampled_from(["mushroom", "cross-point"]),
    st.integers(0, 99),
)
def test_rocksalt_cells_keep_their_counts(formula, repeat, thickness, kind, seed):
    values = {
        "formula": formula,
        "repeat": repeat,
        "barrier_thickness_A": min(thickness, 5.9 * repeat[2]),
        "seed": seed,
    }
    spec = MushroomSpec(**values) if kind == "mushroom" else CrossPointSpec(**values, phase="rocksalt")
    plan = plan_device(spec)
    crystal = plan.crystal.atoms()
    total = {
        element: int((crystal.symbols == element).sum()) + plan.barrier_counts.get(element, 0)
        for element in device_counts(spec)
    }
    assert total == device_counts(spec)
    assert len(crystal) == plan.crystal.n_atoms
    # no two atoms share a site
    assert len(np.unique(np.round(crystal.positions, 3), axis=0)) == len(crystal)


def test_a_block_of_another_size_is_tiled_with_exactly_the_atoms_needed():
    spec = MushroomSpec(repeat=(10, 7, 8), barrier_thickness_A=15, seed=1)
    plan = plan_device(spec)
    block = generate(HardSphereSpec(formula="Ge1Sb2Te4", n_atoms=259, density_g_cm3=5.9, cell_shape="cubic", seed=2))
    slab = fit_barrier(block, plan)
    counts = {element: int((slab.numbers == number).sum()) for element, number in (("Ge", 32), ("Sb", 51), ("Te", 52))}
    assert counts == plan.barrier_counts
    assert slab.tiles == (3, 2, 1)
    assert max(abs(strain) for strain in slab.strain) < 0.1
    device = build_device(spec, block)
    assert device.report["min_distance_A"] > 2.2
    # the volume of the block is kept: same density
    assert device.report["barrier_density_g_cm3"] == pytest.approx(5.9, rel=1e-6)


def test_a_block_of_another_material_is_refused():
    plan = plan_device(CELLS[1])
    for formula, n_atoms in (("Ge2Sb2Te5", 270), ("Sb2Te3", 250)):
        block = generate(HardSphereSpec(formula=formula, n_atoms=n_atoms, density_g_cm3=5.5, cell_shape="cubic"))
        with pytest.raises(InputError, match="the crystal gave up"):
            fit_barrier(block, plan)
    thin = generate(HardSphereSpec(formula="Ge1Sb2Te4", n_atoms=252, fixed_cell_A=(18, 18, 32), min_distance_A=2.2))
    with pytest.raises(InputError, match="another density"):
        fit_barrier(thin, plan)


def pressed(block, distance_A, across):
    """A block two of whose neighbours were pressed together: over the boundary along `across`, or inside (None)."""
    i, j, vector, shift = neighbour_list("ijDS", block, 3.2)
    wanted = [int(across == axis) for axis in range(3)]
    middle = np.abs(block.positions[i] + vector / 2 - block.cell.lengths() * wanted)
    # those on both sides of the boundary stay there
    off = middle[:, across] if across is not None else np.zeros(len(i))
    at = np.argmin(np.where((shift == wanted).all(axis=1), off, np.inf))
    by = vector[at] * (1 - distance_A / np.linalg.norm(vector[at])) / 2
    changed = block.copy()
    changed.positions[i[at]] += by
    changed.positions[j[at]] -= by
    return changed, "-".join(sorted(block.symbols[[i[at], j[at]]]))


@pytest.fixture(scope="module")
def narrow():
    """A cell whose barrier is one tile, and material for it."""
    spec = MushroomSpec(repeat=(5, 3, 6), barrier_thickness_A=12.0, seed=3)
    return spec, generate(barrier_spec(spec))


@pytest.mark.parametrize(("across", "where"), [(None, "inside it"), (0, "where its tiles meet"), (1, "its tiles meet")])
def test_material_that_overlaps_itself_is_refused(narrow, across, where, tmp_path):
    spec, block = narrow
    overlapping, pair = pressed(block, 1.7, across)
    for make in (
        lambda: build_device(spec, overlapping),
        lambda: write_device(spec, overlapping, tmp_path / "x.data", SPECIES),
    ):
        with pytest.raises(InputError, match=rf"overlap: {pair} 1\.70 Å apart .*{where}, 2 Å is the smallest"):
            make()
    assert list(tmp_path.iterdir()) == []
    # the shortest bonds of the amorphous phase are none, vibrations included
    real, _ = pressed(block, 2.15, across)
    assert build_device(spec, real).report["min_distance_A"] == pytest.approx(2.15, abs=0.01)
    # who asks for shorter contacts gets them
    allowed = spec.model_copy(update={"min_contact_A": 1.6})
    assert 1.6 <= build_device(allowed, overlapping).report["min_distance_A"] <= 1.71


def test_top_and_bottom_of_a_tile_count_where_tiles_are_stacked():
    # a block of about half the atoms that the barrier needs is stacked, the whole block is not
    spec = MushroomSpec(repeat=(5, 3, 8), barrier_thickness_A=24.0, barrier_density_g_cm3=5.9, seed=3)
    plan = plan_device(spec)
    whole = generate(barrier_spec(spec))
    half_A = (*plan.barrier_box_A[:2], plan.barrier_box_A[2] / 2)
    n_half = 7 * -(-sum(plan.barrier_counts.values()) // 14)
    half = generate(HardSphereSpec(formula="Ge1Sb2Te4", n_atoms=n_half, fixed_cell_A=half_A, min_distance_A=2.4))
    assert fit_barrier(pressed(whole, 1.7, 2)[0], plan).tiles == (1, 1, 1)
    assert fit_barrier(half, plan).tiles == (1, 1, 2)
    with pytest.raises(InputError, match="where its tiles meet"):
        fit_barrier(pressed(half, 1.7, 2)[0], plan)


def test_a_strain_that_makes_an_overlap_is_refused(narrow):
    spec, block = narrow
    # 8 % too long along x: bonds along it shrink with the tile
    i, vector = neighbour_list("iD", block, 4.0)
    at = np.argmax(np.abs(vector[:, 0]) / np.linalg.norm(vector, axis=1))
    long = block.copy()
    long.positions[i[at]] += vector[at] * (1 - 1.9 / np.linalg.norm(vector[at]))
    long.set_cell(long.cell.array * [1.08, 1, 1 / 1.08], scale_atoms=True)
    assert min_distance(long) > 2.0
    with pytest.raises(InputError, match=r"1\.90 Å apart inside it"):
        fit_barrier(long, plan_device(spec))


def test_a_column_is_an_equal_share_of_its_cell():
    spec = MushroomSpec(repeat=(40, 12, 10), barrier_thickness_A=15)
    column, tiles = column_of(spec, most_atoms=5000)
    assert (column.repeat, tiles) == ((10, 6, 10), (4, 2))
    share = {element: count // 8 for element, count in device_counts(spec).items()}
    assert device_counts(column) == share
    with pytest.raises(InputError, match="cannot be cut into equal columns"):
        column_of(MushroomSpec(repeat=(7, 5, 10), barrier_thickness_A=15))


@pytest.mark.lammps
def test_lammps_replicates_a_column_with_its_groups(tmp_path):
    from gst_jobflow.base.errors import MissingProgramError
    from gst_jobflow.devices.restart import write_restart
    from gst_jobflow.dynamics.engine import LammpsEngine

    try:
        engine = LammpsEngine.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))
    spec = MushroomSpec(repeat=(8, 8, 6), barrier_thickness_A=12.0, seed=3)
    column, _ = column_of(spec)
    restart = tmp_path / "cell.restart"
    barrier = generate(barrier_spec(column))
    made = write_replicated(spec, barrier, tmp_path / "cell.in", SPECIES, "made up", restart)
    write_restart(made, restart, engine)
    deck = [
        f"read_restart {restart}",
        *(f'print "{name} $(count({name}))"' for name in ("all", "mobile", "barrier", "electrode")),
        'print "GST-FINISHED step 0"',
    ]
    run = engine.run("\n".join(deck) + "\n", tmp_path / "look").require_success()
    log = (run.directory / "log.lammps").read_text()
    counts = {name: int(number) for name, number in re.findall(r"^(\w+) (\d+)$", log, re.M)}
    assert counts["all"] == made.report["n_atoms"] == sum(device_counts(spec).values())
    assert (counts["mobile"], counts["barrier"]) == (made.report["n_mobile"], made.report["n_barrier"])
    whole = build_device(spec, generate(barrier_spec(spec)))
    # vacancies are elsewhere in the whole cell, the sites of the contact are the same: 7 of 8 on average
    n_whole = whole.groups["electrode"][1]
    assert counts["electrode"] == pytest.approx(n_whole, rel=0.1)


@pytest.mark.lammps
def test_a_restart_file_of_a_written_cell_knows_its_groups(tmp_path):
    from gst_jobflow.base.errors import MissingProgramError
    from gst_jobflow.devices.restart import write_restart
    from gst_jobflow.dynamics.engine import LammpsEngine

    try:
        engine = LammpsEngine.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))
    spec = CELLS[1]
    files = write_device(spec, generate(barrier_spec(spec)), tmp_path / "cell.data.gz", SPECIES)
    write_restart(files, tmp_path / "cell.restart", engine)
    deck = [
        f"read_restart {tmp_path / 'cell.restart'}",
        'print "electrode $(count(electrode))"',
        'print "GST-FINISHED step 0"',
    ]
    run = engine.run("\n".join(deck) + "\n", tmp_path / "look").require_success()
    assert f"electrode {files.groups['electrode'][1]}\n" in (run.directory / "log.lammps").read_text()
