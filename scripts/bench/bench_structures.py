#!/usr/bin/env python3
"""Measure the speed of making structures: hard-sphere cells, crystals, device cells, ids, LAMMPS data."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Row, main, seconds

from gst_jobflow.devices.cell import CrossPointSpec, barrier_spec, build_device
from gst_jobflow.structures.crystals import trigonal
from gst_jobflow.structures.document_fields import content_hash
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate, min_distance
from gst_jobflow.structures.lammps_data import write_data

if TYPE_CHECKING:
    from ase import Atoms

AMORPHOUS_G_CM3 = 5.9


def hard_sphere_spec(n_atoms: int, distance_A: float = 2.5) -> HardSphereSpec:
    return HardSphereSpec(
        formula="Ge2Sb2Te5",
        n_atoms=n_atoms,
        density_g_cm3=AMORPHOUS_G_CM3,
        min_distance_A=distance_A,
        cell_shape="cubic",
        rounding="nearest",
    )


def sequential_rejection(n_atoms: int, edge_A: float, distance_A: float, patience: int = 20_000) -> int:
    """Place atoms one by one in a cube where there is room, looking at all others; return how many got a place."""
    random = np.random.default_rng(0)
    placed = np.empty((n_atoms, 3))
    for count in range(n_atoms):
        for _ in range(patience):
            trial = random.random(3) * edge_A
            apart = placed[:count] - trial
            apart -= edge_A * np.rint(apart / edge_A)
            if count == 0 or (apart**2).sum(axis=1).min() >= distance_A**2:
                placed[count] = trial
                break
        else:
            return count
    return n_atoms


def hard_sphere_rows(sizes: tuple[int, ...]) -> Iterator[Row]:
    for n_atoms in sizes:
        spec = hard_sphere_spec(n_atoms)
        edge_A = float(generate(spec).cell.lengths()[0])
        yield Row(
            f"hard-sphere Ge2Sb2Te5, {n_atoms:,} atoms, {AMORPHOUS_G_CM3} g/cm3, 2.5 Å",
            seconds(lambda spec=spec: generate(spec)),
            "s",
            "random sequential rejection over all pairs",
            seconds(lambda n=n_atoms, edge=edge_A: sequential_rejection(n, edge, 2.5), repeats=1),
            limit=5.0 if n_atoms == 1000 else None,
        )


def packing_row() -> Row:
    """Compare the shares of atoms that find a place where sequential placement jams (packing fraction 0.44)."""
    spec = hard_sphere_spec(1000, distance_A=3.0)
    atoms = generate(spec)
    edge_A = float(atoms.cell.lengths()[0])
    placed = len(atoms) if min_distance(atoms) >= 3.0 else 0
    return Row(
        "atoms placed of 1,000 at 3.0 Å, 5.9 g/cm3",
        placed,
        "atoms",
        "random sequential rejection, 20,000 tries an atom",
        sequential_rejection(1000, edge_A, 3.0),
        limit=1000,
        better="higher",
    )


def id_of_text(atoms: Atoms) -> str:
    from ase.io import write

    text = io.StringIO()
    write(text, atoms, format="extxyz")
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def smallest_distance_by_ase(atoms: Atoms) -> float:
    from ase.neighborlist import neighbor_list

    return float(neighbor_list("d", atoms, 4.0).min())


def measure(size: str) -> Iterator[Row]:
    full = size == "full"
    yield from hard_sphere_rows((1000, 10_000) if full else (1000, 3000))
    yield packing_row()

    atoms = generate(hard_sphere_spec(1000))
    yield Row(
        "content hash, 1,000 atoms",
        1e3 * seconds(lambda: content_hash(atoms), repeats=9),
        "ms",
        "SHA-256 of extxyz text",
        1e3 * seconds(lambda: id_of_text(atoms), repeats=9),
    )
    yield Row(
        "smallest distance, 1,000 atoms",
        1e3 * seconds(lambda: min_distance(atoms), repeats=9),
        "ms",
        "ASE neighbour list, 4 Å",
        1e3 * seconds(lambda: smallest_distance_by_ase(atoms), repeats=9),
    )

    repeat = (47, 27, 10) if full else (16, 9, 4)
    crystal = trigonal("Ge1Sb2Te4", repeat)
    n_atoms = len(crystal)
    yield Row(
        f"trigonal Ge1Sb2Te4 with disorder, {n_atoms:,} atoms",
        seconds(lambda: trigonal("Ge1Sb2Te4", repeat, disorder=True)),
        "s",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crystal.data"
        yield Row(
            f"LAMMPS data file, {n_atoms:,} atoms",
            seconds(lambda: write_data(crystal, path, ("Ge", "Sb", "Te")), repeats=1),
            "s",
        )
    spec = CrossPointSpec(repeat=repeat, barrier_thickness_A=30)
    barrier = generate(barrier_spec(spec))
    yield Row(
        f"cross-point cell from a random barrier, {n_atoms:,} atoms",
        seconds(lambda: build_device(spec, barrier), repeats=1),
        "s",
        limit=60.0,
    )


if __name__ == "__main__":
    main(__doc__ or "", measure, ("gst_jobflow", "ase", "matscipy", "numpy"))
