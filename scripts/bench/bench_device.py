#!/usr/bin/env python3
"""Measure the speed of making, moving and reading device cells.

build
    Cell with tiled barrier, written as LAMMPS data, against ASE repeating a crystal of as many atoms and writing it.
    Each runs in a process of its own, whose largest memory Linux tells.
dump
    A frame as our decks write it, against ``ase.io.read``.
md
    A pulse by our decks against a bare NVE deck of the same cell, and gamma against none. Needs ``--potential``.

The barrier is a hard-sphere block that is made beforehand, outside the times: in a study it comes from a melt-quench.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import Row, machine, result_on_stdout, versions
from _device_md import md_rows

from gst_jobflow.base.errors import GstError

if TYPE_CHECKING:
    from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec

PARTS = ("build", "dump", "md")
SIZES = ("small", "full")
ELEMENTS = ("Ge", "Sb", "Te")
CELLS: dict[str, dict[str, tuple[int, int, int]]] = {
    "small": {"cross-point": (16, 9, 8), "mushroom": (42, 9, 30)},
    "full": {"cross-point": (47, 27, 10), "mushroom": (166, 9, 76)},
}
# the mushroom cell of the paper, deeper and wider
HUGE = {"small": (84, 18, 30), "full": (332, 57, 76)}
TIMES_ASE = 2.0
CELL_GB = 1.5
HUGE_GB = 2.0
# time an atom of the huge cell over that of the paper's: linear, with room for a shared machine
LINEAR = 1.3
DUMP_ATOMS = {"small": 200_000, "full": 1_000_000}
REPEATS = {"small": 3, "full": 3}


def spec_of(kind: str, repeat: tuple[int, int, int]) -> CrossPointSpec | MushroomSpec:
    from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec

    if kind == "cross-point":
        return CrossPointSpec.paper(repeat=repeat)
    return MushroomSpec.paper(repeat=repeat, barrier_thickness_A=60.0)


def build(kind: str, repeat: tuple[int, int, int], folder: Path) -> dict[str, float]:
    """Make and write a cell; the time of it, and the largest memory of this process."""
    from ase.io import read

    from gst_jobflow.devices.cell import device_counts
    from gst_jobflow.devices.cell.files import write_device

    spec = spec_of(kind, repeat)
    barrier = read(folder / f"{kind}.xyz")
    start = time.perf_counter()
    write_device(spec, barrier, folder / "cell.data", ELEMENTS)
    return measured(start, sum(device_counts(spec).values()))


def by_ase(n_atoms: int, folder: Path) -> dict[str, float]:
    """Repeat a crystal to about as many atoms and write it, by ASE alone."""
    from ase.build import bulk
    from ase.io import write

    start = time.perf_counter()
    cell = bulk("GeTe", "rocksalt", a=6.03, cubic=True)
    deep = 8
    wide = max(1, round((n_atoms / len(cell) / deep) ** 0.5))
    atoms = cell.repeat((wide, deep, round(n_atoms / len(cell) / deep / wide)))
    write(folder / "ase.data", atoms, format="lammps-data", specorder=["Ge", "Te"])
    return measured(start, len(atoms))


def measured(start: float, n_atoms: int) -> dict[str, float]:
    seconds = time.perf_counter() - start
    # not getrusage, whose maximum a child inherits
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return {"seconds": seconds, "peak_GB": int(status.split()[0]) * 1024 / 1e9, "n_atoms": n_atoms}


def alone(what: str, *arguments: Any) -> dict[str, float]:
    """Run one of the two above in a process of its own."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run([sys.executable, __file__, "--one", what, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def build_rows(size: str, folder: Path) -> Iterator[Row]:
    from ase.io import write

    from gst_jobflow.devices.cell.source import hard_sphere_barrier

    per_atom_us = 0.0
    for kind, repeat in CELLS[size].items():
        write(folder / f"{kind}.xyz", hard_sphere_barrier(spec_of(kind, repeat)), format="extxyz")
        ours, theirs = [], []
        for _ in range(REPEATS[size]):
            ours.append(alone("build", kind, "x".join(map(str, repeat)), folder))
            theirs.append(alone("ase", ours[-1]["n_atoms"], folder))
        n_atoms, ase_atoms = int(ours[0]["n_atoms"]), theirs[0]["n_atoms"]
        took = statistics.median(one["seconds"] for one in ours)
        ase_took = statistics.median(one["seconds"] for one in theirs) * n_atoms / ase_atoms
        name = f"{kind} cell, {n_atoms:,} atoms"
        baseline = "ASE repeat and lammps-data, as many atoms"
        yield Row(f"{name}: built and written", took, "s", baseline, ase_took, limit=TIMES_ASE * ase_took)
        ase_GB = max(one["peak_GB"] for one in theirs)
        yield Row(f"{name}: memory", max(one["peak_GB"] for one in ours), "GB", "ASE, same run", ase_GB, limit=CELL_GB)
        per_atom_us = 1e6 * took / n_atoms
    write(folder / "mushroom.xyz", hard_sphere_barrier(spec_of("mushroom", HUGE[size])), format="extxyz")
    huge = alone("build", "mushroom", "x".join(map(str, HUGE[size])), folder)
    name = f"mushroom cell, {int(huge['n_atoms']):,} atoms"
    huge_us = 1e6 * huge["seconds"] / huge["n_atoms"]
    limit = LINEAR * per_atom_us
    yield Row(f"{name}: built and written, an atom", huge_us, "µs", "the mushroom cell above", per_atom_us, limit=limit)
    yield Row(f"{name}: memory", huge["peak_GB"], "GB", limit=HUGE_GB)


