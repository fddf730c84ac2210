#!/usr/bin/env python3
"""How fast frames are analysed.

k-bar
    SOAP similarity to crystals, against dscribe's power spectrum of a cell of 7,000 atoms.
grains
    Template matching and grains with all that we add, against OVITO's two modifiers alone.
structure
    g(r), bond angles and straight triples, against ASE's g(r) and angles of its neighbour list by numpy; beside OVITO's
    g(r), which is fast.
hooks
    A cycle with analyses beside its operations, against the same without.

Times are of the processor, of one core, the best of turns in which each arm runs once: other load on the machine meets
all of them alike. Each arm runs in a process of its own, whose largest memory is given, too. Cells are rock-salt
GeSb2Te4 with random vacancies, rattled by 0.15 Å; for grains a polycrystal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _analysis_hooks import hook_rows
from _common import Row, machine, result_on_stdout, versions

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.analysis.soap import References

PARTS = ("k-bar", "grains", "structure", "hooks")
SIZES = ("small", "full")
TURNS = {"small": 2, "full": 3}
SMALLEST = (10, 10, 10)
#: 7,000 atoms and more, 532,980 as the cross-point cell of the paper, a million
CELLS = {"small": [(20, 20, 20)], "full": [(20, 20, 20), (47, 27, 60), (52, 52, 53)]}
POLYCRYSTAL_A = {"small": 120.0, "full": 257.0}
STRUCTURE = {"small": (20, 20, 20), "full": (52, 52, 53)}
BY_ASE = (8, 8, 8)
MEMORY_GB = 2.0
ELEMENTS = ("Ge", "Sb", "Te")
BONDS_A = {(a, b): 3.4 if (a == "Te") != (b == "Te") else np.nan for a in ELEMENTS for b in ELEMENTS if a <= b}
PAPER_ATOMS = 500_000
LARGE = 30_000


def cell(repeat: tuple[int, int, int], seed: int = 1) -> Atoms:
    from gst_jobflow.structures.crystals import rocksalt

    atoms = rocksalt("GeSb2Te4", repeat, seed=seed)
    atoms.rattle(0.15, seed=seed)
    return atoms


def polycrystal(edge_A: float, n_grains: int = 30) -> Atoms:
    """Voronoi grains of random orientations, without atoms closer than 2 Å."""
    from scipy.spatial import cKDTree
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    centres, turns = random.random((n_grains, 3)) * edge_A, Rotation.random(n_grains, random_state=0)
    tree = cKDTree(centres, boxsize=edge_A)
    pieces = []
    # grains of 30 reach less far than 0.45 of the edge
    n = int(np.ceil(0.9 * edge_A / 6.03))
    for number, (centre, turn) in enumerate(zip(centres, turns, strict=True)):
        block = cell((n, n, n), seed=number)
        block.positions = turn.apply(block.positions - 0.5 * n * 6.03) + centre
        inside = np.abs(block.positions - centre).max(axis=1) < 0.5 * edge_A
        block = block[inside]
        block.positions %= edge_A
        pieces.append(block[tree.query(block.positions)[1] == number])
    atoms = pieces[0]
    for piece in pieces[1:]:
        atoms += piece
    atoms.set_cell([edge_A] * 3)
    atoms.pbc = True
    close = cKDTree(atoms.positions, boxsize=edge_A).query_pairs(2.0, output_type="ndarray")
    del atoms[np.unique(close[:, 1])]
    return atoms


def known_crystals(species: bool) -> References:
    from gst_jobflow.analysis.soap import SoapOptions, references
    from gst_jobflow.structures.crystals import trigonal

    layered = trigonal("GeSb2Te4", (6, 4, 1), disorder=True)
    layered.rattle(0.15, seed=1)
    return references({"rock-salt": cell((5, 5, 5)), "trigonal": layered}, SoapOptions(species=species))


def by_dscribe(atoms: Atoms) -> Callable[[], Any]:
    """Its power spectrum of all atoms, with the options that k-bar has with species."""
    from dscribe.descriptors import SOAP

    soap = SOAP(species=["Ge", "Sb", "Te"], periodic=True, r_cut=5.5, n_max=8, l_max=6, sigma=0.5)
    atoms.wrap()
    return lambda: soap.create(atoms)


def k_bar(atoms: Atoms, species: bool) -> Callable[[], Any]:
    from gst_jobflow.analysis.soap import similarity

    known = known_crystals(species)
    similarity(cell((2, 2, 2)), known)
    return lambda: similarity(atoms, known)


def our_grains(atoms: Atoms) -> Callable[[], Any]:
    from gst_jobflow.analysis.grains import grains

    grains(polycrystal(60.0, 3))
    return lambda: grains(atoms)


def by_ovito(atoms: Atoms) -> Callable[[], Any]:
    """Template matching and segmentation of tellurium with our options, and nothing else."""
    from ovito.modifiers import GrainSegmentationModifier

    from gst_jobflow.analysis.crystallinity import RMSD_CUTOFF, close_packed_matching

    def run(some: Atoms) -> None:
        anions = some[some.numbers == 52]
        outputs = {"output_orientation": True, "output_interatomic_distance": True}
        pipeline, _ = close_packed_matching(anions, RMSD_CUTOFF, **outputs)
        pipeline.modifiers.append(GrainSegmentationModifier(min_grain_size=100, orphan_adoption=False))
        pipeline.compute()

    run(polycrystal(60.0, 3))
    return lambda: run(atoms)


def structure(atoms: Atoms) -> Callable[[], Any]:
    from gst_jobflow.analysis.distributions import radial_distribution
    from gst_jobflow.analysis.motifs import motifs

    def run(some: Atoms) -> None:
        radial_distribution([some], 10.0, 0.05)
        motifs(some, BONDS_A, largest_ring=0)

    run(cell((2, 2, 2)))
    return lambda: run(atoms)


def by_ase(atoms: Atoms) -> Callable[[], Any]:
    """Total g(r) by ASE, and all angles between neighbours within 4 Å from its neighbour list."""
    from ase.geometry.rdf import get_rdf
    from ase.neighborlist import neighbor_list

    def run() -> None:
        get_rdf(atoms, 10.0, 200)
        first, vector = neighbor_list("iD", atoms, 4.0)
        unit = vector / np.linalg.norm(vector, axis=1)[:, None]
        for near in np.split(unit, np.flatnonzero(np.diff(first)) + 1):
            one, other = np.triu_indices(len(near), 1)
            np.histogram(np.degrees(np.arccos(np.clip(np.sum(near[one] * near[other], axis=1), -1, 1))), 90, (0, 180))

    return run


def rdf_by_ovito(atoms: Atoms) -> Callable[[], Any]:
    from ovito.io.ase import ase_to_ovito
    from ovito.modifiers import CoordinationAnalysisModifier  # type: ignore[attr-defined]
    from ovito.pipeline import Pipeline, StaticSource

    def run() -> None:
        pipeline = Pipeline(source=StaticSource(data=ase_to_ovito(atoms)))
        pipeline.modifiers.append(CoordinationAnalysisModifier(cutoff=10.0, number_of_bins=200, partial=True))
        pipeline.compute()

    return run


def our_rdf(atoms: Atoms) -> Callable[[], Any]:
    from gst_jobflow.analysis.distributions import radial_distribution

    radial_distribution([cell((2, 2, 2))])
    return lambda: radial_distribution([atoms], 10.0, 0.05)


ARMS: dict[str, Callable[[Atoms], Callable[[], Any]]] = {
    "dscribe": by_dscribe,
    "species": lambda atoms: k_bar(atoms, True),
    "blind": lambda atoms: k_bar(atoms, False),
    "grains": our_grains,
    "ovito": by_ovito,
    "structure": structure,
    "ase": by_ase,
    "rdf": our_rdf,
    "rdf-ovito": rdf_by_ovito,
}


def one(arm: str, where: str) -> dict[str, float]:
    """Run an arm once: processor seconds, an atom in µs, largest memory of this process in GB."""
    size = where.split("x")
    atoms = polycrystal(float(where)) if len(size) == 1 else cell((int(size[0]), int(size[1]), int(size[2])))
    run = ARMS[arm](atoms)
    times = []
    # the first time of a small cell is also that of getting memory
    for _ in range(1 if len(atoms) > LARGE else 3):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    took = min(times)
    return {"seconds": took, "us": 1e6 * took / len(atoms), "peak_GB": peak_GB(), "n_atoms": len(atoms)}


def peak_GB() -> float:
    """Largest memory of this process; getrusage would also count that of the process which started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e9


