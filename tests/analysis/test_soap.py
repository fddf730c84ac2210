"""k-bar of crystals and disorder, its blocks against dscribe's own periodic cells, and the cut-off's calibration."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.analysis.neighbours import blocks, with_images
from gst_jobflow.analysis.soap import SoapOptions, calibrate, kernel, references, similarity
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


@pytest.mark.parametrize("species", [False, True])
def test_the_kernel_is_that_of_dscribe_on_the_periodic_cell(species):
    options = SoapOptions(species=species)
    one, other = crystals()["rock-salt"], disorder()
    own = SOAP(
        species=["Ge", "Sb", "Te"], periodic=True, r_cut=5.5, n_max=8, l_max=6, sigma=0.5,
        **({} if species else {"compression": {"mode": "mu2"}}),
    )  # fmt: skip
    vectors = []
    for atoms in (one, other):
        atoms.wrap()
        made = own.create(atoms)
        vectors.append(made / np.linalg.norm(made, axis=1, keepdims=True))
    assert kernel(one, other, options) == pytest.approx((vectors[0] @ vectors[1].T) ** 4, abs=1e-4)


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
    # more than one block, with neighbours across their borders
    assert similarity(atoms * (2, 3, 2), known) == pytest.approx(np.tile(base, 12), abs=1e-4)


def test_every_atom_is_in_one_block_with_all_of_its_neighbours():
    from matscipy.neighbours import neighbour_list

    atoms = disorder(2) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array + np.array([[0, 0, 0], [6.0, 0, 0], [2.0, 3.0, 0]]), scale_atoms=True)
    expected = np.bincount(neighbour_list("i", atoms, 5.0), minlength=len(atoms))
    seen = np.zeros(len(atoms), dtype=int)
    for centres, points, owners in blocks(atoms, 5.0, 100):
        seen[centres] += 1
        assert np.array_equal(owners[: len(centres)], centres)
        distance = np.linalg.norm(points[None] - points[: len(centres), None], axis=2)
        assert np.array_equal((distance < 5.0).sum(axis=1) - 1, expected[centres])
    assert np.all(seen == 1)


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
    with pytest.raises(InputError, match="different elements"):
        references({"a": rocksalt("GeTe", (3, 3, 3)), "b": trigonal("Sb2Te3", (2, 2, 1))})
    with pytest.raises(InputError, match="zeta"):
        SoapOptions(zeta=2.5)
    with pytest.raises(InputError, match="crystal and of disorder"):
        calibrate([np.ones(3)], [])
