#!/usr/bin/env python3
"""How long figures take, and how much memory.

A private project gets 100,000 structures, 50 potentials, studies and 10 device cycles with analysed frames, all
invented; `gst report all` and `gst figure` run on it in processes of their own. Then slices of a cross-point cell of
532,980 atoms are drawn from stored k-bar, beside OVITO's rendering of all its atoms. Times are of the processor, of one
core: other load on the machine does not count.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import Row, main

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _private_project import gst, private_project

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.documents import Potential, Structure
    from gst_jobflow.store import Results

SIZES: dict[str, dict[str, Any]] = {
    "small": {"structures": 2000, "potentials": 5, "cycles": 1, "cell": (10, 10, 10), "paper": (20, 20, 20)},
    "full": {"structures": 100_000, "potentials": 50, "cycles": 10, "cell": (14, 14, 14), "paper": (47, 27, 60)},
}
SETTINGS = "mongo: {port: {port}, cache_gb: 0.5}\n"
FRAMES = 9
OPERATIONS = (("RESET", 20.0), ("SET", 200.0), ("RESET", 40.0), ("SET", 20_000.0))
ONE_FIGURE_S, ALL_S, ALL_GB, PAPER_S, PAPER_GB = 5.0, 90.0, 1.0, 60.0, 2.0


def measure(size: str) -> Iterator[Row]:
    """Fill a private project, then time the commands."""
    from gst_jobflow.store import Results

    wanted = SIZES[size]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gst-figures-")))
        project = private_project(folder / "project", SETTINGS, stack)
        results = Results.open(project)
        stack.callback(results.database.client.close)
        potentials = [add_potential(results, number) for number in range(wanted["potentials"])]
        add_structures(results, wanted["structures"])
        add_studies(results, potentials)
        cells = [make_cell(wanted["cell"], seed) for seed in range(2)]
        for number in range(wanted["cycles"]):
            add_cycle(results, f"cycle {number}", potentials[0], cells, FRAMES)
        what = f"{wanted['structures']:,} structures, {wanted['potentials']} potentials, {wanted['cycles']} cycles"
        for name in ("table-1", "cycle", "snapshots"):
            yield Row(f"gst figure {name}", timed(gst(project, "figure", name, "--paper"))[0], "s", limit=ONE_FIGURE_S)
        cpu_s, memory_GB = timed(gst(project, "report", "all", "--paper"))
        yield Row(f"gst report all: {what}", cpu_s, "s", limit=ALL_S)
        yield Row("largest memory", memory_GB, "GB", limit=ALL_GB)
        yield from paper_sized(project, results, potentials[0], wanted["paper"])


def paper_sized(project: Any, results: Results, potential: Potential, repeat: tuple[int, int, int]) -> Iterator[Row]:
    """Time slices of a large cell, and OVITO's rendering of all its atoms."""
    from gst_jobflow.report.figures import snapshots

    atoms = make_cell(repeat, 0)
    cycle = add_cycle(results, "large", potential, [atoms, atoms], 2)
    cpu_s, memory_GB = timed(gst(project, "figure", "snapshots", cycle))
    snapshots.MOST_SPHERES = len(atoms)
    start = spent_s()
    made = snapshots.render_cells([snapshots.snapshot_cell("all", atoms)])
    all_s = spent_s() - start
    name = f"slices of {len(OPERATIONS) + 1} states of {len(atoms):,} atoms"
    yield Row(name, cpu_s, "s", f"all atoms of one state by {made.renderer}", all_s, PAPER_S)
    yield Row("largest memory of the slices", memory_GB, "GB", limit=PAPER_GB)


