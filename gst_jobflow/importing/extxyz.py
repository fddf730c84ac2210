"""Read extended XYZ files as a stream.

The reader cuts a file into frames itself and parses one at a time: ASE's own reader goes through the whole file first
and yields nothing of a file whose last frame is cut. Frames of the usual form are parsed here, to the values that ASE
gives; all others by ASE.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from copy import copy
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
from ase import Atoms
from ase.data import atomic_numbers

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import CANNOT_READ_ON, open_bytes
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.structures.plain_atoms import PlainAtoms

_MOST_ATOMS = 10_000_000
"""A damaged count must not turn a whole file into one frame."""


def read_extxyz(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every frame."""
    end = 0
    for index, frame in enumerate(cut_frames(file)):
        if isinstance(frame, Record):
            yield frame
        else:
            end += len(frame)
            yield parse_frame(file, index, frame, end)


def cut_frames(file: Path) -> Iterator[bytes | Record]:
    """Yield the text of each frame; if reading fails, the last item is a record with the problem."""
    index = 0
    try:
        with open_bytes(file) as raw:
            # the readline of packed files is slow; a larger buffer would lose what comes before a cut
            stream = cast(BinaryIO, raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw))  # type: ignore[arg-type]
            while (frame := _next_frame(stream)) is not None:
                yield frame
                index += 1
    except DataError as err:
        yield Record(file, index, problem=err.message)
    except CANNOT_READ_ON as err:
        yield Record(file, index, problem=f"reading stopped: {err}")


def _next_frame(stream: BinaryIO) -> bytes | None:
    """Return the text of the next frame; None at the end.

    Raises
    ------
    DataError
        The file is cut, or no frame begins here; without a count of atoms the next frame cannot be found.
    """
    first = stream.readline()
    while first.isspace():
        first = stream.readline()
    if not first:
        return None
    digits = first.strip()
    if not digits.isdigit():
        found = digits[:40].decode("utf-8", "replace")
        raise DataError(f"expected a count of atoms, found '{found}'; the rest of the file is not read")
    count = int(digits) if len(digits) < 20 else _MOST_ATOMS + 1
    if count > _MOST_ATOMS:
        raise DataError(
            f"{digits[:20].decode()} atoms in one frame are more than {_MOST_ATOMS}; the rest of the file is not read"
        )
    lines = list(islice(stream, count + 1))
    if len(lines) < count + 1:
        raise DataError(f"truncated: {max(len(lines) - 1, 0)} of {count} atoms")
    if not lines[-1].endswith(b"\n"):
        # 0.12 of a 0.1234 is a number too
        raise DataError("truncated: the last line has no end, so its last number may be cut")
    return b"".join((first, *lines))


def parse_frame(file: Path, index: int, frame: bytes, end: int = 0, compiled: bool = False) -> Record:
    """Parse the text of one frame, which ends at byte `end` of the unpacked file; `compiled`: with numba, for many."""
    try:
        plain = _plain_frame(frame, compiled)
        return Record(file, index, _by_ase(frame) if plain is None else plain, end=end)
    except DataError as err:
        return Record(file, index, problem=err.message, end=end)
    except KeyError as err:
        # ASE looks symbols and properties up
        return Record(file, index, problem=f"unknown element or property {err}", end=end)
    except (ValueError, TypeError, IndexError, AttributeError, AssertionError, OSError) as err:
        text = str(err).splitlines()[0] if str(err) else type(err).__name__
        return Record(file, index, problem=f"not extended XYZ: {text}", end=end)


def _by_ase(frame: bytes) -> Atoms:
    # the module loads scipy
    from ase.io.extxyz import read_xyz

    _check_rows(frame)
    return next(read_xyz(io.StringIO(frame.decode("utf-8"), newline=None), index=0))


