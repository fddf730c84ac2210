"""Compiled inner loops of large imports. Importing this module imports numba: do it inside functions.

All kernels are in one file because numba's cache sees changes of a kernel's own file only. Without fastmath they do the
same IEEE operations as numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_BLANK, _TAB, _RETURN, _LINE = 32, 9, 13, 10
_PLUS, _MINUS, _POINT, _ZERO, _NINE = 43, 45, 46, 48, 57
_CAPITAL, _EXPONENT = 65, 101
_LETTERS = 26
_CASE = 32
# whole numbers up to 2^53 and powers of ten up to 10^22 are exact, so one multiplication or division rounds as `float`
_MOST_BEFORE_A_DIGIT = (2**53 - 9) // 10
_EXACT_POWER = 22
# fewer than 2^53, and their point
_FEW_DIGITS = 16
_POWERS = 10.0 ** np.arange(_EXACT_POWER + 1)
_MOST_BINS = 64
# places in a text that cannot be negative are looked up faster
_ONE = np.uintp(1)


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Callable[..., Any]:
    """Compile a function at its first call, and keep the result beside its file or in the user's folder."""
    options: dict[str, Any] = {"nogil": True, "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # numba found no folder that it may write to
        return njit(**options)(function)


@compiled
def _after_blanks(text: NDArray, at: np.uintp) -> np.uintp:
    while text[at] == _BLANK or text[at] == _TAB:
        at += _ONE
    return at


@compiled
def _read_whole(text: NDArray, at: int, whole: int) -> tuple[int, int]:
    """Append digits to a whole number; return it, -1 if it becomes too large, and the place behind them."""
    while _ZERO <= text[at] <= _NINE:
        if whole > _MOST_BEFORE_A_DIGIT:
            return -1, at
        whole = 10 * whole + (text[at] - _ZERO)
        at += 1
    return whole, at


@compiled
def _read_decimal(text: NDArray, at: np.uintp) -> tuple[float, np.int64 | int]:
    """Return the number at a place, and the place behind it, if it has a point, few digits and no exponent; else -1."""
    negative = text[at] == _MINUS
    start = at + _ONE if negative else at
    whole, end = 0, start
    while _ZERO <= text[end] <= _NINE:
        whole, end = 10 * whole + (text[end] - _ZERO), end + _ONE
    point = end
    if text[point] != _POINT:
        return 0.0, -1
    end += _ONE
    while _ZERO <= text[end] <= _NINE:
        whole, end = 10 * whole + (text[end] - _ZERO), end + _ONE
    length = np.int64(end - start)
    if length > _FEW_DIGITS or length < 2 or text[end] | _CASE == _EXPONENT:
        return 0.0, -1
    value = whole / _POWERS[end - point - _ONE]
    return (-value if negative else value), np.int64(end)


@compiled
def _read_number(text: NDArray, at: int) -> tuple[float, int]:
    """Return the number at a place, and the place behind it; -1 if it is not a decimal that is read exactly."""
    negative = text[at] == _MINUS
    if text[at] == _MINUS or text[at] == _PLUS:
        at += 1
    whole, end = _read_whole(text, at, 0)
    digits, power = end - at, 0
    if whole >= 0 and text[end] == _POINT:
        start = end + 1
        whole, end = _read_whole(text, start, whole)
        digits, power = digits + end - start, start - end
    if whole < 0 or digits == 0:
        return 0.0, -1
    if text[end] | _CASE == _EXPONENT:
        start = end + 1
        below = text[start] == _MINUS
        if text[start] == _MINUS or text[start] == _PLUS:
            start += 1
        exponent, end = _read_whole(text, start, 0)
        if exponent < 0 or end == start:
            return 0.0, -1
        power += -exponent if below else exponent
    if abs(power) > _EXACT_POWER:
        return 0.0, -1
    value = whole * _POWERS[power] if power >= 0 else whole / _POWERS[-power]
    return (-value if negative else value), end


@compiled
def read_rows(text: NDArray, atomic_numbers: NDArray, numbers: NDArray, values: NDArray) -> bool:
    """Read rows of a symbol and numbers, as extended XYZ has them.

    Parameters
    ----------
    text
        The bytes of the rows, each with its end, uint8.
    atomic_numbers
        Atomic number by the bytes of a symbol (first × 256 + second), shape (65536,); -1 for others.
    numbers, values
        Take the atomic numbers, shape (n,), and the numbers, shape (n, columns), as `float` reads them.

    Returns
    -------
    bool
        False if a row is of another form; the arrays then hold nothing of use.
    """
    at, size = np.uintp(0), np.uintp(len(text))
    # every loop below stops at the end of a line
    if size == 0 or text[-1] != _LINE:
        return False
    for row in range(len(numbers)):
        if at >= size:
            return False
        at = _after_blanks(text, at)
        code, letters = 0, 0
        while 0 <= (text[at] & ~_CASE) - _CAPITAL < _LETTERS:
            code, letters, at = 256 * code + text[at], letters + 1, at + _ONE
            if letters > 2:
                return False
        number = atomic_numbers[256 * code if letters == 1 else code] if letters else -1
        if number < 0:
            return False
        numbers[row] = number
        for column in range(values.shape[1]):
            start = _after_blanks(text, at)
            value, end = _read_decimal(text, start)
            if end < 0:
                value, end = _read_number(text, np.int64(start))
            if start == at or end < 0:
                return False
            values[row, column], at = value, np.uintp(end)
        at = _after_blanks(text, at)
        if text[at] == _RETURN:
            at += _ONE
        if text[at] != _LINE:
            return False
        at += _ONE
    return at == size


@compiled
def _wrapped(position: NDArray, cell: NDArray, reciprocal: NDArray, faces: NDArray, out: NDArray) -> None:
    """Write a position shifted into the cell, one direction after the other, to `out`."""
    x, y, z = position[0], position[1], position[2]
    for axis in range(3):
        fraction = reciprocal[axis, 0] * x
        fraction += reciprocal[axis, 1] * y
        fraction += reciprocal[axis, 2] * z
        fraction += faces[axis]
        if fraction < 0 or fraction >= 1:
            shift = math.floor(fraction)
            x -= shift * cell[axis, 0]
            y -= shift * cell[axis, 1]
            z -= shift * cell[axis, 2]
    out[0], out[1], out[2] = x, y, z


@compiled
def _directions(cell: NDArray, face_A: float) -> tuple[NDArray, NDArray]:
    """Return reciprocal vectors in 1/Å, shape (3, 3), and `face_A` as a fraction of each height, shape (3,)."""
    reciprocal, faces = np.empty((3, 3)), np.empty(3)
    for axis in range(3):
        one, two = cell[(axis + 1) % 3], cell[(axis + 2) % 3]
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            reciprocal[axis, x] = one[y] * two[z] - one[z] * two[y]
    volume = cell[0, 0] * reciprocal[0, 0] + cell[0, 1] * reciprocal[0, 1] + cell[0, 2] * reciprocal[0, 2]
    for axis in range(3):
        for x in range(3):
            reciprocal[axis, x] /= volume
        x, y, z = reciprocal[axis]
        faces[axis] = face_A / (1 / math.sqrt(x * x + y * y + z * z))
    return reciprocal, faces


@compiled
def _write_words(
    numbers: NDArray,
    positions: NDArray,
    cell: NDArray,
    reciprocal: NDArray,
    faces: NDArray,
    per_A: float,
    words: NDArray,
) -> None:
    n_atoms = len(numbers)
    for atom in range(n_atoms):
        words[atom] = numbers[atom]
    for row in range(3):
        for column in range(3):
            words[n_atoms + 3 * row + column] = np.int64(np.rint(cell[row, column] * per_A))
    inside = np.empty(3)
    for atom in range(n_atoms):
        _wrapped(positions[atom], cell, reciprocal, faces, inside)
        for column in range(3):
            words[n_atoms + 9 + 3 * atom + column] = np.int64(np.rint(inside[column] * per_A))
    words[-3:] = 1


@compiled
def _image(place: int, bins: int) -> int:
    """Return by how many cells a bin lies outside of the cell."""
    return 0 if 0 <= place < bins else place // bins


@compiled
def _binned(
    positions: NDArray, cell: NDArray, reciprocal: NDArray, bins: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return positions in the cell, the bins of each atom, the first atom of each bin, and the next atom of its bin."""
    inside = np.empty_like(positions)
    places = np.empty((len(positions), 3), np.int64)
    first = np.full(bins[0] * bins[1] * bins[2], -1)
    after = np.empty(len(positions), np.int64)
    no_faces = np.zeros(3)
    for atom in range(len(positions)):
        _wrapped(positions[atom], cell, reciprocal, no_faces, inside[atom])
        for axis in range(3):
            fraction = 0.0
            for other in range(3):
                fraction += reciprocal[axis, other] * inside[atom, other]
            places[atom, axis] = min(max(int(fraction * bins[axis]), 0), bins[axis] - 1)
        box = (places[atom, 0] * bins[1] + places[atom, 1]) * bins[2] + places[atom, 2]
        after[atom], first[box] = first[box], atom
    return inside, places, first, after


@compiled
def closest_within(positions: NDArray, cell: NDArray, reciprocal: NDArray, cutoff_A: float) -> float:
    """Return the smallest distance between two atoms or images in a periodic cell, Å; infinite if above the cutoff.

    Parameters
    ----------
    positions
        Å, shape (n, 3).
    cell, reciprocal
        Rows are lattice vectors, Å, and reciprocal vectors, 1/Å, shape (3, 3).
    """
    bins, reach = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        height_A = 1 / math.sqrt((reciprocal[axis] ** 2).sum())
        bins[axis] = min(max(int(height_A / cutoff_A), 1), _MOST_BINS)
        reach[axis] = math.ceil(cutoff_A * bins[axis] / height_A)
    inside, places, first, after = _binned(positions, cell, reciprocal, bins)
    closest = cutoff_A * cutoff_A
    found = False
    shift_A = np.empty(3)
    for atom in range(len(positions)):
        x, y, z = inside[atom]
        # half of the bins around: the other atom of a pair sees the other half
        for a in range(reach[0] + 1):
            i = (places[atom, 0] + a) // bins[0]
            for b in range(-reach[1] if a else 0, reach[1] + 1):
                j = _image(places[atom, 1] + b, bins[1])
                row = ((places[atom, 0] + a - i * bins[0]) * bins[1] + places[atom, 1] + b - j * bins[1]) * bins[2]
                for c in range(-reach[2] if a or b else 0, reach[2] + 1):
                    k = _image(places[atom, 2] + c, bins[2])
                    other = first[row + places[atom, 2] + c - k * bins[2]]
                    if other < 0:
                        continue
                    for axis in range(3):
                        shift_A[axis] = i * cell[0, axis] + j * cell[1, axis] + k * cell[2, axis]
                    own = not (a or b or c)
                    while other >= 0:
                        if other > atom or not own:
                            dx = inside[other, 0] + shift_A[0] - x
                            dy = inside[other, 1] + shift_A[1] - y
                            dz = inside[other, 2] + shift_A[2] - z
                            square = dx * dx + dy * dy + dz * dz
                            if square <= closest:
                                closest, found = square, True
                        other = after[other]
    return math.sqrt(closest) if found else math.inf


@compiled
def identify(
    numbers: NDArray,
    positions: NDArray,
    cell: NDArray,
    face_A: float,
    per_A: float,
    cutoff_A: float,
    longer: float,
    words: NDArray,
) -> float:
    """Write what identifies a periodic structure, and return the smallest distance between two atoms or images, Å.

    Parameters
    ----------
    numbers, positions, cell
        Atomic numbers, shape (n,), Å, shape (n, 3), and rows of lattice vectors, Å.
    face_A
        Atoms this close below the far face count as on the near one.
    per_A, words
        Takes species, cell and wrapped positions as whole numbers of 1/`per_A` Å, and three ones for the periodic
        directions; shape (4 n + 12,), int64.
    cutoff_A, longer
        Where the search for the smallest distance begins, and the factor by which it goes on.
    """
    reciprocal, faces = _directions(cell, face_A)
    _write_words(numbers, positions, cell, reciprocal, faces, per_A, words)
    while True:
        closest_A = closest_within(positions, cell, reciprocal, cutoff_A)
        if closest_A < math.inf:
            return closest_A
        cutoff_A *= longer
