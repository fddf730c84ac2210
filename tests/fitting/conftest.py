"""A cheap teacher, and one tiny real fit that all tests of finished fits share."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from gst_jobflow.datasets import LabelledStructure
from gst_jobflow.fitting.config import (
    BackendConfig,
    EmbeddingConfig,
    FitConfig,
    FunctionsConfig,
    LossConfig,
    OptimizerConfig,
    RadialConfig,
)

ATOM_ENERGY_EV = {"Ge": -3.0, "Sb": -4.0, "Te": -3.5}


def labelled_by_teacher(n: int, seed: int, elements=("Sb", "Te")) -> list[LabelledStructure]:
    """Return `n` shaken simple-cubic cells of 4 to 8 atoms, labelled by Lennard-Jones, of two config_types."""
    rng = np.random.default_rng(seed)
    sites = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)])
    items = []
    for i in range(n):
        symbols = rng.choice(elements, rng.integers(4, 9))
        shaken = sites[: len(symbols)] + 0.02 * rng.normal(size=(len(symbols), 3))
        atoms = Atoms(symbols, scaled_positions=shaken, cell=rng.uniform(5.8, 6.4, 3), pbc=True)
        atoms.calc = LennardJones(sigma=2.6, epsilon=0.2, rc=5.0, smooth=True)
        energy = atoms.get_potential_energy() + sum(ATOM_ENERGY_EV[s] for s in symbols)
        name = ("crystal", "rss")[i % 2]
        ours = atoms.copy()
        if i % 5 == 4:  # some published cells are left-handed
            ours.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=False)
        items.append(LabelledStructure(ours, energy, atoms.get_forces(), f"{seed}-{i}", name, 1.0 + i % 2))
    return items


def tiny_config(n_densities: int, maxiter: int, elements: tuple[str, ...] = ("Sb", "Te")) -> FitConfig:
    """Return a fit; TensorFlow's tracing takes most of its time and grows with the elements and densities."""
    return FitConfig(
        elements=elements,
        embedding=EmbeddingConfig(n_densities=n_densities),
        radial=RadialConfig(rcut_A=5.0),
        functions=FunctionsConfig(number_of_functions_per_element=10, nradmax_by_orders=(4, 2), lmax_by_orders=(0, 1)),
        loss=LossConfig(w0_rad=0, w1_rad=0, w2_rad=0),
        optimizer=OptimizerConfig(maxiter=maxiter),
        backend=BackendConfig(batch_size=100, display_step=4, gpu=None),
    )


@dataclass
class TinyFit:
    """A finished fit and what it was made of."""

    directory: Path
    config: FitConfig
    train: list[LabelledStructure]
    test: list[LabelledStructure]
    files: object


@pytest.fixture(scope="session")
def tiny_fit(tmp_path_factory) -> TinyFit:
    """Run pacemaker once: P = 3, 20 functions, 8 iterations, with the penalties on radial functions."""
    # looked for, not imported: TensorFlow would stay in this process
    if importlib.util.find_spec("tensorpotential") is None:
        pytest.skip("pacemaker's tensorpot evaluator is not installed")
    from gst_jobflow.base.pacemaker import PacemakerRunner
    from gst_jobflow.fitting.run import run_fit

    directory = tmp_path_factory.mktemp("fit")
    config = tiny_config(n_densities=3, maxiter=8).model_copy(update={"loss": LossConfig()})
    train, test = labelled_by_teacher(20, seed=1), labelled_by_teacher(6, seed=2)
    files = run_fit(PacemakerRunner.discover(), config, train, test, ATOM_ENERGY_EV, directory)
    return TinyFit(directory, config, train, test, files)
