"""Write one column of a huge device cell; LAMMPS repeats it sideways with ``replicate``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.files import DeviceFiles, Progress, layer_dicts, write_device
from gst_jobflow.devices.cell.plan import plan_device
from gst_jobflow.devices.cell.spec import DeviceSpec, MushroomSpec, device_counts

# disorder and barrier repeat from column to column, so the more atoms the better
_COLUMN_ATOMS = 1_000_000
# narrower columns repeat themselves within the cutoff of the longest potentials
_NARROWEST_A = 20.0


@dataclass(frozen=True)
class Replicated:
    """A cell that LAMMPS makes from the files of a column, repeated `tiles` times along x and y.

    `deck` holds the LAMMPS commands that read the column, replicate it and define the groups: run it, or include it in
    an input. `report` describes the whole cell: densities and contacts of the column, counts and box of all columns.
    """

    deck: Path
    column: DeviceFiles
    tiles: tuple[int, int]
    report: dict[str, Any]

    def files(self) -> list[Path]:
        """Return all files, the commands first."""
        return [self.deck, self.deck.with_suffix(".json"), *self.column.files()]


def column_of(spec: DeviceSpec, most_atoms: int = _COLUMN_ATOMS) -> tuple[DeviceSpec, tuple[int, int]]:
    """Return the largest column of a cell within `most_atoms`, and the number of columns along x and y.

    A column has a whole number of crystal cells and exactly its share of every element. Raises InputError if the cell
    cannot be cut into such columns.
    """
    whole = device_counts(spec)
    edge_A = [length / n for length, n in zip(plan_device(spec).crystal.box_A[:2], spec.repeat[:2], strict=True)]
    found = []
    for n_x in _divisors(spec.repeat[0]):
        for n_y in _divisors(spec.repeat[1]):
            repeat = (spec.repeat[0] // n_x, spec.repeat[1] // n_y, spec.repeat[2])
            wide = min(n * edge for n, edge in zip(repeat[:2], edge_A, strict=True)) >= _NARROWEST_A
            if n_x * n_y == 1 or not wide:
                continue
            column = spec.model_copy(update={"repeat": repeat})
            counts = device_counts(column)
            share = {element: count / (n_x * n_y) for element, count in whole.items()}
            if sum(counts.values()) <= most_atoms and counts == share:
                found.append((sum(counts.values()), -abs(n_x - n_y), column, (n_x, n_y)))
    if not found:
        raise InputError(
            f"{spec.repeat[0]} x {spec.repeat[1]} cells cannot be cut into equal columns of at most {most_atoms:,} "
            f"atoms and at least {_NARROWEST_A:g} Å",
            "choose numbers of cells with divisors, or write the whole cell (--format data)",
        )
    _, _, column, tiles = max(found, key=lambda choice: choice[:2])
    return column, tiles


def write_replicated(
    spec: DeviceSpec,
    barrier: Atoms,
    path: Path,
    species_order: Sequence[str],
    barrier_source: str = "",
    restart: Path | None = None,
    progress: Progress | None = None,
) -> Replicated:
    """Write a column, and the LAMMPS commands that make the cell from it.

    `path` is the file of the commands; the column's files are named after it. `restart` is a binary restart file that
    the commands write at their end. Other arguments are those of `files.write_device`; the barrier's block must fit the
    column. Raises as `column_of` and `files.write_device`.
    """
    path = Path(path)
    column_spec, tiles = column_of(spec)
    data = path.with_name(f"{path.stem}.column.data")
    column = write_device(column_spec, barrier, data, species_order, barrier_source, progress)
    text = "\n".join(_commands(spec, column, tiles, restart))
    write_text(path, text)
    report = _whole_report(column.report, tiles)
    about = {
        "spec": spec.model_dump(mode="json"),
        "barrier": barrier_source,
        "column": {"repeat": list(column_spec.repeat), "tiles": list(tiles), "layers": layer_dicts(column.layers)},
        "report": report,
    }
    write_text(path.with_suffix(".json"), json.dumps(about, indent=1))
    return Replicated(path, column, tiles, report)


def _commands(spec: DeviceSpec, column: DeviceFiles, tiles: tuple[int, int], restart: Path | None) -> list[str]:
    n_column = column.report["n_atoms"]
    first, last = column.groups["barrier"]
    lines = [
        f"# {spec.kind} cell of {spec.formula}: {n_column * tiles[0] * tiles[1]} atoms from a column of {n_column}",
        "units metal",
        "atom_style atomic",
        "boundary p p p",
        f"read_data {shlex.quote(str(column.data.name))}",
        f"replicate {tiles[0]} {tiles[1]} 1",
        "# the ids of each copy follow those of the copy before",
        f"variable place atom (id-1)%{n_column}+1",
        f'variable is_barrier atom "v_place >= {first} && v_place <= {last}"',
        "group barrier variable is_barrier",
        "group mobile subtract all barrier",
    ]
    if isinstance(spec, MushroomSpec):
        x_A = column.report["box_A"][0] * tiles[0]
        width_A = x_A / 5 if spec.electrode.width_A is None else spec.electrode.width_A
        low_A, high_A = (x_A - width_A) / 2, (x_A + width_A) / 2
        lines += [
            f"region contact block {low_A!r} {high_A!r} INF INF INF {spec.electrode.height_A!r}",
            "group in_contact region contact",
            "group electrode intersect mobile in_contact",
            "group in_contact delete",
        ]
    lines += ["variable is_barrier delete", "variable place delete"]
    if restart is not None:
        lines += restart_commands(restart)
    return [*lines, ""]


def restart_commands(restart: Path) -> list[str]:
    """Return commands that write a binary restart file of a system without a potential."""
    return ["pair_style zero 8.0", "pair_coeff * *", f"write_restart {shlex.quote(str(restart))}"]


def _whole_report(column: dict[str, Any], tiles: tuple[int, int]) -> dict[str, Any]:
    """Return the report of all columns together."""
    n_columns = tiles[0] * tiles[1]
    report = dict(column)
    for name in ("n_atoms", "n_mobile", "n_barrier", "n_moved"):
        report[name] = column[name] * n_columns
    for name in ("counts", "barrier_counts"):
        report[name] = {element: count * n_columns for element, count in column[name].items()}
    x_A, y_A, z_A = column["box_A"]
    report["box_A"] = [x_A * tiles[0], y_A * tiles[1], z_A]
    report["tiles"] = [column["tiles"][0] * tiles[0], column["tiles"][1] * tiles[1], column["tiles"][2]]
    return report


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
