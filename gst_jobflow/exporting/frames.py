"""The frames of a run with what was computed of each atom, as extended XYZ or as a LAMMPS dump."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.series import Series, series_of
from gst_jobflow.base.errors import DataError, InputError, nearest
from gst_jobflow.documents import Potential, Trajectory
from gst_jobflow.dynamics.dump import bounds_of
from gst_jobflow.exporting.targets import check_target, move_to_target, part_of
from gst_jobflow.selection.frames import states_of
from gst_jobflow.store import Results

_GZIP_LEVEL = 4


def export_frames(
    results: Results,
    run: Trajectory,
    target: Path,
    *,
    every: int = 1,
    arrays: Sequence[str] = (),
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Write the frames of a run, with the arrays of its analyses, to one file; return how many were written.

    Arrays of frames that were not analysed are NaN. A frame that cannot be read is left out and reported to `tell`.

    Parameters
    ----------
    target
        ``….extxyz`` or ``….xyz``, ``….lammpstrj`` or ``….dump``; each also with ``.gz``.
    every
        Only each n-th frame, and the last state.
    arrays
        Names of arrays of atoms, such as ``k_bar`` and ``grain``; empty: all.

    Raises
    ------
    InputError
        The name implies no format, an array is unknown, or the target exists.
    """
    write = _writer(target)
    check_target(target, force)
    chosen = _chosen(results, run, arrays)
    elements = results.get(Potential, run.potential_id).elements if run.potential_id else []
    count = 0
    with part_of(target) as scratch:
        part = scratch / target.name
        with _opened(part) as file:
            for step, atoms in _frames(results, run, every, chosen, tell):
                write(file, step, atoms, step * run.timestep_fs * 1e-3, elements, sorted(chosen))
                count += 1
        if not count:
            raise DataError(f"no frame of trajectory {run.id} can be read", "gst db check --deep")
        move_to_target(part, target)
    return count


def _chosen(results: Results, run: Trajectory, arrays: Sequence[str]) -> dict[str, Series]:
    held = _held(results, run)
    if unknown := [name for name in arrays if name not in held]:
        raise InputError(
            f"trajectory {run.id} has no array '{unknown[0]}'",
            nearest(unknown[0], held) if held else f"gst analyse {run.id} --what k-bar,grains",
        )
    return {name: held[name] for name in arrays or held}


def _held(results: Results, run: Trajectory) -> dict[str, Series]:
    """Return the series that has each array of atoms; of two with one name that with more frames."""
    held: dict[str, Series] = {}
    for series in sorted(series_of(run), key=lambda each: len(each.steps)):
        if series.steps:
            names = series.arrays(results.artifacts, series.steps[0])
            held |= {name: series for name in names if "." not in name}
    return held


def _frames(
    results: Results, run: Trajectory, every: int, chosen: dict[str, Series], tell: Callable[[str], None]
) -> Iterator[tuple[int, Atoms]]:
    for found in states_of(results, run, every):
        step = int(found.step or 0)
        if found.problem:
            tell(f"{found.name}: {found.problem}")
            continue
        keys = {series.key: series for series in chosen.values() if step in series.steps}
        read = {key: series.arrays(results.artifacts, step) for key, series in keys.items()}
        for name, series in chosen.items():
            values = read.get(series.key, {}).get(name)
            empty = np.full(len(found.atoms), np.nan, dtype=np.float32)
            found.atoms.set_array(name, empty if values is None else values)
        yield step, found.atoms


Write = Callable[[IO[str], int, "Atoms", float, list[str], list[str]], None]


def _writer(target: Path) -> Write:
    ending = target.name.removesuffix(".gz").rpartition(".")[2]
    if ending in ("extxyz", "xyz"):
        return _write_extxyz
    if ending in ("lammpstrj", "dump"):
        return write_dump
    raise InputError(f"the name {target.name} says no format", "end it in .extxyz or .lammpstrj, also with .gz")


def _opened(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return cast("IO[str]", gzip.open(file, "wt", compresslevel=_GZIP_LEVEL))
    return file.open("w")


def _write_extxyz(
    file: IO[str], step: int, atoms: Atoms, time_ps: float, elements: list[str], names: list[str]
) -> None:
    from ase.io.extxyz import write_extxyz

    atoms.info = {"step": step, "time_ps": time_ps}
    kept = [name for name in ("gamma",) if name in atoms.arrays and name not in names]
    columns = ["symbols", "positions", *(["momenta"] if atoms.has("momenta") else []), *names, *kept]
    write_extxyz(file, [atoms], columns=columns, write_results=False)


def write_dump(file: IO[str], step: int, atoms: Atoms, time_ps: float, elements: list[str], names: list[str]) -> None:
    """Write a dump of LAMMPS; its types are those of the potential."""
    cell = np.asarray(atoms.cell)
    if np.any(np.abs(cell[[0, 0, 1], [1, 2, 2]]) > 1e-9 * np.abs(cell).max()):
        raise InputError("a dump needs its first cell vector along x, its second in the xy plane", "-o ….extxyz")
    symbols = atoms.get_chemical_symbols()
    types = {element: number for number, element in enumerate(elements or sorted(set(symbols)), 1)}
    columns: dict[str, NDArray] = {name: atoms.arrays[name] for name in names}
    if "gamma" in atoms.arrays:
        columns.setdefault("gamma", atoms.arrays["gamma"])
    bounds, kind = _bounds(cell)
    file.write(f"ITEM: TIMESTEP\n{step}\nITEM: UNITS\nmetal\nITEM: TIME\n{time_ps:.10g}\n")
    file.write(f"ITEM: NUMBER OF ATOMS\n{len(atoms)}\nITEM: BOX BOUNDS {kind}pp pp pp\n{bounds}")
    file.write(f"ITEM: ATOMS id type element x y z {' '.join(columns)}".rstrip() + "\n")
    values = np.column_stack([atoms.positions, *columns.values()]) if columns else atoms.positions
    form = "%d %d %s %.8g %.8g %.8g" + " %.7g" * len(columns)
    file.writelines(
        form % (number, types[symbol], symbol, *row) + "\n"
        for number, (symbol, row) in enumerate(zip(symbols, values.tolist(), strict=True), 1)
    )


def _bounds(cell: NDArray) -> tuple[str, str]:
    """Return the lines of the box and its kind; a tilted box is given by the box around it (LAMMPS manual)."""
    rows = bounds_of(cell)
    if not any(tilt for _, _, tilt in rows):
        return "".join(f"{low:.10g} {high:.10g}\n" for low, high, _ in rows), ""
    return "".join(f"{low:.10g} {high:.10g} {tilt:.10g}\n" for low, high, tilt in rows), "xy xz yz "