def in_turns(arms: list[tuple[str, str]], turns: int) -> list[dict[str, float]]:
    """Best time and largest memory of each (arm, cell); each runs in a process of its own, one after another."""
    best: list[dict[str, float]] = [{} for _ in arms]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(turns):
        for found, arm in zip(best, arms, strict=True):
            command = [sys.executable, __file__, "--one", *arm]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
            new = json.loads(done.stdout)
            for name, value in new.items():
                found[name] = (
                    max(found.get(name, 0), value) if name == "peak_GB" else min(found.get(name, value), value)
                )
    return best


def named(repeat: tuple[int, int, int]) -> str:
    return "x".join(map(str, repeat))


def difference_from_dscribe() -> float:
    """Largest difference of the kernels of two cells of some hundred atoms, with species."""
    from gst_jobflow.analysis.soap import SoapOptions, kernel

    one, other = cell((3, 3, 3)), cell((3, 3, 3), seed=2)
    other.rattle(0.4, seed=3)
    vectors = [by_dscribe(atoms)() for atoms in (one, other)]
    one_, other_ = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    return float(np.abs((one_ @ other_.T) ** 4 - kernel(one, other, SoapOptions(species=True))).max())


def k_bar_rows(size: str) -> Iterator[Row]:
    yield Row("kernel of k-bar, largest difference from dscribe's", difference_from_dscribe(), "", limit=1e-4)
    cells = [SMALLEST, *CELLS[size]]
    arms = [("dscribe", named(SMALLEST)), *((arm, named(each)) for arm in ("species", "blind") for each in cells)]
    theirs, *ours = in_turns(arms, TURNS[size])
    for kind, share, found in (("with species", 0.5, ours[: len(cells)]), ("blind", 0.25, ours[len(cells) :])):
        for each in found:
            name = f"k-bar {kind}, {each['n_atoms']:,.0f} atoms"
            baseline = "dscribe's power spectrum with species, 7,000 atoms"
            yield Row(f"{name}, an atom", each["us"], "µs", baseline, theirs["us"], limit=share * theirs["us"])
            if each["n_atoms"] > PAPER_ATOMS or size == "small":
                yield Row(f"{name}, memory", each["peak_GB"], "GB", limit=MEMORY_GB)
        times = [each["us"] for each in found]
        spread = max(times) / min(times)
        yield Row(f"k-bar {kind}, slowest over fastest an atom of these cells", spread, "times", limit=1.2)


