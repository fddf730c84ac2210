"""Synthetic training data of any size: extended XYZ in the form of GST-GAP-22, written fast."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from gst_jobflow.structures.composition import atom_counts, parse_formula
from gst_jobflow.structures.material import default_material

FEWEST_ATOMS, MOST_ATOMS = 20, 200
SPACING_A, JITTER_A = 3.15, 0.45
# of a trajectory of 40 frames each, as they come one after the other in real files
CONFIG_TYPES = ("aimd", "melt_quench", "aimd", "phase_transition", "crystal", "hard_sphere", "rss", "other")
FRAMES_OF_ONE = 40


def write_synthetic(path: Path, n: int, seed: int = 0) -> None:
    """Write `n` frames of 20–200 atoms with energy, forces, virial, config_type and sub_config.

    Compositions are those of the GeTe–Sb2Te3 line, atoms sit on jittered grids in slightly skewed cells, closest
    contacts are about 2.3 Å. The same seed gives the same file; a name that ends in .gz is compressed.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as stream:
        stream.writelines(frames(n, seed))


def frames(n: int, seed: int = 0) -> Iterator[str]:
    """Yield the text of `n` frames."""
    random = np.random.default_rng(seed)
    for index in range(n):
        if index % FRAMES_OF_ONE == 0:
            formula = default_material().compositions[random.integers(len(default_material().compositions))]
            unit = sum(parse_formula(formula).values())
            n_atoms = unit * int(random.integers(-(-FEWEST_ATOMS // unit), MOST_ATOMS // unit + 1))
            config_type = CONFIG_TYPES[random.integers(len(CONFIG_TYPES))]
        header = f"config_type={config_type} sub_config=run_{index // FRAMES_OF_ONE}"
        yield frame_text(random, formula, n_atoms, header)


def frame_text(random: np.random.Generator, formula: str, n_atoms: int, header: str) -> str:
    """Return the text of one frame of jittered sites with random energy, forces and virial."""
    sites, grid, template = _layout(formula, n_atoms)
    cell = np.diag(grid * SPACING_A * random.uniform(0.97, 1.05))
    cell[1, 0], cell[2, 1] = random.uniform(-0.04, 0.04, 2) * cell[0, 0]
    jitter = random.uniform(-JITTER_A, JITTER_A, (n_atoms, 3)) / SPACING_A
    table = np.empty((n_atoms, 6))
    table[:, :3] = ((sites + jitter) / grid) @ cell
    table[:, 3:] = random.normal(0, 0.6, (n_atoms, 3))
    virial = random.normal(0, 3, (3, 3))
    virial += virial.T
    energy = n_atoms * (-3.7 + random.normal(0, 0.04))
    lattice = " ".join(f"{x:.8f}" for x in cell.ravel().tolist())
    strain = " ".join(f"{x:.8f}" for x in virial.ravel().tolist())
    return (
        f'{n_atoms}\nLattice="{lattice}" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy:.8f} '
        f'virial="{strain}" {header} pbc="T T T"\n'
    ) + template % tuple(table.ravel().tolist())


@lru_cache(maxsize=1024)
def _layout(formula: str, n_atoms: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Sites in units of the grid's spacing, shape (n_atoms, 3); its size along each axis; the text of the table."""
    edge = int(np.ceil(n_atoms ** (1 / 3)))
    grid = np.array([edge, edge, -(-n_atoms // edge**2)])
    sites = np.argwhere(np.ones(grid, bool))[:n_atoms] + 0.5
    symbols = [symbol for symbol, count in atom_counts(formula, n_atoms).items() for _ in range(count)]
    return sites, grid, "".join(f"{symbol} %.8f %.8f %.8f %.8f %.8f %.8f\n" for symbol in symbols)
