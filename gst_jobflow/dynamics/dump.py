"""Stream LAMMPS text dumps with one frame in memory at a time."""

from __future__ import annotations

import gzip
import io
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import numpy as np
from ase import Atoms
from ase.units import fs
from numpy.typing import NDArray

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DataError

REQUIRED_COLUMNS = ("id", "type", "x", "y", "z")
_MOST_BYTES = 1 << 24
"""Read at once, so that skipped frames need no more memory."""


@dataclass(frozen=True)
class DumpFrame:
    """One frame of a dump, sorted by atom id.

    Rows of `cell` (3, 3) are the cell vectors in Å, `origin` (3,) is the lower corner of the box. `ids` and `types`
    have the shape (n,), `positions` (n, 3) are in Å, as in the dump. `extra` holds other columns by name, shape (n,).
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

    def fractional(self) -> NDArray:
        """Return positions (n, 3) in units of the cell's vectors, from its lower corner."""
        return (self.positions - self.origin) @ np.linalg.inv(self.cell)

    def to_atoms(self, elements: list[str]) -> Atoms:
        """Return an ASE Atoms, with velocities and the array ``gamma`` if the dump has them.

        `elements` are in the order of the LAMMPS types; raises DataError if a type has none.
        """
        if len(self.types) and not 1 <= self.types.min() <= self.types.max() <= len(elements):
            raise DataError(f"step {self.step} has types that are none of {', '.join(elements)}", "is it of this run?")
        symbols = [elements[kind - 1] for kind in self.types]
        atoms = Atoms(symbols, positions=self.positions - self.origin, cell=self.cell, pbc=True)
        if "f_gst_gamma" in self.extra:
            atoms.set_array("gamma", self.extra["f_gst_gamma"])
        if {"vx", "vy", "vz"} <= set(self.extra):
            atoms.set_velocities(np.stack([self.extra[name] for name in ("vx", "vy", "vz")], axis=1) / (1e3 * fs))
        return atoms


Damaged = Callable[[int, DataError], None]
"""Called with the step of a frame that cannot be read and the reason; -1 for the rest of a file."""


def iter_frames(path: Path, every: int = 1, damaged: Damaged | None = None) -> Iterator[DumpFrame]:
    """Yield every n-th frame of a text dump, plain or gzip, without a torn last one.

    The dump has at least the columns ``id type x y z``. `damaged` is called for frames that cannot be read, instead of
    an error.

    Raises
    ------
    DataError
        The file is missing or no such dump, or a whole frame cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no dump {path}", "check output.dump_every of the run")
    with _open(path) as file:
        count = 0
        try:
            while (head := _read_head(file, path)) is not None:
                keep = count % every == 0
                body = _read_body(file, head.n_atoms, len(head.columns), keep)
                if body is None:
                    return
                if keep and (frame := _frame_or_told(path, head, body, damaged)) is not None:
                    yield frame
                count += 1
        except DataError as err:
            if damaged is None:
                raise
            damaged(-1, err)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            # the writer was killed; the frames before are whole
            return


def iter_chain(pieces: Iterable[tuple[Path, int | None]], damaged: Damaged | None = None) -> Iterator[DumpFrame]:
    """Yield the frames of several dumps in order, each step once.

    `pieces` are dumps, each with the step after which a later one replaces it, or None
    (:func:`gst_jobflow.base.segments.valid_until`).
    """
    last = -1
    for path, later in pieces:
        for frame in iter_frames(path, damaged=damaged):
            if frame.step > last and (later is None or frame.step <= later):
                last = frame.step
                yield frame


def join_frames(folder: Path) -> None:
    """Join the one-frame files of a segment to one file per stage; delete a torn last one.

    The members of a gzip file read as one. The new file is renamed into place, so a kill at most leaves frames twice,
    and :func:`iter_chain` yields them once.
    """
    parts = sorted(Path(folder).glob("dump_*_*.lammpstrj.gz"))
    if parts and not _is_whole(parts[-1]):
        parts.pop().unlink()
    stages: dict[str, list[Path]] = {}
    for part in parts:
        stages.setdefault(part.name.rsplit("_", 1)[0], []).append(part)
    for stage, files in stages.items():
        joined = Path(folder) / f"{stage}.lammpstrj.gz"
        with replacing(joined) as new, new.open("wb") as out:
            for file in [*([joined] if joined.exists() else []), *files]:
                with file.open("rb") as one:
                    shutil.copyfileobj(one, out)
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


@dataclass(frozen=True)
class _Head:
    step: int
    cell: NDArray
    origin: NDArray
    n_atoms: int
    columns: list[str]


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _read_head(file: IO[bytes], path: Path) -> _Head | None:
    lines = []
    for _ in range(9):
        line = file.readline()
        if not line.endswith(b"\n"):
            return None
        lines.append(line.decode(errors="replace"))
    if not (lines[0].startswith("ITEM: TIMESTEP") and lines[8].startswith("ITEM: ATOMS")):
        raise DataError(f"{path} is not a LAMMPS text dump of the expected form", "write it with dump custom")
    columns = lines[8].split()[2:]
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(columns) or 'none'}",
            f"dump custom with at least {' '.join(REQUIRED_COLUMNS)}",
        )
    bounds = np.array([[float(word) for word in line.split()] for line in lines[5:8]])
    cell, origin = box_of(bounds)
    return _Head(int(lines[1]), cell, origin, int(lines[3]), columns)


def box_of(bounds: NDArray) -> tuple[NDArray, NDArray]:
    """Return (cell, origin) from the bounds of a dump: bounding box and tilts xy, xz, yz (LAMMPS manual)."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    side = high - low
    return np.array([[side[0], 0, 0], [xy, side[1], 0], [xz, yz, side[2]]]), low


