#!/usr/bin/env python3
"""Fits: a dataset of GST-GAP-22's size as pacemaker reads it, and what a job adds to the programs that it runs.

`--size full` prepares 2,692 structures with 341,132 atoms, and fits for about ten minutes on one thread; `small` 200
structures and a fit of a minute. The part `search` minimises an analytic function in place of fits.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _common import Row, machine, result_on_stdout, versions
from _search import search_rows
from _synthetic import frame_text
from bench_db import gst, new_project, resident_MB

from gst_jobflow.base.settings import Project
from gst_jobflow.store import Results
from gst_jobflow.structures.composition import parse_formula
from gst_jobflow.structures.material import default_material

PARTS = ("dataset", "orchestration", "search")
STRUCTURES = {"small": 200, "full": 2_692}
ATOMS_OF_ALL = 341_132
FEWEST_ATOMS, MOST_ATOMS, SHARE_OF_SMALL, MOST_OF_SMALL = 6, 315, 0.3, 60
PREPARED_S, PREPARED_MB, OVERHEAD = 60.0, 2_000.0, 1.02
ITERATIONS = {"small": 5, "full": 1_000}
FITTED = 60

_PREPARE = """
import sys
from pathlib import Path
from gst_jobflow.datasets import load_split
from gst_jobflow.documents import Dataset
from gst_jobflow.fitting.frame import to_dataframe, write_pckl
from gst_jobflow.base.settings import find_project
from gst_jobflow.store import Results
results = Results.open(find_project())
dataset = results.get(Dataset, sys.argv[1])
for split in ("train", "test"):
    frame = to_dataframe(load_split(results, dataset, split), dataset.reference_energies_eV)
    write_pckl(frame, Path(sys.argv[2]) / f"{split}.pckl.gzip")
"""
"""What the job of a fit does before it starts pacemaker."""

_BASELINE = """
import sys
import ase.io
import pandas as pd
atoms = ase.io.read(sys.argv[1], ":")
frame = pd.DataFrame({"ase_atoms": atoms, "energy": [a.get_potential_energy() for a in atoms],
                      "forces": [a.get_forces() for a in atoms]})
frame["energy_corrected"] = frame["energy"]
frame.to_pickle(sys.argv[2], compression="gzip", protocol=4)
"""
"""The way of pacemaker's own examples, with one file as its source."""


