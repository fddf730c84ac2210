"""LAMMPS dumps and data files: whatever the coordinates and the box, the same atoms; and no element is guessed."""

from __future__ import annotations

import gzip
import os
import subprocess

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.strict import checked
from gst_jobflow.documents import Structure
from gst_jobflow.importing.formats import SourceFile, read_records, source_files
from gst_jobflow.importing.options import ImportOptions, assignments
from gst_jobflow.importing.run import import_files
from gst_jobflow.store import Results
from gst_jobflow.structures.lammps_data import write_data

MAP = ImportOptions(type_map={1: "Ge", 2: "Sb", 3: "Te"}, default_config_type="melt_quench")
PLAIN = ImportOptions(default_config_type="melt_quench")
ORDER = ["Ge", "Sb", "Te"]
SKEWED = [[6.1, 0.0, 0.0], [-0.7, 6.3, 0.0], [0.9, 1.1, 5.9]]


def structure(cell: object = None, seed: int = 0) -> Atoms:
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.symbols[2] = "Sb"
    if cell is not None:
        atoms.set_cell(cell, scale_atoms=True)
    atoms.rattle(0.2, seed=seed)
    return atoms


def dump_text(atoms: Atoms, style: str = "x", origin: object = (0, 0, 0), step: int = 0, **changes: str) -> str:
    """A frame as `dump custom` writes it, the lines not in the order of the ids."""
    cell, origin = atoms.cell.array, np.array(origin, dtype=float)
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = cell
    flags = changes.get("flags", "pp pp pp")
    low, high = origin.copy(), origin + np.array([lx, ly, lz])
    if xy or xz or yz:
        low[0] += min(0, xy, xz, xy + xz)
        high[0] += max(0, xy, xz, xy + xz)
        low[1] += min(0, yz)
        high[1] += max(0, yz)
        box = f"ITEM: BOX BOUNDS xy xz yz {flags}\n"
        tilts = [f" {tilt!r}" for tilt in (float(xy), float(xz), float(yz))]
    else:
        box, tilts = f"ITEM: BOX BOUNDS {flags}\n", [""] * 3
    box += "".join(f"{float(a)!r} {float(b)!r}{tilt}\n" for a, b, tilt in zip(low, high, tilts, strict=True))
    names = {"x": "x y z", "xu": "xu yu zu", "xs": "xs ys zs", "xsu": "xsu ysu zsu"}[style]
    scaled = "s" in style
    values = atoms.get_scaled_positions(wrap=style == "xs") if scaled else atoms.positions + origin
    columns = changes.get("columns", "id type")
    rows = []
    for place in reversed(range(len(atoms))):
        known = {"id": place + 1, "type": ORDER.index(atoms.symbols[place]) + 1, "element": atoms.symbols[place]}
        words = [str(known[name]) for name in columns.split()]
        rows.append(" ".join([*words, *(repr(float(value)) for value in values[place]), "0 0 0"]))
    return (
        f"{changes.get('before', '')}ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n{box}"
        f"ITEM: ATOMS {columns} {names} ix iy iz\n" + "\n".join(rows) + "\n"
    )


def same(mine: Atoms, theirs: Atoms) -> bool:
    """The same crystal: a common shift and whole lattice vectors are allowed."""
    moved = (mine.positions - theirs.positions) @ np.linalg.inv(theirs.cell.array)
    moved -= moved[0]
    return (
        list(mine.symbols) == list(theirs.symbols)
        and np.abs(mine.cell.array - theirs.cell.array).max() < 1e-10
        and np.abs((moved - np.round(moved)) @ theirs.cell.array).max() < 1e-10
    )


@pytest.mark.parametrize("style", ["x", "xu", "xs", "xsu"])
@pytest.mark.parametrize("cell", [None, SKEWED])
@pytest.mark.parametrize("origin", [(0, 0, 0), (-3.5, 2.25, 10)])
def test_every_way_to_write_coordinates(tmp_path, style, cell, origin):
    atoms = structure(cell)
    file = tmp_path / "run.lammpstrj"
    file.write_text(dump_text(atoms, style, origin))
    [record] = read_records(file, MAP)
    assert not record.problem and same(record.atoms, atoms) and record.atoms.pbc.all()
    assert record.atoms.calc is None  # forces of a potential are no label


