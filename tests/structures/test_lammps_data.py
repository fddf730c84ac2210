import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.crystals import trigonal
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate
from gst_jobflow.structures.lammps_data import read_data, write_data

SPECIES = ("Ge", "Sb", "Te")


@pytest.mark.parametrize("shape", ["cubic", "triclinic"])
def test_ids_cell_and_fractions_survive_a_round_trip(tmp_path, shape):
    atoms = generate(HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=18, volume_per_atom_A3=32, cell_shape=shape))
    atoms = atoms[np.random.default_rng(0).permutation(len(atoms))]
    atoms.set_velocities(np.random.default_rng(1).normal(size=(18, 3)))
    # a general orientation, which LAMMPS does not know
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    write_data(atoms, tmp_path / "x.data", SPECIES, velocities=True)
    back = read_data(tmp_path / "x.data", SPECIES)
    assert (back.numbers == atoms.numbers).all()
    # files hold 17 digits; the rotation costs the last few
    assert np.allclose(back.cell.cellpar(), atoms.cell.cellpar(), atol=1e-8)
    assert np.allclose(back.get_scaled_positions(), atoms.get_scaled_positions(), atol=1e-9)
    assert np.allclose(back.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-7)
    assert back.get_kinetic_energy() == pytest.approx(atoms.get_kinetic_energy(), rel=1e-10)
    assert np.allclose(back.cell.array, np.tril(back.cell.array), atol=1e-10)


def test_types_follow_the_given_order_and_every_element_has_a_mass(tmp_path):
    path = tmp_path / "x.data"
    atoms = Atoms("TeGe", positions=[[0, 0, 0], [3, 0, 0]], cell=[6, 6, 6], pbc=True)
    atoms.new_array("type", np.array([7, 7]))
    write_data(atoms, path, ("Te", "Sb", "Ge"))
    text = path.read_text()
    assert "3 atom types" in text
    assert text.index("127.5999") < text.index("121.7599") < text.index("72.6299")
    lines = text.split("Atoms # atomic\n\n")[1].splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["1", "1"], ["2", "3"]]
    assert "Velocities" not in text
    assert list(tmp_path.iterdir()) == [path]


def test_orthogonal_cells_stay_orthogonal(tmp_path):
    write_data(trigonal("Ge1Sb2Te4", (1, 1, 1)), tmp_path / "x.data", SPECIES)
    assert "xy xz yz" not in (tmp_path / "x.data").read_text()


def test_a_wrong_species_order_is_found_by_the_masses(tmp_path):
    write_data(trigonal("Ge1Sb2Te4", (1, 1, 1)), tmp_path / "x.data", SPECIES)
    with pytest.raises(DataError, match="masses"):
        read_data(tmp_path / "x.data", ("Sb", "Ge", "Te"))
    with pytest.raises(InputError, match="without an element"):
        read_data(tmp_path / "x.data", ("Ge", "Sb"))


def test_a_structure_that_cannot_be_written_leaves_no_file(tmp_path):
    atoms = Atoms("GeTe", positions=[[0, 0, 0], [3, 0, 0]], cell=[6, 6, 6], pbc=True)
    with pytest.raises(InputError, match="no atom type for Te"):
        write_data(atoms, tmp_path / "x.data", ("Ge", "Sb"))
    with pytest.raises(InputError, match="twice"):
        write_data(atoms, tmp_path / "x.data", ("Ge", "Te", "Ge"))
    with pytest.raises(InputError, match="no cell"):
        write_data(Atoms("Te"), tmp_path / "x.data", SPECIES)
    atoms.positions[0, 0] = np.inf
    with pytest.raises(DataError, match="finite"):
        write_data(atoms, tmp_path / "x.data", SPECIES)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no LAMMPS data file"):
        read_data(tmp_path / "none.data", SPECIES)
    (tmp_path / "x.data").write_text("not a data file\n\n3 atoms\n")
    with pytest.raises(DataError):
        read_data(tmp_path / "x.data", SPECIES)


@pytest.mark.parametrize("units", ["real", "nano"])
def test_a_file_that_states_other_units_is_refused(tmp_path, units):
    path = tmp_path / "x.data"
    write_data(trigonal("Ge1Sb2Te4", (1, 1, 1)), path, SPECIES)
    _, body = path.read_text().split("\n", 1)
    path.write_text(f"LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = metal\n{body}")
    assert len(read_data(path, SPECIES)) == 42
    path.write_text(f"LAMMPS data file via write_data, version 22 Jul 2025, timestep = 0, units = {units}\n{body}")
    with pytest.raises(InputError, match=f"in units {units}"):
        read_data(path, SPECIES)
