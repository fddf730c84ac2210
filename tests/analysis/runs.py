"""Stored runs with dumps for the tests of analyses."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase import Atoms

from gst_jobflow.documents import Potential, Trajectory
from gst_jobflow.documents.potential import PotentialArtifacts
from gst_jobflow.store import Results
from gst_jobflow.structures.crystals import rocksalt

ELEMENTS = ["Ge", "Sb", "Te"]
Gst = Callable[..., tuple[int, Any, str]]


def frame(stdev_A: float) -> Atoms:
    atoms = rocksalt("GeSb2Te4", (3, 3, 3))
    atoms.rattle(stdev_A, seed=1)
    atoms.wrap()
    return atoms


def dumped(path: Path, frames: dict[int, Atoms]) -> Path:
    lines = []
    for step, atoms in frames.items():
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(atoms)), "ITEM: BOX BOUNDS pp pp pp"]
        lines += [f"0 {edge!r}" for edge in atoms.cell.lengths().tolist()]
        lines += ["ITEM: ATOMS id type x y z"]
        lines += [
            f"{number} {ELEMENTS.index(atom.symbol) + 1} " + " ".join(repr(float(x)) for x in atom.position)
            for number, atom in enumerate(atoms, 1)
        ]
    with gzip.open(path, "wt") as file:
        file.write("\n".join(lines) + "\n")
    return path


def stored(
    results: Results, folder: Path, frames: dict[int, Atoms], file: Path | None = None, **more: Any
) -> Trajectory:
    artifacts = PotentialArtifacts(
        yaml=results.artifacts.put_bytes(b"a", "p.yaml"), yace=results.artifacts.put_bytes(b"b", "p.yace")
    )
    numbers = {"n_densities": 1, "n_functions": 1, "n_parameters": 1, "cutoff_A": 6.0, "seed": 1}
    results.add(
        Potential(
            _id="p", name="p", dataset_id=None, elements=ELEMENTS, rmse={}, config={}, artifacts=artifacts, **numbers
        )
    )
    fields = {"final_structure_id": None, "n_steps": 300} | more
    trajectory = Trajectory(
        _id="run",
        name="quench",
        protocol="melt_quench",
        stages=[],
        potential_id="p",
        formula="Ge1Sb2Te4",
        n_atoms=len(frames[0]),
        state="finished",
        timestep_fs=2.0,
        duration_ps=0.6,
        n_frames=len(frames),
        seed=1,
        **fields,
        files=[results.artifacts.put(file or dumped(folder / "dump_1.lammpstrj.gz", frames))],
    )
    results.add(trajectory)
    return trajectory