def write_dump(path: Path, n_atoms: int) -> None:
    """One frame as `dynamics.deck` has LAMMPS write it: sorted by id, four decimals."""
    edge_A = 3.1 * n_atoms ** (1 / 3)
    positions = np.random.default_rng(0).random((n_atoms, 3)) * edge_A
    bounds = f"0 {edge_A:.6f}\n" * 3
    head = f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{n_atoms}\nITEM: BOX BOUNDS pp pp pp\n{bounds}"
    lines = (f"{i} {i % 3 + 1} {x:.4f} {y:.4f} {z:.4f} \n" for i, (x, y, z) in enumerate(positions.tolist(), 1))
    text = f"{head}ITEM: ATOMS id type x y z\n{''.join(lines)}".encode()
    path.write_bytes(gzip.compress(text, 6) if path.suffix == ".gz" else text)


def in_turn(functions: list[Callable[[], object]], repeats: int = 5) -> list[float]:
    """Median seconds of each, measured in turn, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def dump_rows(size: str, folder: Path) -> Iterator[Row]:
    from ase.io import read

    from gst_jobflow.dynamics.dump import iter_frames

    n_atoms = DUMP_ATOMS[size]
    for name, remark in (("d.lammpstrj", "text"), ("d.lammpstrj.gz", "gzip")):
        path = folder / name
        write_dump(path, n_atoms)
        same = read(path, format="lammps-dump-text", index=0).positions
        if not np.array_equal(same, next(iter_frames(path)).positions):
            raise SystemExit(f"{path}: ASE and we read different positions")
        ours, theirs = in_turn(
            [
                lambda path=path: next(iter_frames(path)),
                lambda path=path: read(path, format="lammps-dump-text", index=0),
            ]
        )
        # of a gzip file both spend most of their time in zlib
        limit = theirs / 2 if remark == "text" else None
        yield Row(f"dump frame, {n_atoms:,} atoms, {remark}", ours, "s", "ase.io.read", theirs, limit=limit)


def one(what: str, arguments: list[str]) -> dict[str, float]:
    if what == "ase":
        return by_ase(int(float(arguments[0])), Path(arguments[1]))
    nx, ny, nz = (int(n) for n in arguments[1].split("x"))
    return build(arguments[0], (nx, ny, nz), Path(arguments[2]))


def parts_of(options: argparse.Namespace) -> list[str]:
    """What is measured; molecular dynamics only with a potential."""
    if options.potential is not None or options.part:
        if "md" in (options.part or PARTS) and options.potential is None:
            raise SystemExit("part md needs a potential: --potential FOLDER")
        return list(options.part or PARTS)
    print("part md is left out: it needs --potential FOLDER", file=sys.stderr)
    return [part for part in PARTS if part != "md"]


def rows_of(part: str, size: str, folder: Path, potential: Path | None) -> list[Row]:
    if part == "md":
        assert potential is not None  # parts_of sees to it
        return list(md_rows(size, folder, potential))
    return list((build_rows if part == "build" else dump_rows)(size, folder))


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="small ends within two minutes")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--potential", type=Path, help="of part md: a .yace file or a folder of gst export potential")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one[0], options.one[1:])))
        return
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    about = {"machine": machine(), "versions": versions(("gst_jobflow", "ase", "numpy"))}
    try:
        with result_on_stdout(options.json) as show:
            rows: list[Row] = []
            for part in parts_of(options):
                rows += rows_of(part, options.size, folder, options.potential)
            result = {**about, "rows": [row.as_dict() for row in rows]}
            show(result)
    except GstError as error:
        raise SystemExit(f"error: {error.message}\n  → {error.fix}") from error
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
