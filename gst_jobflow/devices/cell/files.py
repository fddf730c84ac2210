"""Write device cells to files while they are made, so that memory does not grow with their size."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from gst_jobflow.base.atomic import replacing, write_text
from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell.build import CellMaking
from gst_jobflow.devices.cell.spec import DeviceSpec, IdRange, Layer, device_counts
from gst_jobflow.structures.lammps_data import ATOM_LINE, atom_lines, check_species_order, data_header

Progress = Callable[[str, int, int], None]

# atoms converted to text at a time: 20 MB
_CHUNK_ATOMS = 250_000
# size of gzip's fastest level relative to the text
_GZIP_SHARE = 0.35
_ROOM_LEFT_BYTES = 50_000_000


@dataclass(frozen=True)
class DeviceFiles:
    """A cell on disk; `groups`, `layers` and `report` as in `spec.DeviceCell`.

    `data` is the LAMMPS data file in the order of ids; `groups_file` holds LAMMPS commands that define the groups, to
    include after ``read_data``; `about` is JSON with specification, groups, layers and report.
    """

    data: Path
    groups_file: Path
    about: Path
    groups: dict[str, IdRange]
    layers: list[Layer]
    report: dict[str, Any]

    def files(self) -> list[Path]:
        """Return all files."""
        return [self.data, self.groups_file, self.about]


def write_device(
    spec: DeviceSpec,
    barrier: Atoms,
    path: Path,
    species_order: Sequence[str],
    barrier_source: str = "",
    progress: Progress | None = None,
) -> DeviceFiles:
    """Make a cell and write it as LAMMPS data, with its groups and a description beside it.

    Atoms, ids and groups are those of `build_device`; positions are rounded to 1e-8 Å.

    Parameters
    ----------
    path
        Data file; compressed if its name ends in ``.gz``.
    species_order
        Elements in the order of ``pair_coeff``.
    barrier_source
        Origin of the barrier, in words for the files.
    progress
        Called with the file name, the atoms written so far, and their total.

    Raises
    ------
    InputError
        As `build_device`; an element is missing from `species_order`; the disk is too full.
    """
    path = Path(path)
    counts = device_counts(spec)
    n_atoms = sum(counts.values())
    types = _types_of(counts, species_order)
    check_room(path, n_atoms)
    made = CellMaking(spec, barrier)
    with _opened(path) as file:
        comment = f"{spec.kind} cell of {spec.formula}, barrier: {barrier_source or 'given'}"
        file.write(data_header(n_atoms, made.edges_A.tolist(), species_order, comment))
        writer = _Writer(file, types, n_atoms, path.name, progress)
        for numbers, positions in made.chunks():
            writer.add(numbers, positions)
        writer.flush()
    return _with_companions(path, spec, barrier_source, made)


def check_room(path: Path, n_atoms: int) -> None:
    """Refuse a path that cannot be written, or whose disk has too little room for `n_atoms`; raises InputError."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "create it, or name another file")
    if path.is_dir():
        raise InputError(f"{path} is a folder", "name a file in it")
    need = n_atoms * ATOM_LINE * (_GZIP_SHARE if path.suffix == ".gz" else 1.0) + _ROOM_LEFT_BYTES
    free = shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            f"{path.name} needs {need / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free",
            "choose another disk, a name that ends in .gz, or --format replicate",
        )


def description(
    spec: DeviceSpec, barrier: str, groups: dict[str, IdRange], layers: list[Layer], report: dict[str, Any]
) -> dict[str, Any]:
    """Return a cell and the origin of its barrier as plain values."""
    return {
        "spec": spec.model_dump(mode="json"),
        "barrier": barrier,
        "groups": {name: list(ids) for name, ids in groups.items()},
        "layers": layer_dicts(layers),
        "report": report,
    }


def layer_dicts(layers: list[Layer]) -> list[dict[str, Any]]:
    """Return layers as plain values."""
    return [{"z_A": list(layer.z_A), "ids": [list(run) for run in layer.ids]} for layer in layers]


class _Writer:
    """Converts atoms to lines, a chunk at a time; ids follow from the order."""

    def __init__(self, file: BinaryIO, types: NDArray, n_atoms: int, name: str, progress: Progress | None) -> None:
        self.file, self.types, self.n_atoms, self.name, self.progress = file, types, n_atoms, name, progress
        self.written = 0
        self._held: list[tuple[NDArray, NDArray]] = []

    def add(self, numbers: NDArray, positions: NDArray) -> None:
        """Take the next atoms, atomic numbers (n,) and positions (n, 3) in Å; write when a chunk is full."""
        self._held.append((numbers, positions))
        if sum(len(numbers) for numbers, _ in self._held) >= _CHUNK_ATOMS:
            self.flush()

    def flush(self) -> None:
        """Write the atoms taken so far."""
        if not self._held:
            return
        numbers = np.concatenate([numbers for numbers, _ in self._held])
        positions = np.concatenate([positions for _, positions in self._held])
        self._held = []
        for start in range(0, len(numbers), _CHUNK_ATOMS):
            some = slice(start, start + _CHUNK_ATOMS)
            lines = atom_lines(self.written + 1, self.types[numbers[some]], positions[some])
            self.file.write(lines.data)
            self.written += len(lines)
            if self.progress is not None:
                self.progress(self.name, self.written, self.n_atoms)


def _types_of(counts: dict[str, int], species_order: Sequence[str]) -> NDArray:
    """Return the LAMMPS type by atomic number, shape (120,)."""
    check_species_order(counts, species_order)
    types = np.zeros(120, np.int64)
    for place, element in enumerate(species_order, 1):
        types[atomic_numbers[element]] = place
    return types


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with replacing(path) as part, part.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        # level 1: three times faster than the default for a tenth more bytes
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as packed:
            yield cast("BinaryIO", packed)


def _with_companions(path: Path, spec: DeviceSpec, barrier_source: str, made: CellMaking) -> DeviceFiles:
    groups, layers, report = made.groups(), made.layers(), made.report()
    files = DeviceFiles(path, _beside(path, ".groups"), _beside(path, ".json"), groups, layers, report)
    about = description(spec, barrier_source, groups, layers, report)
    write_text(files.groups_file, "".join(f"{line}\n" for line in group_commands(groups)))
    write_text(files.about, json.dumps(about, indent=1))
    return files


def group_commands(groups: dict[str, IdRange]) -> list[str]:
    """Return LAMMPS commands that define the groups."""
    return [f"group {name} id {first}:{last}" for name, (first, last) in groups.items()]


def _beside(path: Path, suffix: str) -> Path:
    stem = path.name.removesuffix(".gz")
    return path.with_name(Path(stem).stem + suffix)