def _check_rows(frame: bytes) -> None:
    """Raise DataError if a row has more columns than Properties names: ASE drops them."""
    _, comment, *rows = frame.decode("utf-8").split("\n")
    properties = read_comment(comment).get("Properties", "species:S:1:pos:R:3")
    fields = str(properties).split(":")
    width = sum(int(size) for size in fields[2::3])
    for number, row in enumerate(rows):
        if len(row.split()) > width:
            raise DataError(f"atom {number} has {len(row.split())} columns, Properties names {width}")


def _plain_frame(frame: bytes, compiled: bool) -> PlainAtoms | None:
    """Parse a frame of the usual form to the values that ASE gives, but faster; None for other frames.

    Energy and forces stay in `info` and `arrays`: building a calculator, as ASE does, takes as long as the rest.
    """
    count, comment, body = frame.split(b"\n", 2)
    info = read_comment(comment.decode("utf-8"))
    properties, pbc = info.pop("Properties", None), info.pop("pbc", True)
    columns = _columns(properties) if isinstance(properties, str) else None
    pbc = [pbc] * 3 if isinstance(pbc, bool) else pbc
    if columns is None or "Lattice" not in info or not isinstance(pbc, list) or len(pbc) != 3:
        return None
    width = sum(size for _, size in columns)
    rows = (_compiled_rows(body, int(count), width) if compiled else None) or _rows(body, int(count), width)
    if rows is None:
        return None
    numbers, values = rows
    arrays, start = {"numbers": numbers}, 0
    for name, size in columns[1:]:
        # adjacent numbers are read faster
        arrays[name] = np.ascontiguousarray(values[:, start : start + size] if size > 1 else values[:, start])
        start += size
    return PlainAtoms(info.pop("Lattice").T.astype(float).tolist(), pbc, arrays, info)