def test_the_box_may_be_general(tmp_path):
    cell = np.array([[5.0, 1.0, 0.5], [0.3, 6.0, 0.2], [-0.4, 0.6, 5.5]])
    atoms = structure(cell)
    lines = dump_text(structure()).splitlines()
    head = [*lines[:4], "ITEM: BOX BOUNDS abc origin pp pp pp"]
    head += [" ".join(repr(float(value)) for value in (*row, 1.5)) for row in cell]
    rows = [
        " ".join([str(place + 1), str(ORDER.index(symbol) + 1), *(repr(float(value + 1.5)) for value in position)])
        for place, (symbol, position) in enumerate(zip(atoms.symbols, atoms.positions, strict=True))
    ]
    file = tmp_path / "dump.general"
    file.write_text("\n".join([*head, "ITEM: ATOMS id type x y z", *rows, ""]))
    [record] = read_records(file, MAP)
    assert same(record.atoms, atoms)


def test_elements_come_from_the_file_or_the_user_and_are_never_guessed(tmp_path):
    atoms = structure()
    named, plain, labels = (tmp_path / name for name in ("named.dump", "plain.dump", "labels.dump"))
    named.write_text(dump_text(atoms, columns="id type element"))
    plain.write_text(dump_text(atoms))
    labels.write_text(dump_text(atoms, columns="id element").replace("id element", "id type"))
    for file, options in ((named, PLAIN), (named, MAP), (plain, MAP), (labels, PLAIN)):
        source_files([file], options)
        [record] = read_records(file, options)
        assert same(record.atoms, atoms), record.problem
    with pytest.raises(InputError, match="--type-map"):
        source_files([plain], PLAIN)
    wrong = ImportOptions(type_map={1: "Te", 2: "Sb", 3: "Ge"})
    assert "--type-map says" in next(read_records(named, wrong)).problem
    assert "type 3 has no element" in next(read_records(plain, ImportOptions(type_map={1: "Ge", 2: "Sb"}))).problem


def test_frames_of_a_dump_and_its_end(tmp_path):
    frames = "".join(dump_text(structure(seed=seed), step=seed * 100) for seed in range(3))
    file = tmp_path / "dump.gz"
    file.write_bytes(gzip.compress(frames.encode()))
    records = list(read_records(file, MAP))
    assert [record.index for record in records] == [0, 1, 2] and len({record.group for record in records}) == 1
    for lost, reason in ((1, "truncated in the frame of step 200"), (900, "truncated")):
        file = tmp_path / "run.dump"
        file.write_text(frames[:-lost])
        *good, last = read_records(file, MAP)
        assert good and not any(record.problem for record in good) and reason in last.problem
    file.write_bytes(gzip.compress(frames.encode())[:-20])
    assert "reading stopped" in list(read_records(file, MAP))[-1].problem


@pytest.mark.parametrize(
    ("changes", "old", "new", "words"),
    [
        ({"before": "ITEM: UNITS\nlj\n"}, "", "", "units lj"),
        ({}, " 0 0 0\n", " 0 0\n", "columns"),
        ({}, "\n1 1 ", "\n2 1 ", "comes twice"),
        ({}, "x y z", "vx vy vz", "no coordinates"),
        ({}, "\n1 1 ", "\n1 1.5 ", "elements of the types"),
        ({"columns": "id type element"}, "\n1 1 Ge", "\n1 1 Gx", "says"),
        ({}, "ITEM: NUMBER OF ATOMS\n8", "ITEM: NUMBER OF ATOMS\n7", "not a LAMMPS dump"),
        ({}, "0.0 6.0\n", "0.0 six\n", "damaged"),
    ],
)
def test_damaged_dumps_name_the_fault(tmp_path, changes, old, new, words):
    file = tmp_path / "run.dump"
    text = dump_text(structure(), **changes)
    assert old in text
    file.write_text(text.replace(old, new, 1) if old else text)
    assert words in " ".join(record.problem for record in read_records(file, MAP))


def test_a_box_with_walls_is_no_periodic_structure(tmp_path):
    file = tmp_path / "run.dump"
    file.write_text(dump_text(structure(), flags="pp pp ff"))
    report = import_files([file], None, MAP.model_copy(update={"dry_run": True}))
    assert report.n_bad == 1 and "not periodic" in report.bad[0].reason