def timed(words: list[str]) -> tuple[float, float]:
    """Return processor time (s) and largest memory (GB) of a command."""
    process = subprocess.Popen(words, stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def spent_s() -> float:
    """Return the processor time of this process and of its children that have ended, s."""
    return sum(os.times()[:4])


def make_cell(repeat: tuple[int, int, int], seed: int) -> Atoms:
    from gst_jobflow.structures.crystals import rocksalt

    atoms = rocksalt("Ge1Sb2Te4", repeat, seed=seed)
    atoms.rattle(0.15, seed=seed)
    return atoms


def add_structures(results: Results, number: int) -> None:
    """Insert copies of one structure under other ids: pages and figures count them."""
    from gst_jobflow.store.atoms import structure_document

    one = structure_document(make_cell((2, 2, 2), 0), "rss").to_mongo()
    for first in range(0, number, 5000):
        ids = [f"{index:032x}" for index in range(first, min(first + 5000, number))]
        results.database["structures"].insert_many([{**one, "_id": id, "group": id} for id in ids], ordered=False)


def add_potential(results: Results, number: int) -> Potential:
    from gst_jobflow.documents import Dataset, Potential, PotentialArtifacts, Rmse

    file = results.artifacts.put_bytes(b"invented", "output_potential.yace")
    counts = {"train": {"aimd": 900, "rss": 60 + number}, "test": {"aimd": 100, "rss": 6}}
    dataset = Dataset(
        _id=f"dataset-{number:03d}", name=f"iter-{number}", fingerprint="cp2k:0", elements=["Ge", "Sb", "Te"],
        n_members=1066 + number, n_atoms=100_000, counts={"train": 960 + number, "test": 106}, iteration=number,
        counts_by_config_type=counts, reference_energies_eV={}, reference_energies_source="invented", split={},
        members=file,
    )  # fmt: skip
    potential = Potential(
        _id=f"potential-{number:03d}", name=f"potential {number}", dataset_id=dataset.id, elements=["Ge", "Sb", "Te"],
        n_densities=3, n_functions=3000, cutoff_A=8.0, artifacts=PotentialArtifacts(yace=file),
        rmse={"test": Rmse(energy_meV_per_atom=20.0 - 0.1 * number, force_meV_per_A=140.0 - number)},
    )  # fmt: skip
    results.add_many([dataset, potential])
    return potential


def add_studies(results: Results, potentials: list[Potential]) -> None:
    """An ablation and a robustness study of all potentials."""
    from gst_jobflow.documents import Member, Study

    fits = [Member(collection="potentials", id=each.id, role="fit") for each in potentials]
    rows, melts = [], []
    for number, each in enumerate(potentials):
        share = 1 - number / len(potentials)
        rows.append({"random_share": share, "functions": 3000, "test_energy_meV_per_atom": 20.0, "relative_speed": 1.0,
                     "test_force_meV_per_A": 140.0, "success": share, "success_low": 0.9 * share,
                     "success_high": min(1.0, share + 0.05)})  # fmt: skip
        melts.append({"composition": "all", "potential_id": each.id, "potential": each.name, "fraction": share,
                      "low": 0.9 * share, "high": min(1.0, share + 0.05), "runs": 70})  # fmt: skip
    results.add_many([
        Study(_id="ablation", name="ablation", kind="ablation", state="finished", members=fits, table=rows,
              plan={"vary": {}, "random_shares": {"1": "dataset-000"}, "dataset_id": "dataset-000"}),
        Study(_id="robustness", name="robustness", kind="robustness", state="finished", plan={}, table=melts),
    ])  # fmt: skip


def add_cycle(results: Results, name: str, potential: Potential, cells: list[Atoms], frames: int) -> str:
    """A cross-point cycle whose operations have series, profiles and analysed frames; return its id."""
    from gst_jobflow.documents import Cycle, Operation, derive_id
    from gst_jobflow.store.atoms import structure_document

    states = [structure_document(atoms, "device", artifacts=results.artifacts) for atoms in cells]
    results.add_many(states)
    cycle_id, operations = derive_id("invented cycle", name), []
    for index, (kind, duration_ps) in enumerate(OPERATIONS):
        run_id = add_run(results, (cycle_id, index), kind, duration_ps, (states[0], states[1]), potential, frames)
        operations.append(Operation(kind=kind, stages=[], trajectory_id=run_id, duration_ps=duration_ps))
    results.add(
        Cycle(_id=cycle_id, name=name, device="cross-point", formula=states[0].formula, n_atoms=states[0].n_atoms,
              groups={"mobile": [1, states[0].n_atoms]}, potential_id=potential.id, structure_id=states[0].id,
              state="finished", operations=operations, seed=1)
    )  # fmt: skip
    return cycle_id


def add_run(
    results: Results,
    place: tuple[str, int],
    kind: str,
    duration_ps: float,
    states: tuple[Structure, Structure],
    potential: Potential,
    frames: int,
) -> str:
    from gst_jobflow.analysis.series import SeriesWriter
    from gst_jobflow.documents import Trajectory, derive_id

    random = np.random.default_rng(place[1])
    time_ps, n_steps = np.linspace(0, duration_ps, 500), round(duration_ps * 500)
    z, moments = np.linspace(2, 400, 80), np.linspace(0, duration_ps, 20)
    profile = (300 + 900 * random.random((20, 80))).tolist()
    run = Trajectory(
        _id=derive_id(*place), name=kind, protocol=kind, stages=[], potential_id=potential.id, cycle_id=place[0],
        operation_index=place[1], start_structure_id=states[0].id, final_structure_id=states[1].id, state="finished",
        formula=states[0].formula, n_atoms=states[0].n_atoms, timestep_fs=2.0, n_steps=n_steps, duration_ps=duration_ps,
        n_frames=frames, seed=1,
        thermo={"time_ps": time_ps.tolist(), "potential_eV": random.normal(-3e4, 10, 500).tolist(),
                "temperature_K": random.normal(600, 20, 500).tolist()},
        analysis={"temperature_profile": {"z_A": z.tolist(), "time_ps": moments.tolist(), "temperature_K": profile},
                  "crystalline": {"time_ps": moments.tolist(), "fraction": random.random(20).tolist(), "method": "x"}},
    )  # fmt: skip
    results.add(run)
    described = {"definition": "invented", "parameters": {}, "versions": {}}
    for name, numbers, arrays in analyses(states[0].n_atoms, random):
        writer = SeriesWriter(results, run, name, described)
        for step in np.linspace(0, n_steps, frames).round().astype(int).tolist():
            writer.put(step, {"step": step, "time_ps": 0.002 * step, **numbers}, arrays)
    return run.id


def analyses(n_atoms: int, random: np.random.Generator) -> Iterator[tuple[str, dict[str, Any], dict[str, np.ndarray]]]:
    turned = random.normal(size=(277, 4))
    sizes = {"grain.atoms": random.integers(50, 2000, 277), "grain.diameter_A": random.uniform(10, 60, 277)}
    yield "k-bar", {"k_bar_mean": 0.8}, {"k_bar": random.random(n_atoms)}
    yield "tellurium", {"crystalline_fraction": 0.5}, {"crystalline": random.integers(0, 2, n_atoms)}
    yield (
        "grains",
        {"n_grains": 277},
        {
            "grain": random.integers(0, 278, n_atoms),
            "grain.orientation": turned / np.linalg.norm(turned, axis=1, keepdims=True),
            **sizes,
        },
    )
    yield "growth", {"new_atoms": 9, "growth_share": 0.5}, {"origin": random.integers(0, 5, n_atoms)}
    yield "gamma", {"gamma_max": 2.0, "gamma_above_1": 0.01}, {}


if __name__ == "__main__":
    main(__doc__ or "", measure, ["matplotlib", "numpy", "ovito"])
