"""Crystal-like atoms of crystals, rattled crystals and random cells."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from gst_jobflow.analysis.crystallinity import crystal_profile, crystallinity
from gst_jobflow.base.errors import DataError, InputError

pytest.importorskip("ovito")


def trigonal_sb2te3() -> Atoms:
    atoms = crystal(
        ["Sb", "Te", "Te"],
        [(0, 0, 0.399), (0, 0, 0), (0, 0, 0.211)],
        spacegroup=166,
        cellpar=[4.264, 4.264, 30.46, 90, 90, 120],
    )
    return atoms * (4, 4, 1)


def rock_salt_gst124(seed: int = 0) -> Atoms:
    """Cation sites 1/4 Ge, 1/2 Sb, 1/4 empty; Te complete."""
    atoms = bulk("GeTe", "rocksalt", a=6.02, cubic=True) * (4, 4, 4)
    cations = np.random.default_rng(seed).permutation(np.flatnonzero(atoms.numbers == 32))
    quarter = len(cations) // 4
    atoms.numbers[cations[: 2 * quarter]] = 51
    del atoms[cations[3 * quarter :]]
    return atoms


def random_cell(n: int = 300, closest_A: float = 2.5, seed: int = 0) -> Atoms:
    """Atoms dropped at random, none nearer than `closest_A`, at 30.5 Å^3 an atom."""
    rng, side = np.random.default_rng(seed), (n * 30.5) ** (1 / 3)
    points = np.empty((0, 3))
    while len(points) < n:
        trial = rng.random(3) * side
        apart = points - trial
        apart -= side * np.round(apart / side)
        if not len(points) or np.min(np.sum(apart**2, axis=1)) > closest_A**2:
            points = np.vstack([points, trial])
    symbols = np.where(np.arange(n) < 2 * n // 5, "Sb", "Te")
    return Atoms(symbols, positions=points, cell=[side] * 3, pbc=True)


def rattled(atoms: Atoms, stdev_A: float) -> Atoms:
    moved = atoms.copy()
    moved.rattle(stdev_A, seed=1)
    return moved


@pytest.mark.parametrize("perfect", [trigonal_sb2te3(), rock_salt_gst124()], ids=["trigonal", "rock-salt"])
@pytest.mark.parametrize("stdev_A", [0.0, 0.15, 0.20])
def test_crystals_are_crystal_like_up_to_the_amplitudes_of_high_temperature(perfect, stdev_A):
    # mean amplitude in Sb2Te3 at 600 K is near 0.2 Å
    assert crystallinity(rattled(perfect, stdev_A)).fraction > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_random_cells_are_not(seed):
    assert crystallinity(random_cell(seed=seed)).fraction < 0.01


def test_a_slab_of_random_atoms_is_told_from_the_crystal_below_it():
    atoms = rock_salt_gst124()
    top = atoms.positions[:, 2] > 12.0
    rng = np.random.default_rng(4)
    atoms.positions[top] += rng.normal(0, 1.2, (int(top.sum()), 3))
    found = crystallinity(atoms)
    assert found.mask.shape == (len(atoms),)
    assert crystallinity(atoms, group=atoms.positions[:, 2] < 8.0).fraction > 0.6
    assert crystallinity(atoms, group=(atoms.positions[:, 2] > 15) & (atoms.positions[:, 2] < 21)).fraction < 0.1
    z, fraction, counts = crystal_profile(atoms, found.mask, bin_A=6.0)
    assert len(z) == 4
    assert counts.sum() == len(atoms)
    assert fraction[0] > 0.5 > 0.1 > fraction[2]


def test_the_answer_does_not_depend_on_order_origin_or_images():
    atoms = rattled(trigonal_sb2te3(), 0.25)
    one = crystallinity(atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms[order]
    moved.positions += [1.7, -40.0, 13.1]
    other = crystallinity(moved)
    # an atom exactly at the cutoff may change sides with the rounding of a shift
    assert np.mean(other.mask != one.mask[order]) < 0.01


def test_bad_input_is_named():
    atoms = trigonal_sb2te3()
    with pytest.raises(InputError, match="no Se"):
        crystallinity(atoms, anion="Se")
    with pytest.raises(InputError, match="no atoms"):
        crystallinity(atoms, group=np.zeros(len(atoms), dtype=bool))
    atoms.positions[3, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        crystallinity(atoms)
