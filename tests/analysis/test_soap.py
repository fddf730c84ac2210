"""k-bar of crystals and disorder, against dscribe on periodic cells, and the cut-off's calibration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.analysis.neighbours import cell_grid, with_images
from gst_jobflow.analysis.soap import SoapOptions, calibrate, kernel, mean_spectrum, references, similarity
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.structures.crystals import rocksalt, trigonal

SOAP = pytest.importorskip("dscribe.descriptors").SOAP


def shaken(atoms: Atoms, stdev_A: float, seed: int = 1) -> Atoms:
    moved = atoms.copy()
    moved.rattle(stdev_A, seed=seed)
    return moved


def disorder(seed: int = 0, n: int = 3) -> Atoms:
    """A rock-salt cell whose order is gone, with its closest pairs pushed apart."""
    atoms = shaken(rocksalt("GeSb2Te4", (n, n, n), seed=seed), 1.5, seed)
    for _ in range(60):
        push = np.zeros_like(atoms.positions)
        from matscipy.neighbours import neighbour_list

        i, D, d = neighbour_list("iDd", atoms, 2.7)
        np.add.at(push, i, -0.3 * D / d[:, None] * (2.7 - d)[:, None])
        atoms.positions += push
    return atoms


def crystals() -> dict[str, Atoms]:
    salt = shaken(rocksalt("GeSb2Te4", (3, 3, 3)), 0.15)
    layered = shaken(trigonal("GeSb2Te4", (4, 2, 1), disorder=True), 0.15)
    return {"rock-salt": salt, "trigonal": layered}


def of_dscribe(atoms: Atoms, options: SoapOptions) -> np.ndarray:
    """Normalised power spectra of a periodic cell by dscribe."""
    own = SOAP(
        species=["Ge", "Sb", "Te"],
        periodic=True,
        r_cut=options.cutoff_A,
        n_max=options.n_max,
        l_max=options.l_max,
        sigma=options.sigma_A,
        **({} if options.species else {"compression": {"mode": "mu2"}}),
    )
    inside = atoms.copy()
    inside.wrap()
    made = own.create(inside)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options",
    [
        SoapOptions(),
        SoapOptions(species=True),
        SoapOptions(cutoff_A=4.5, sigma_A=0.4, n_max=5, l_max=3, species=True),
        SoapOptions(cutoff_A=6.0, sigma_A=0.7, n_max=9, l_max=8),
        SoapOptions(n_max=1, l_max=1),
    ],
)
def test_the_kernel_is_that_of_dscribe_on_the_periodic_cell(options):
    one, other = crystals()["rock-salt"], disorder()
    expected = (of_dscribe(one, options) @ of_dscribe(other, options).T) ** options.zeta
    assert kernel(one, other, options) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("species", [False, True])
def test_k_bar_is_the_mean_of_dscribe_s_kernel_with_the_crystal_that_is_most_alike(species):
    options = SoapOptions(species=species, n_references=10_000)
    known, atoms = crystals(), disorder(2)
    vectors, symbols = of_dscribe(atoms, options), np.array(atoms.get_chemical_symbols())
    each = []
    for crystal in known.values():
        products = (vectors @ of_dscribe(crystal, options).T) ** 4
        alike = (symbols[:, None] == np.array(crystal.get_chemical_symbols())) | (not species)
        each.append(np.mean(products, axis=1, where=alike))
    found = similarity(atoms, references(known, options))
    assert found == pytest.approx(np.max(each, axis=0), abs=1e-4)


def test_a_square_power_is_the_power_that_was_asked_for():
    known, atoms = crystals(), disorder(2)
    one = {"trigonal": known["trigonal"]}
    two, four = (references(one, SoapOptions(zeta=zeta, n_references=1)) for zeta in (2, 4))
    assert similarity(atoms, two) ** 2 == pytest.approx(similarity(atoms, four), abs=1e-5)


@pytest.mark.parametrize("species", [False, True])
def test_crystals_are_alike_and_disorder_is_not(species):
    known = references(crystals(), SoapOptions(species=species))
    for crystal in (rocksalt("GeSb2Te4", (3, 3, 3), seed=5), trigonal("GeSb2Te4", (4, 2, 1))):
        atoms = shaken(crystal, 0.15, seed=7)
        assert np.mean(similarity(atoms, known)) > np.mean(similarity(disorder(3), known)) + 0.1


def test_turned_wrapped_and_repeated_copies_have_the_same_values():
    known = references(crystals())
    atoms = disorder(1)
    base = similarity(atoms, known)
    turned, moved = atoms.copy(), atoms.copy()
    turned.rotate(33, (1, 2, 3), rotate_cell=True)
    moved.positions += [5.0, -44.0, 100.0]
    assert similarity(turned, known) == pytest.approx(base, abs=1e-4)
    assert similarity(moved, known) == pytest.approx(base, abs=1e-4)
    leaning = atoms.copy()
    leaning.set_cell(atoms.cell.array + np.array([[0, 0, 0], atoms.cell[0], 2 * atoms.cell[0]]))
    assert similarity(leaning, known) == pytest.approx(base, abs=1e-4)
    # more than one block, with neighbours across their borders
    assert similarity(atoms * (2, 3, 2), known) == pytest.approx(np.tile(base, 12), abs=1e-4)


@pytest.mark.parametrize("reach_A", [3.0, 7.0, 25.0])
def test_the_27_cubes_around_an_atom_hold_all_of_its_neighbours(reach_A):
    from matscipy.neighbours import neighbour_list

    atoms = disorder(2)
    atoms.set_cell(atoms.cell.array + np.array([[0, 0, 0], [6.0, 0, 0], [2.0, 3.0, 0]]), scale_atoms=True)
    atoms.positions += [400.0, -31.0, 7.0]
    expected = np.bincount(neighbour_list("i", atoms, reach_A), minlength=len(atoms))
    grid = cell_grid(atoms, reach_A)
    assert np.array_equal(grid.owners[grid.home], np.arange(len(atoms)))
    cube = np.stack(
        np.unravel_index(np.repeat(np.arange(len(grid.start) - 1), np.diff(grid.start)), grid.shape), axis=1
    )
    for atom in range(0, len(atoms), 20):
        near = np.all(np.abs(cube - cube[grid.home[atom]]) <= 1, axis=1)
        distance = np.linalg.norm(grid.points[near] - grid.points[grid.home[atom]], axis=1)
        assert (distance < reach_A).sum() - 1 == expected[atom]


def test_far_atoms_in_vacuum_need_few_cubes():
    atoms = Atoms("Te3", positions=[[0, 0, 0], [2, 0, 0], [1e5, 1e5, 1e5]], cell=[2e5] * 3)
    assert len(cell_grid(atoms, 5.0).start) < 100


def test_two_threads_give_the_values_of_one():
    known = references(crystals(), SoapOptions(species=True))
    atoms = disorder(1) * (2, 2, 2)
    assert np.array_equal(similarity(atoms, known, threads=2), similarity(atoms, known))


def test_kernels_compile_where_no_folder_can_be_written(tmp_path):
    """As in an installation of another user, with no home: numba has nowhere to keep what it compiled."""
    from gst_jobflow.analysis import kernels

    shutil.copy(kernels.__file__, tmp_path / "copied.py")
    for name in ("__pycache__", "home"):
        (tmp_path / name).write_text("a file, no folder")
    code = (
        "import numpy as np, copied; m = np.empty(2, 'f'); copied.mean_power(np.full((3, 2), 2.0, 'f'), 3, m); print(m)"
    )
    home = str(tmp_path / "home")
    environment = {"PATH": os.environ["PATH"], "HOME": home, "XDG_CACHE_HOME": home, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.stdout.strip() == "[8. 8.]", ran.stderr


def test_open_boundaries_have_no_images():
    atoms = Atoms("Te2", positions=[[0.5, 5, 5], [9.5, 5, 5]], cell=[10] * 3, pbc=[False, True, True])
    points, _ = with_images(atoms, 4.0)
    assert set(np.round(points[:, 0], 6)) == {0.5, 9.5}


def test_the_mean_over_neighbours_narrows_the_values():
    single, mean = (references(crystals(), SoapOptions(average_A=r)) for r in (0.0, 3.5))
    atoms = disorder(1)
    assert np.std(similarity(atoms, mean)) < 0.7 * np.std(similarity(atoms, single))
    assert np.mean(similarity(atoms, mean)) == pytest.approx(np.mean(similarity(atoms, single)), abs=0.02)


def test_calibration_finds_the_border_of_two_distributions():
    rng = np.random.default_rng(0)
    found = calibrate([rng.normal(0.8, 0.05, 5000)], [rng.normal(0.5, 0.05, 3000), rng.normal(0.5, 0.05, 2000)])
    assert found.best == pytest.approx(0.65, abs=0.03)
    assert found.area > 0.999
    # 0.57 is 1.4 widths above the disorder: 8 % of it pass
    assert found.published == pytest.approx((1.0, 0.081), abs=0.01)
    same = calibrate([rng.normal(size=5000)], [rng.normal(size=5000)])
    assert same.area == pytest.approx(0.5, abs=0.02)


def test_the_published_cut_off_takes_disorder_for_crystal_and_a_calibrated_one_does_not():
    known = references(crystals(), SoapOptions(species=True, average_A=3.5))
    crystal = [similarity(shaken(rocksalt("GeSb2Te4", (3, 3, 3), seed=n), 0.15, n), known) for n in (5, 6)]
    found = calibrate(crystal, [similarity(disorder(n), known) for n in (3, 4)])
    assert found.area > 0.99
    assert found.published[0] == 1.0
    assert np.mean(np.concatenate(crystal) > found.best) > 0.95


def test_bad_input_is_refused():
    known = references(crystals(), SoapOptions(species=True))
    with pytest.raises(InputError, match="no In"):
        foreign = rocksalt("GeTe", (2, 2, 2))
        foreign.symbols[0] = "In"
        similarity(foreign, known)
    broken = disorder()
    broken.positions[2, 2] = np.nan
    with pytest.raises(DataError, match="finite"):
        similarity(broken, known)
    with pytest.raises(InputError, match="no In"):
        mean_spectrum(foreign, SoapOptions(species=True), ["Ge", "Te"])
    with pytest.raises(InputError, match="volume"):
        mean_spectrum(Atoms("Te"), SoapOptions(), ["Te"])
    with pytest.raises(InputError, match="different elements"):
        references({"a": rocksalt("GeTe", (3, 3, 3)), "b": trigonal("Sb2Te3", (2, 2, 1))})
    with pytest.raises(InputError, match="zeta"):
        SoapOptions(zeta=2.5)
    with pytest.raises(InputError, match="crystal and of disorder"):
        calibrate([np.ones(3)], [])