def bounds_of(cell: NDArray) -> list[tuple[float, float, float]]:
    """Return low, high and tilt of a dump's box along x, y and z, the inverse of `box_of` for a corner at 0."""
    (x, _, _), (xy, y, _), (xz, yz, z) = np.asarray(cell).tolist()
    low, high = min(0.0, xy, xz, xy + xz), x + max(0.0, xy, xz, xy + xz)
    return [(low, high, xy), (min(0.0, yz), y + max(0.0, yz), xz), (0.0, z, yz)]


def _read_body(file: IO[bytes], n_atoms: int, n_columns: int, keep: bool) -> bytes | None:
    """Read the next `n_atoms` lines, and return them if `keep`; None if the file ends before."""
    pieces, left = [], n_atoms
    while left > 0:
        # a line has at least a digit and a blank per column, so this never reads into the next frame
        piece = file.read(min(2 * n_columns * left, _MOST_BYTES)) if left > 8 else file.readline()
        if not piece or (left <= 8 and not piece.endswith(b"\n")):
            return None
        left -= piece.count(b"\n")
        if keep:
            pieces.append(piece)
    return b"".join(pieces)


def _frame_or_told(path: Path, head: _Head, body: bytes, damaged: Damaged | None) -> DumpFrame | None:
    try:
        return _frame(path, head, body)
    except DataError as err:
        if damaged is None:
            raise
        damaged(head.step, err)
        return None


def _frame(path: Path, head: _Head, body: bytes) -> DumpFrame:
    columns, shape = head.columns, (head.n_atoms, len(head.columns))
    try:
        values = np.loadtxt(io.BytesIO(body), comments=None, ndmin=2) if head.n_atoms else np.empty(shape)
    except ValueError as err:
        raise DataError(
            f"{path}, step {head.step}: {err}", "each atom needs a line with a number for each column"
        ) from err
    if values.shape != shape:
        found = " x ".join(str(n) for n in values.shape)
        raise DataError(
            f"{path}, step {head.step}: {found} numbers for {shape[0]} atoms of {shape[1]} columns",
            "the file is damaged there; frames before it are whole",
        )
    ids = values[:, columns.index("id")].astype(int)
    if (ids[1:] < ids[:-1]).any():
        order = np.argsort(ids, kind="stable")
        values, ids = values[order], ids[order]
    positions = np.stack([values[:, columns.index(axis)] for axis in "xyz"], axis=1)
    types = values[:, columns.index("type")].astype(int)
    extra = {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(columns) if name not in REQUIRED_COLUMNS}
    return DumpFrame(head.step, head.cell, head.origin, ids, types, positions, extra)