@pytest.mark.mongo
def test_a_dump_in_the_database(project, tmp_path):
    results = Results.open(project)
    file = tmp_path / "run.dump"
    file.write_text("".join(dump_text(structure(seed=seed), step=seed) for seed in range(3)))
    report = import_files([file], results, MAP)
    assert report.structures == {"new": 3, "known": 0} and report.labels == {"new": 0, "known": 0}
    structures = list(results.find(Structure, {}))
    assert len({item.group for item in structures}) == 1
    assert structures[0].group in {item.id for item in structures}


@pytest.mark.parametrize("cell", [None, SKEWED])
def test_data_files_of_our_own(tmp_path, cell):
    atoms = structure(cell)
    file = tmp_path / "cell.data"
    write_data(atoms, file, ORDER)
    assert SourceFile.of(file).format == "lammps-data"
    [record] = read_records(file, MAP)
    # what the file has: ASE writes it with 17 digits
    assert same(record.atoms, atoms), record.problem
    named = tmp_path / "named"
    named.write_text(data_text(atoms, comments=True))
    source_files([named], PLAIN)
    assert same(next(read_records(named, PLAIN)).atoms, atoms)


def data_text(atoms: Atoms, comments: bool = False, labels: bool = False, style: str = "atomic") -> str:
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = (tuple(map(float, row)) for row in atoms.cell.array)
    text = f"title\n\n{len(atoms)} atoms\n3 atom types\n\n0 {lx!r} xlo xhi\n0 {ly!r} ylo yhi\n0 {lz!r} zlo zhi\n"
    text += f"{xy!r} {xz!r} {yz!r} xy xz yz\n\n"
    if labels:
        text += "Atom Type Labels\n\n" + "".join(f"{i} {name}\n" for i, name in enumerate(ORDER, 1)) + "\n"
    text += "Masses\n\n"
    for kind, name in enumerate(ORDER, 1):
        text += f"{kind} {atomic_masses[atomic_numbers[name]]}" + (f" # {name}\n" if comments else "\n")
    text += f"\nAtoms # {style}\n\n"
    for place in range(len(atoms)):
        charge = " 0.5" if style == "charge" else ""
        values = " ".join(repr(float(value)) for value in atoms.positions[place])
        text += f"{place + 1} {ORDER.index(atoms.symbols[place]) + 1}{charge} {values}\n"
    return text


def test_data_files_of_others(tmp_path):
    atoms = structure(SKEWED)
    file = tmp_path / "data.cell"
    for keys, options in (({"labels": True}, PLAIN), ({"style": "charge"}, MAP), ({"comments": True}, MAP)):
        file.write_text(data_text(atoms, **keys))
        source_files([file], options)
        assert same(next(read_records(file, options)).atoms, atoms), keys
    file.write_text(data_text(atoms).replace("title", "999 atoms and more"))
    assert same(next(read_records(file, MAP)).atoms, atoms), "a title is no count"
    file.write_text(data_text(atoms))
    with pytest.raises(InputError, match="--type-map"):
        source_files([file], PLAIN)
    wrong = ImportOptions(type_map={1: "Te", 2: "Sb", 3: "Ge"})
    assert "mass" in next(read_records(file, wrong)).problem
    file.write_text(data_text(atoms, comments=True))
    assert "--type-map says" in next(read_records(file, wrong)).problem
    for lost in (3, 40, 400):
        file.write_text(data_text(atoms)[:-lost])
        [record] = read_records(file, MAP)
        assert record.problem, lost


@pytest.mark.parametrize("text", ["1:Ge", "Ge=1", "0=Ge", "1=Gx", "1=Ge,1=Sb", "1=Ge,", "1=ge"])
def test_wrong_type_maps(text):
    with pytest.raises(InputError, match=r"type.map"):
        checked(ImportOptions, {"type_map": assignments("--type-map", text, "1=Ge")})


