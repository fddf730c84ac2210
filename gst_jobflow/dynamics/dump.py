"""Streaming LAMMPS text dumps, one frame in memory at a time."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from gst_jobflow.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One frame of a dump, sorted by atom id.

    Attributes
    ----------
    step
        Timestep.
    cell
        Shape (3, 3), rows are the cell vectors in Å.
    origin
        Shape (3,), the lower corner of the box in Å.
    ids, types
        Shape (n,).
    positions
        Shape (n, 3) in Å, wrapped into the box unless the dump says otherwise.
    extra
        Every other column by its name, shape (n,).
    """

    step: int
    cell: NDArray
    origin: NDArray
    ids: NDArray
    types: NDArray
    positions: NDArray
    extra: dict[str, NDArray] = field(default_factory=dict)

    def unwrapped(self) -> NDArray:
        """Return positions (n, 3) with the image flags applied; the dump must have ix, iy, iz."""
        missing = {"ix", "iy", "iz"} - set(self.extra)
        if missing:
            raise DataError("the dump has no image flags", "run with output.dump_images = True")
        images = np.stack([self.extra[name] for name in ("ix", "iy", "iz")], axis=1)
        return self.positions + images @ self.cell

    def to_atoms(self, elements: list[str]) -> Atoms:
        """Return an ASE Atoms; `elements` in the order of the LAMMPS types."""
        from ase import Atoms

        symbols = [elements[kind - 1] for kind in self.types]
        return Atoms(symbols, positions=self.positions - self.origin, cell=self.cell, pbc=True)


def iter_frames(path: Path, every: int = 1) -> Iterator[Frame]:
    """Yield the frames of a text dump, plain or gzip; a torn last frame is left out.

    Parameters
    ----------
    path
        ``dump custom`` with at least ``id type x y z``.
    every
        Parse only each n-th frame; the others are skipped line by line.

    Raises
    ------
    DataError
        If the file is missing or is not such a dump.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no dump {path}", "check output.dump_every of the run")
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        count = 0
        try:
            while (head := _read_head(file, path)) is not None:
                step, cell, origin, n_atoms, columns = head
                if count % every == 0:
                    values = _read_body(file, n_atoms, len(columns))
                    if values is None:
                        return
                    yield _frame(step, cell, origin, columns, values)
                elif sum(1 for _ in _take(file, n_atoms)) < n_atoms:
                    return
                count += 1
        except (EOFError, zlib.error, gzip.BadGzipFile):
            # killed while writing: what was before is whole
            return


def iter_chain(pieces: Iterable[tuple[Path, int | None]]) -> Iterator[Frame]:
    """Yield the frames of several dumps in order, each step once.

    `pieces` are dumps with the step after which a later one replaces them, None where none does
    (:func:`gst_jobflow.dynamics.series.valid_until`).
    """
    last = -1
    for path, later in pieces:
        for frame in iter_frames(path):
            if frame.step > last and (later is None or frame.step <= later):
                last = frame.step
                yield frame


def join_frames(folder: Path) -> None:
    """Join the one-frame files that a segment left into one file a stage; a torn last one goes.

    A gzip file of several members is one file; it is renamed into place, so a kill leaves at most frames twice, which
    readers see once.
    """
    parts = sorted(Path(folder).glob("dump_*_*.lammpstrj.gz"))
    if parts and not _is_whole(parts[-1]):
        parts.pop().unlink()
    stages: dict[str, list[Path]] = {}
    for part in parts:
        stages.setdefault(part.name.rsplit("_", 1)[0], []).append(part)
    for stage, files in stages.items():
        joined = Path(folder) / f"{stage}.lammpstrj.gz"
        new = joined.with_suffix(".joining")
        with new.open("wb") as out:
            for file in [*([joined] if joined.exists() else []), *files]:
                with file.open("rb") as one:
                    shutil.copyfileobj(one, out)
            out.flush()
            os.fsync(out.fileno())
        new.replace(joined)
        for file in files:
            file.unlink()


def _is_whole(path: Path) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _take(file: TextIO, n_lines: int) -> Iterator[str]:
    for _ in range(n_lines):
        line = file.readline()
        if not line.endswith("\n"):
            return
        yield line


def _read_head(file: TextIO, path: Path) -> tuple[int, NDArray, NDArray, int, list[str]] | None:
    lines = list(_take(file, 9))
    if len(lines) < 9:
        return None
    if not (lines[0].startswith("ITEM: TIMESTEP") and lines[8].startswith("ITEM: ATOMS")):
        raise DataError(f"{path} is not a LAMMPS text dump of the expected form", "dump custom, one header a frame")
    bounds = np.array([[float(word) for word in line.split()] for line in lines[5:8]])
    cell, origin = box_of(bounds)
    return int(lines[1]), cell, origin, int(lines[3]), lines[8].split()[2:]


def box_of(bounds: NDArray) -> tuple[NDArray, NDArray]:
    """Return (cell, origin); a triclinic dump gives the bounding box and the tilts xy, xz, yz (LAMMPS manual)."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    side = high - low
    return np.array([[side[0], 0, 0], [xy, side[1], 0], [xz, yz, side[2]]]), low


def _read_body(file: TextIO, n_atoms: int, n_columns: int) -> NDArray | None:
    lines = list(_take(file, n_atoms))
    if len(lines) < n_atoms:
        return None
    values = np.fromstring(" ".join(lines), sep=" ") if n_atoms else np.empty(0)
    return values.reshape(n_atoms, n_columns) if values.size == n_atoms * n_columns else None


def _frame(step: int, cell: NDArray, origin: NDArray, columns: list[str], values: NDArray) -> Frame:
    by_name = {name: values[:, i] for i, name in enumerate(columns)}
    order = np.argsort(by_name["id"], kind="stable")
    by_name = {name: column[order] for name, column in by_name.items()}
    positions = np.stack([by_name.pop(axis) for axis in "xyz"], axis=1)
    ids, types = by_name.pop("id").astype(int), by_name.pop("type").astype(int)
    return Frame(step, cell, origin, ids, types, positions, by_name)