def grain_rows(size: str) -> Iterator[Row]:
    edge = f"{POLYCRYSTAL_A[size]:g}"
    ours, theirs = in_turns([("grains", edge), ("ovito", edge)], TURNS[size])
    name = f"grains of {ours['n_atoms']:,.0f} atoms in 30 grains"
    yield Row(
        name, ours["seconds"], "s", "OVITO's matching and segmentation", theirs["seconds"], 1.1 * theirs["seconds"]
    )
    yield Row(f"{name}, memory", ours["peak_GB"], "GB", "the same", theirs["peak_GB"])


def structure_rows(size: str) -> Iterator[Row]:
    large, small = named(STRUCTURE[size]), named(BY_ASE)
    arms = [("structure", large), ("structure", small), ("ase", small), ("rdf", large), ("rdf-ovito", large)]
    ours, same, ase, rdf, ovito = in_turns(arms, TURNS[size])
    name = f"g(r), angles and straight triples of {ours['n_atoms']:,.0f} atoms"
    yield Row(name, ours["seconds"], "s", limit=60.0)
    yield Row(f"{name}, memory", ours["peak_GB"], "GB", limit=MEMORY_GB)
    for each in (ours, same):
        words = f"the same of {each['n_atoms']:,.0f} atoms, an atom"
        yield Row(words, each["us"], "µs", f"ASE, {ase['n_atoms']:,.0f} atoms", ase["us"], limit=ase["us"] / 5)
    yield Row(f"partial g(r) of {rdf['n_atoms']:,.0f} atoms", rdf["seconds"], "s", "OVITO", ovito["seconds"])


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="small ends within two minutes")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with result_on_stdout(True) as show:
            show(one(*options.one))
        return
    makers = {"k-bar": k_bar_rows, "grains": grain_rows, "structure": structure_rows, "hooks": hook_rows}
    about = {"machine": machine(), "versions": versions(("gst_jobflow", "numba", "numpy", "dscribe", "ovito", "ase"))}
    with result_on_stdout(options.json) as show:
        rows = [row.as_dict() for part in options.part or PARTS for row in makers[part](options.size)]
        show({**about, "rows": rows})


if __name__ == "__main__":
    main()