@pytest.mark.lammps
def test_files_that_lammps_writes_are_read(tmp_path):
    from gst_jobflow.dynamics.engine import LammpsEngine

    try:
        engine = LammpsEngine.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))
    atoms = structure(SKEWED)
    write_data(atoms, tmp_path / "in.data", ORDER)
    deck = """units metal
        read_data in.data
        pair_style zero 4.0
        pair_coeff * *
        dump d all custom 1 own.dump id type element xu yu zu
        dump_modify d element Ge Sb Te units yes time yes format float %.17g
        dump s all custom 1 scaled.dump type xs id ys zs fx
        dump_modify s format float %.17g
        run 0
        write_data out.data
        """
    (tmp_path / "in.lammps").write_text("\n".join(line.strip() for line in deck.splitlines()))
    environment = {**os.environ, **engine.environment()}
    subprocess.run(engine.argv("-in", "in.lammps"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    names = {"own.dump": PLAIN, "scaled.dump": MAP, "out.data": MAP}
    for name, options in names.items():
        source_files([tmp_path / name], options)
        [record] = read_records(tmp_path / name, options)
        assert same(record.atoms, atoms), (name, record.problem)


UNSORTED = """LAMMPS data file via write_data, version 22 Jul 2025, timestep = 1000, units = {units}

{atoms} atoms
3 atom types

0 6.1 xlo xhi
0 6.2 ylo yhi
0 6.3 zlo zhi

Atom Type Labels

1 Ge
2 Sb
3 Te

Masses

1 72.63
2 121.76
3 127.6

Atoms # atomic

3 Te 0.2 3.1 3.0 0 0 0
1 Te 3.1 3.0 0.2 0 0 0
4 Sb 3.0 0.1 2.9 0 0 0
{second} Ge 0.1 0.0 0.05 0 0 0

Velocities

3 0.1 0.0 0.0
1 0.2 0.0 0.0
4 0.3 0.0 0.0
2 0.4 0.0 0.0
"""


def read_one(file, options=PLAIN):
    (record,) = read_records(file, options)
    return record


def test_type_labels_stay_with_their_atoms_where_ids_are_not_sorted(tmp_path) -> None:
    file = tmp_path / "melt.data"
    file.write_text(UNSORTED.format(units="metal", atoms=4, second=2))
    atoms = read_one(file).atoms
    assert list(atoms.symbols) == ["Te", "Ge", "Te", "Sb"]
    assert np.allclose(atoms.positions[1], [0.1, 0.0, 0.05])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"units": "electron"}, "units electron"),
        ({"atoms": 5}, "4 of 5 atoms"),
        ({"second": 3}, "comes twice"),
    ],
)
def test_a_data_file_says_why_it_cannot_be_read(tmp_path, values, problem) -> None:
    file = tmp_path / "melt.data"
    file.write_text(UNSORTED.format(**{"units": "metal", "atoms": 4, "second": 2, **values}))
    assert problem in read_one(file).problem


def test_a_comment_that_is_not_an_element_leaves_its_type_without_one(tmp_path) -> None:
    file = tmp_path / "melt.data"
    text = UNSORTED.format(units="metal", atoms=4, second=2)
    masses = "Masses\n\n1 72.63 # Ge_d\n2 121.76 # (Sb)\n3 127.6 # Te\n"
    file.write_text(
        text[: text.index("Atom Type Labels")]
        + masses
        + "\nAtoms # atomic\n\n1 3 3.1 3.0 0.2\n2 1 0 0 0\n3 3 0 3 3\n4 2 3 0 3\n"
    )
    assert read_one(file).problem.startswith("type 1 has no element")


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
4
ITEM: BOX BOUNDS pp pp pp
0.0 6.1
0.0 6.2
0.0 6.3
ITEM: ATOMS id {columns} x y z
3 {three} 0.2 3.1 3.0
1 {three} 3.1 3.0 0.2
2 {one} 0.1 0.0 0.05
4 {two} 3.0 0.1 2.9
"""


def test_a_column_element_that_was_never_set_is_no_carbon(tmp_path) -> None:
    file = tmp_path / "run.lammpstrj"
    file.write_text(DUMP.format(columns="type element", one="1 C", two="2 C", three="3 C"))
    assert "never set" in read_one(file).problem and "--type-map" in read_one(file).problem
    assert list(read_one(file, MAP).atoms.symbols) == ["Te", "Ge", "Te", "Sb"]


def test_type_labels_of_a_dump_are_elements(tmp_path) -> None:
    file = tmp_path / "run.dump"
    file.write_text(DUMP.format(columns="typelabel", one="Ge", two="Sb", three="Te"))
    source_files([file], PLAIN)
    assert list(read_one(file).atoms.symbols) == ["Te", "Ge", "Te", "Sb"]
    file.write_text(DUMP.format(columns="mol", one="1", two="1", three="1"))
    with pytest.raises(InputError, match="neither a column element nor type"):
        source_files([file], PLAIN)