def _rows(body: bytes, count: int, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return atomic numbers and the other columns, shape (count, width - 1); None where ASE names the fault."""
    tokens = body.split()
    if len(tokens) != count * width:
        return None
    numbers = _numbers_of(tokens[::width])
    del tokens[::width]
    values = _floats(tokens)
    return None if numbers is None or values is None else (np.array(numbers), values.reshape(-1, width - 1))


def _compiled_rows(body: bytes, count: int, width: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the same as `_rows` for symbols and decimals of up to 15 digits, several times as fast; else None."""
    from gst_jobflow.structures.kernels import read_rows

    # a count of atoms may be damaged
    if count * (2 * width) > len(body):
        return None
    numbers, values = np.empty(count, np.int64), np.empty((count, width - 1))
    done = read_rows(np.frombuffer(body, np.uint8), _numbers_by_bytes(), numbers, values)
    return (numbers, values) if done else None


@cache
def _numbers_by_bytes() -> np.ndarray:
    table = np.full(1 << 16, -1)
    for symbol, number in _atomic_numbers().items():
        table[int.from_bytes(symbol.ljust(2, b"\0"), "big")] = number
    return table


@cache
def _columns(properties: str) -> list[tuple[str, int]] | None:
    """Return name and size of each column group; None unless they are a symbol, a position and real numbers."""
    if _REAL_COLUMNS.fullmatch(properties):
        fields = properties.split(":")
        real = list(zip(fields[6::3], map(int, fields[8::3]), strict=True))
        names = [name for name, _ in real]
        if not {*names} & (_SPECIAL_COLUMNS | _RENAMED_COLUMNS) and len({*names}) == len(names):
            return [("symbols", 1), ("positions", 3), *real]
    from ase.io.extxyz import parse_properties

    table, names, _, converters = parse_properties(properties)
    columns = [table[name] for name in names]
    if columns[:2] != [("symbols", 1), ("positions", 3)] or not all(size > 0 for _, size in columns):
        return None
    if converters[0] is not str or any(converter is not float for converter in converters[1:]):
        return None
    if {name for name, _ in columns[2:]} & _SPECIAL_COLUMNS or len(dict(columns)) < len(columns):
        return None
    return columns


_REAL_COLUMNS = re.compile(r"species:S:1:pos:R:3(:[A-Za-z_]\w*:R:[1-9])*")
_RENAMED_COLUMNS = {"species", "pos", "Z", "charge"}
"""ASE names these anew."""
_SPECIAL_COLUMNS = {"numbers", "symbols", "positions", "move_mask", "initial_charges"}
"""ASE turns these into more than an array."""


def _numbers_of(symbols: list[bytes]) -> list[int] | None:
    known = _atomic_numbers()
    try:
        return [known[symbol] for symbol in symbols]
    except KeyError:
        return None


@cache
def _atomic_numbers() -> dict[bytes, int]:
    return {symbol.encode(): number for symbol, number in atomic_numbers.items()}


def _floats(tokens: list[bytes]) -> np.ndarray | None:
    """Return the numbers, shape (len(tokens),), as `float` reads them; None if one is not a plain decimal."""
    text = b",".join(tokens)
    if text.translate(None, b"0123456789+-.eE,"):
        return None
    if b"-0," in text or text.endswith(b"-0"):
        # a whole number in JSON, which has no sign if it is zero
        return np.array([float(token) for token in tokens])
    try:
        values = orjson.loads(b"[" + text + b"]")
        # twice as fast as an array of the list
        return np.frombuffer(bytearray(struct.pack(f"{len(values)}d", *values)))
    except (orjson.JSONDecodeError, OverflowError):
        # +1.0, .5 and 1. are numbers too, only not in JSON
        return np.array([float(token) for token in tokens])


_PAIR = re.compile(r"""(\s*([A-Za-z_][A-Za-z0-9_-]*)=(?:"([^"'\\{}\[\]=]+)"|([^\s"'\\{}\[\]=]+))(?=\s|$))""")
_REALS = re.compile(r"[0-9eE+\-.\s]+")
_THREE_BOOLEANS = re.compile(r"[TF] [TF] [TF]")
_MATRICES = {"Lattice", "virial", "stress"}
"""Keys whose nine numbers ASE reads as a matrix."""
_NAME = re.compile(r"(?!(?:nan|inf|infinity|t|f|true|false)$)[A-Za-z][A-Za-z0-9_.:+-]*", re.IGNORECASE)


def read_comment(line: str) -> dict[str, Any]:
    """Return keys and values of a comment line as ASE reads them.

    ASE parses character by character; here only values that are neither real numbers nor names go to ASE.
    """
    info: dict[str, Any] = {}
    line = line.strip()
    pairs = _PAIR.findall(line)
    # something between the pairs is of another form
    if sum([len(pair[0]) for pair in pairs]) < len(line):
        from ase.io.extxyz import key_val_str_to_dict

        return key_val_str_to_dict(line)
    for _, key, quoted, bare in pairs:
        text = quoted or bare
        if text[0].isalpha() and _NAME.fullmatch(text):
            info[key] = text
        # whole numbers alone are not real
        elif "." in text and key.lower() != "uid" and _REALS.fullmatch(text) and (values := _floats_of(text)):
            info[key] = _real_value(key, values)
        else:
            for name, value in _read(key, text):
                # frames must not share lists or arrays
                info[name] = copy(value)
    return info


@lru_cache(maxsize=256)
def _read(key: str, text: str) -> list[tuple[str, Any]]:
    """Return what ASE makes of `key="text"`; cached, since `pbc="T T T"` stands in every frame."""
    if key == "pbc" and _THREE_BOOLEANS.fullmatch(text):
        return [(key, [word == "T" for word in text.split()])]
    from ase.io.extxyz import key_val_str_to_dict

    return list(key_val_str_to_dict(f'{key}="{text}"').items())


def _floats_of(text: str) -> list[float]:
    try:
        return list(map(float, text.split()))
    except ValueError:
        return []


def _real_value(key: str, values: list[float]) -> Any:
    if key in _MATRICES:
        if len(values) != 9:
            raise ValueError(f"{key} holds {len(values)} numbers, not 9")
        return np.array(values).reshape((3, 3), order="F")
    return np.array(values) if len(values) > 1 else np.float64(values[0])
