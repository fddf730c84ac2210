"""Streaming LAMMPS text dumps, one frame in memory at a time."""

from __future__ import annotations

import gzip
import io
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

REQUIRED_COLUMNS = ("id", "type", "x", "y", "z")
_MOST_BYTES = 1 << 24
"""Read at once: what is skipped takes no more memory than this."""
_BLOCK_BYTES = 1 << 18
_MOST_DECIMALS = 15


@dataclass(frozen=True)
class DumpFrame:
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

    def fractional(self) -> NDArray:
        """Return positions (n, 3) in units of the cell's vectors, from its lower corner."""
        return (self.positions - self.origin) @ np.linalg.inv(self.cell)

    def to_atoms(self, elements: list[str]) -> Atoms:
        """Return an ASE Atoms, with velocities and the array ``gamma`` if the dump has them.

        Parameters
        ----------
        elements
            In the order of the LAMMPS types.

        Raises
        ------
        DataError
            A type has no element.
        """
        from ase import Atoms
        from ase.units import fs

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
"""Called with the step of a frame that cannot be read and the reason; -1 for all that is left of a file."""


def iter_frames(path: Path, every: int = 1, damaged: Damaged | None = None) -> Iterator[DumpFrame]:
    """Yield the frames of a text dump, plain or gzip; a torn last frame is left out.

    Parameters
    ----------
    path
        ``dump custom`` with at least ``id type x y z``.
    every
        Parse only each n-th frame; the others are skipped.
    damaged
        Told of frames that cannot be read, instead of an error; the others go on.

    Raises
    ------
    DataError
        If the file is missing or is not such a dump, or if a whole frame cannot be read.
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
            # killed while writing: what was before is whole
            return


def iter_chain(pieces: Iterable[tuple[Path, int | None]], damaged: Damaged | None = None) -> Iterator[DumpFrame]:
    """Yield the frames of several dumps in order, each step once.

    `pieces` are dumps with the step after which a later one replaces them, None where none does
    (:func:`gst_jobflow.base.segments.valid_until`).
    """
    last = -1
    for path, later in pieces:
        for frame in iter_frames(path, damaged=damaged):
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
        raise DataError(f"{path} is not a LAMMPS text dump of the expected form", "dump custom, one header a frame")
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
    """Return (cell, origin); a triclinic dump gives the bounding box and the tilts xy, xz, yz (LAMMPS manual)."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    side = high - low
    return np.array([[side[0], 0, 0], [xy, side[1], 0], [xz, yz, side[2]]]), low


def _read_body(file: IO[bytes], n_atoms: int, n_columns: int, keep: bool) -> bytes | None:
    """The next `n_atoms` lines (nothing unless `keep`); None if they end before."""
    pieces, left = [], n_atoms
    while left > 0:
        # no line is shorter than a digit and a blank a column, so this never reads into the next frame
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
        values = _numbers(body, head.n_atoms) if head.n_atoms else np.empty(shape)
    except ValueError as err:
        raise DataError(
            f"{path}, step {head.step}: {err}", "numbers only, one line an atom, as many as columns"
        ) from err
    if values.shape != shape:
        found = " x ".join(str(n) for n in values.shape)
        raise DataError(
            f"{path}, step {head.step}: {found} numbers for {shape[0]} atoms of {shape[1]} columns",
            "the file is damaged there; frames before it are whole",
        )
    ids = values[:, columns.index("id")].astype(int)
    order = _order(ids)
    if order is not None:
        values, ids = values[order], ids[order]
    positions = np.stack([values[:, columns.index(axis)] for axis in "xyz"], axis=1)
    types = values[:, columns.index("type")].astype(int)
    extra = {name: np.ascontiguousarray(values[:, i]) for i, name in enumerate(columns) if name not in REQUIRED_COLUMNS}
    return DumpFrame(head.step, head.cell, head.origin, ids, types, positions, extra)


def _numbers(body: bytes, n_atoms: int) -> NDArray:
    """Table of a frame, block by block: what is in the processor's cache is read in half the time."""
    first = body.partition(b"\n")[0].split()
    table, n_read, start = np.empty((n_atoms, len(first))), 0, 0
    while start < len(body):
        end = body.find(b"\n", start + _BLOCK_BYTES) + 1 or len(body)
        block = body[start:end]
        values = _fixed_point(block, first)
        if values is None:
            values = np.loadtxt(io.BytesIO(block), comments=None, ndmin=2)
        if values.shape[1] != len(first) or n_read + len(values) > n_atoms:
            raise ValueError(f"{values.shape[1]} numbers in lines after atom {n_read}, {len(first)} before")
        table[n_read : n_read + len(values)] = values
        n_read, start = n_read + len(values), end
    return table[:n_read]


def _fixed_point(block: bytes, like: list[bytes]) -> NDArray | None:
    """Read a block as integers without their points, if all its decimals are as many, as decks ask for; else None.

    The quotient of two integers below 2^53 is rounded as the decimal text is, so the numbers are those of the text.
    """
    decimals = {len(word) - 1 - word.index(b".") for word in like if b"." in word}
    if len(decimals) != 1 or max(decimals) > _MOST_DECIMALS:
        return None
    (n_decimals,) = decimals
    is_decimal = [b"." in word for word in like]
    text = np.frombuffer(block, np.uint8)
    points, ends = np.flatnonzero(text == ord(".")), np.flatnonzero(text == ord("\n"))
    if len(points) != sum(is_decimal) * len(ends) or points[-1] + n_decimals + 1 >= len(text):
        return None
    lines = points.reshape(len(ends), -1)
    in_lines = (lines[:, -1] < ends).all() and (lines[1:, 0] > ends[:-1]).all()
    alike = (text[points + n_decimals + 1] <= ord(" ")).all() and (np.diff(points) > n_decimals + 1).all()
    if not (in_lines and alike):
        return None
    try:
        with warnings.catch_warnings():
            # it stops at what is no integer, an exponent say; numpy before 2.3 only warns
            warnings.simplefilter("error", DeprecationWarning)
            whole = np.fromstring(block.translate(None, b"."), dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        return None
    if whole.size != len(like) * len(ends):
        return None
    whole = whole.reshape(len(ends), len(like))
    if whole.max() >= 1 << 53 or whole.min() <= -(1 << 53):
        return None
    return whole / np.where(is_decimal, 10.0**n_decimals, 1.0)


def _order(ids: NDArray) -> NDArray | None:
    """Indices that sort `ids`, None where they are sorted; ids 1 to n need no comparison (ten times faster)."""
    n_atoms = len(ids)
    if (ids[1:] > ids[:-1]).all():
        return None
    if ids.min() == 1 and ids.max() == n_atoms:
        order = np.full(n_atoms, -1)
        order[ids - 1] = np.arange(n_atoms)
        if (order >= 0).all():
            return order
    return np.argsort(ids, kind="stable")