def sizes(number: int, atoms_of_all: int, seed: int = 1) -> np.ndarray:
    """Numbers of atoms, even, with exactly the given sum: a share of small cells, all others up to `MOST_ATOMS`.

    GST-GAP-22's own list of sizes is not at hand; number of structures and of atoms are.
    """
    random = np.random.default_rng(seed)
    small = random.random(number) < SHARE_OF_SMALL
    found = np.where(
        small, random.integers(3, MOST_OF_SMALL // 2, number), random.integers(30, MOST_ATOMS // 2, number)
    )
    place = 0
    while (missing := atoms_of_all // 2 - int(found.sum())) != 0:
        step = int(np.sign(missing))
        if not small[place % number] and FEWEST_ATOMS // 2 <= found[place % number] + step <= MOST_ATOMS // 2:
            found[place % number] += step
        place += 1
    return 2 * found


def write(path: Path, numbers: np.ndarray) -> None:
    """Write labelled random structures of so many atoms; where a formula does not divide, GeTe does."""
    random = np.random.default_rng(0)
    with path.open("w") as stream:
        for index, n_atoms in enumerate(numbers.tolist()):
            formula = default_material().compositions[index % len(default_material().compositions)]
            if n_atoms % sum(parse_formula(formula).values()):
                formula = "GeTe"
            kind = ("aimd", "melt_quench", "crystal", "rss")[index % 4]
            stream.write(frame_text(random, formula, n_atoms, f"config_type={kind} sub_config=run_{index}"))


def watched(project: Project, *command: str) -> tuple[float, float]:
    """Wall time, s, and largest memory, MB, of a Python program in the project."""
    start, peak = time.perf_counter(), 0.0
    with subprocess.Popen(
        [sys.executable, "-c", *command], env={**os.environ, "GST_PROJECT": str(project.root)}, cwd=project.root
    ) as process:
        while process.poll() is None:
            peak = max(peak, resident_MB(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    return time.perf_counter() - start, peak


def make_dataset(project: Project, file: Path, name: str) -> str:
    """Import a file and make a dataset of it; its id."""
    gst(project, "structures", "import", str(file), "--method-name", "synthetic", "--tag", name, "--json")
    gst(project, "dataset", "create", name, "-w", f"tags={name}")
    found = Results.open(project).database["datasets"].find_one({"name": name}, {"_id": 1})
    assert found is not None
    return str(found["_id"])


def dataset_rows(project: Project, folder: Path, number: int) -> Iterator[Row]:
    """From the database to the two files of a fit."""
    full = number == STRUCTURES["full"]
    numbers = sizes(number, ATOMS_OF_ALL if full else 2 * (number * ATOMS_OF_ALL // STRUCTURES["full"] // 2))
    file = folder / "all.extxyz"
    write(file, numbers)
    dataset = make_dataset(project, file, "gap-22")
    out = folder / "out"
    out.mkdir()
    wall_s, peak = watched(project, _PREPARE, dataset, str(out))
    baseline_s, baseline_MB = watched(project, _BASELINE, str(file), str(folder / "baseline.pckl.gzip"))
    what = f"{number:,} structures, {int(numbers.sum()):,} atoms, to pacemaker's dataframes"
    named = "ASE reads extended XYZ, pandas writes"
    yield Row(what, wall_s, "s", named, baseline_s, limit=PREPARED_S if full else None)
    yield Row("largest memory of it", peak, "MB", named, baseline_MB, limit=PREPARED_MB)


def orchestration_rows(project: Project, folder: Path, iterations: int) -> Iterator[Row]:
    """A fit as `gst submit fit` and `rlaunch` run it, against the programs of pacemaker in it."""
    from gst_jobflow.launch.configs import environment

    file = folder / "few.extxyz"
    write(file, np.full(FITTED, 20))
    dataset = make_dataset(project, file, "few")
    gst(
        project, "submit", "fit", dataset, "--preset", "small", "--option", f"optimizer.maxiter={iterations}",
        "--name", "timed",
    )  # fmt: skip
    start = time.perf_counter()
    subprocess.run(
        [Path(sys.executable).with_name("rlaunch"), "-c", project.fw_configs_dir, "singleshot"],
        cwd=project.root, env={**os.environ, **environment(project), "GST_PACEMAKER__THREADS": "1"},
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    wall_s = time.perf_counter() - start
    potential = Results.open(project).database["potentials"].find_one({"name": "timed"})
    if potential is None:
        attempt = Results.open(project).database["attempts"].find_one({}) or {}
        raise SystemExit(f"the fit failed: {attempt.get('reason')}")
    programs_s = potential["cost"]["wall_s"]
    what = f"job of a fit of {iterations:,} iterations, from rlaunch's start to its end"
    named = "pacemaker and its two converters, in it"
    goal = OVERHEAD * programs_s if iterations == ITERATIONS["full"] else None
    yield Row(what, wall_s, "s", named, programs_s, limit=goal)
    yield Row("of it neither pacemaker's nor its converters'", wall_s - programs_s, "s")


def measure(folder: Path, size: str, parts: list[str], iterations: int) -> Iterator[Row]:
    """Start a database, where a part needs one, measure, and stop it."""
    if "search" in parts:
        yield from search_rows(size)
    if parts == ["search"]:
        return
    project = new_project(folder / "project")
    gst(project, "init", ".", "--force")
    project = Project(project.root)
    gst(project, "db", "up")
    try:
        if "dataset" in parts:
            yield from dataset_rows(project, folder, STRUCTURES[size])
        if "orchestration" in parts:
            yield from orchestration_rows(project, folder, iterations)
    finally:
        gst(project, "db", "down")


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=STRUCTURES, default="small")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--iterations", type=int, help="of the fit of the part orchestration")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    try:
        with result_on_stdout(options.json) as show:
            packages = (
                "gst_jobflow",
                "python-ace",
                "tensorpotential",
                "tensorflow-cpu",
                "pandas",
                "ase",
                "scikit-learn",
                "scikit-optimize",
            )
            iterations = options.iterations or ITERATIONS[options.size]
            measured = measure(folder, options.size, options.part or list(PARTS), iterations)
            rows = [row.as_dict() for row in measured]
            result = {"machine": machine(), "versions": versions(packages), "rows": rows}
            show(result)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
