"""Compiled inner loops over neighbours. Importing this module imports numba: do it inside functions.

All kernels are in one file because numba's cache sees changes of a kernel's own file only. The cache lies beside this
file or, where that folder is read-only, in the user's; where neither can be written, each process compiles anew.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.analysis.neighbours import CellGrid
from gst_jobflow.structures.kernels import compiled

#: radial functions are worked on eight at a time: their number is filled up to a multiple
EIGHT = 8
# neighbours of one kind are filled up to full vectors
_LANES = 16
# atoms whose expansions are contracted together, as a vector
BATCH = 64

_compiled = partial(compiled, fastmath=True)


@_compiled
def _cube(grid: CellGrid, x: float, y: float, z: float) -> tuple[int, int, int]:
    nx, ny, nz = grid.shape
    i, j, k = (x - grid.low[0]) / grid.edge_A, (y - grid.low[1]) / grid.edge_A, (z - grid.low[2]) / grid.edge_A
    return min(max(int(i), 0), nx - 1), min(max(int(j), 0), ny - 1), min(max(int(k), 0), nz - 1)


@_compiled
def _find_around(grid: CellGrid, place: int, reach_A: float, near: NDArray) -> int:
    """Write the points within reach of a point, itself included, to `near`; return their number, even if more."""
    x, y, z = grid.points[place]
    nx, ny, nz = grid.shape
    i, j, k = _cube(grid, x, y, z)
    count = 0
    for a in range(max(i - 1, 0), min(i + 2, nx)):
        for b in range(max(j - 1, 0), min(j + 2, ny)):
            row = (a * ny + b) * nz
            for other in range(grid.start[row + max(k - 1, 0)], grid.start[row + min(k + 2, nz)]):
                dx, dy, dz = grid.points[other, 0] - x, grid.points[other, 1] - y, grid.points[other, 2] - z
                if dx * dx + dy * dy + dz * dz < reach_A * reach_A:
                    if count < len(near):
                        near[count] = other
                    count += 1
    return count


@_compiled
def _around(grid: CellGrid, place: int, reach_A: float, near: NDArray) -> tuple[NDArray, int]:
    """Return the points within reach of a point in a buffer that is large enough, and their number."""
    count = _find_around(grid, place, reach_A, near)
    if count > len(near):
        near = np.empty(2 * count, dtype=np.int64)
        _find_around(grid, place, reach_A, near)
    return near, count


@_compiled
def _harmonics(unit: NDArray, norm: NDArray, l_max: int, found: NDArray) -> None:
    """Write norm × real spherical harmonics of unit vectors (3, j) to `found` (lm, j), by recursion in l."""
    x, y, z = unit[0], unit[1], unit[2]
    cosine, sine = np.ones_like(x), np.zeros_like(x)
    one, two = np.empty_like(x), np.empty_like(x)
    seed = np.float32(1.0)
    for m in range(l_max + 1):
        if m:
            seed *= np.float32(2 * m - 1)
            for j in range(len(x)):
                swap = x[j] * cosine[j] - y[j] * sine[j]
                sine[j] = x[j] * sine[j] + y[j] * cosine[j]
                cosine[j] = swap
        for j in range(len(x)):
            one[j], two[j] = seed, np.float32(0.0)
        for l in range(m, l_max + 1):  # noqa: E741
            if l > m:
                forward, back = np.float32((2 * l - 1) / (l - m)), np.float32((l + m - 1) / (l - m))
                for j in range(len(x)):
                    value = forward * z[j] * one[j] - back * two[j]
                    two[j] = one[j]
                    one[j] = value
            factor = norm[l, m]
            even, odd = found[l * l + l + m], found[l * l + l - m]
            for j in range(len(x)):
                odd[j] = factor * one[j] * sine[j]
                even[j] = factor * one[j] * cosine[j]


@_compiled
def _by_kind(grid: CellGrid, near: NDArray, count: int, kinds: NDArray, n_kinds: int) -> tuple[NDArray, NDArray]:
    """Return points by kind, each kind filled up with −1 to a multiple of the lanes, and the start of each kind."""
    start = np.zeros(n_kinds + 1, dtype=np.int64)
    for j in range(count):
        start[kinds[near[j]] + 1] += 1
    for kind in range(n_kinds):
        start[kind + 1] = start[kind] + (start[kind + 1] + _LANES - 1) // _LANES * _LANES
    order = np.full(start[n_kinds], -1, dtype=np.int64)
    filled = start.copy()
    for j in range(count):
        order[filled[kinds[near[j]]]] = near[j]
        filled[kinds[near[j]]] += 1
    return order, start


@_compiled
def _radials(distance: NDArray, step_A: float, table: NDArray, found: NDArray) -> None:
    """Write the radial functions (functions, j) at distances (j,) to `found`; 0 where a distance is negative."""
    for j in range(len(distance)):
        if distance[j] < 0:
            for i in range(len(found)):
                found[i, j] = 0.0
        else:
            place = distance[j] / step_A
            at = int(place)
            share = np.float32(place - at)
            low, high = table[at], table[at + 1]
            for i in range(len(low)):
                found[i, j] = low[i] + share * (high[i] - low[i])


@_compiled
def _products(harmonics: NDArray, radials: NDArray, first: int, last: int, l_max: int, c: NDArray) -> None:
    """Write the sums over j, first to last, of harmonics (lm, j) × radial functions (l n, j) to `c` (lm, n)."""
    n_pad = c.shape[1]
    for l in range(l_max + 1):  # noqa: E741
        for n in range(0, n_pad, EIGHT):
            g = radials[l * n_pad + n : l * n_pad + n + EIGHT]
            g0, g1, g2, g3 = g[0][first:last], g[1][first:last], g[2][first:last], g[3][first:last]
            g4, g5, g6, g7 = g[4][first:last], g[5][first:last], g[6][first:last], g[7][first:last]
            for lm in range(l * l, (l + 1) * (l + 1)):
                y, own = harmonics[lm][first:last], c[lm][n : n + EIGHT]
                s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
                # sums in names of their own stay in registers, and each becomes a vector over j
                for j in range(len(y)):
                    s0 += y[j] * g0[j]
                    s1 += y[j] * g1[j]
                    s2 += y[j] * g2[j]
                    s3 += y[j] * g3[j]
                    s4 += y[j] * g4[j]
                    s5 += y[j] * g5[j]
                    s6 += y[j] * g6[j]
                    s7 += y[j] * g7[j]
                own[0], own[1], own[2], own[3], own[4], own[5], own[6], own[7] = s0, s1, s2, s3, s4, s5, s6, s7


@_compiled
def _expand(
    grid: CellGrid, place: int, reach_A: float, kinds: NDArray, table: NDArray, norm: NDArray, near: NDArray, c: NDArray
) -> NDArray:
    """Write the expansion (kinds, lm, n) of the density around a point to `c`; return the buffer of neighbours."""
    near, count = _around(grid, place, reach_A, near)
    order, start = _by_kind(grid, near, count, kinds, len(c))
    unit = np.zeros((3, len(order)), dtype=np.float32)
    distance = np.full(len(order), -1.0)
    for j in range(len(order)):
        if order[j] >= 0:
            square = 0.0
            for axis in range(3):
                square += (grid.points[order[j], axis] - grid.points[place, axis]) ** 2
            distance[j] = np.sqrt(square)
            # the atom itself has no direction, and needs none: only its l = 0 is not zero
            for axis in range(3):
                unit[axis, j] = (grid.points[order[j], axis] - grid.points[place, axis]) / max(distance[j], 1e-9)
    l_max = len(norm) - 1
    harmonics = np.empty((c.shape[1], len(order)), dtype=np.float32)
    _harmonics(unit, norm, l_max, harmonics)
    radials = np.empty((table.shape[1], len(order)), dtype=np.float32)
    _radials(distance, reach_A / (len(table) - 2), table, radials)
    for kind in range(len(c)):
        _products(harmonics, radials, start[kind], start[kind + 1], l_max, c[kind])
    return near


@_compiled
def _contract(c: NDArray, n_kinds: int, n_max: int, found: NDArray, first: int) -> None:
    """Write the normalised power spectra of expansions (lm, kind and n, b) to `found` (features, k) from `first` on."""
    n_pad = c.shape[1] // n_kinds
    square = np.zeros(BATCH, dtype=np.float32)
    at = 0
    for l in range(int(np.sqrt(len(c)))):  # noqa: E741
        for one in range(n_kinds * n_pad):
            # of two functions of one kind each pair counts once
            for other in range(one, n_kinds * n_pad):
                if one % n_pad < n_max and other % n_pad < n_max:
                    own = found[at][first : first + BATCH]
                    for b in range(BATCH):
                        own[b] = 0.0
                    for lm in range(l * l, (l + 1) * (l + 1)):
                        x, y = c[lm, one], c[lm, other]
                        for b in range(BATCH):
                            own[b] += x[b] * y[b]
                    for b in range(BATCH):
                        square[b] += own[b] * own[b]
                    at += 1
    for b in range(BATCH):
        square[b] = np.float32(1.0) / np.sqrt(square[b])
    for at in range(len(found)):
        own = found[at][first : first + BATCH]
        for b in range(BATCH):
            own[b] *= square[b]


@_compiled
def power_spectra(
    grid: CellGrid,
    places: NDArray,
    reach_A: float,
    kinds: NDArray,
    n_kinds: int,
    n_max: int,
    table: NDArray,
    norm: NDArray,
    found: NDArray,
) -> None:
    """Write normalised power spectra of points to `found`, float32 (features, k), k filled up to whole batches.

    Parameters
    ----------
    places
        Points to describe, shape (k,), indices into the grid's points.
    kinds
        Kind of each point of the grid, shape (m,), from 0.
    table
        Radial functions on equal steps from 0 to `reach_A` and one beyond, float32 (steps, (l_max + 1) × n_pad), with
        n_pad the next multiple of `EIGHT`.
    norm
        Factors of the spherical harmonics, float32 (l_max + 1, l_max + 1).
    """
    n_pad = table.shape[1] // len(norm)
    c = np.empty((n_kinds, len(norm) * len(norm), n_pad), dtype=np.float32)
    # what the last batch does not fill stays finite
    batch = np.ones((len(norm) * len(norm), n_kinds * n_pad, BATCH), dtype=np.float32)
    near = np.empty(256, dtype=np.int64)
    for first in range(0, len(places), BATCH):
        for b in range(min(BATCH, len(places) - first)):
            near = _expand(grid, places[first + b], reach_A, kinds, table, norm, near, c)
            for kind in range(n_kinds):
                for lm in range(c.shape[1]):
                    for n in range(n_pad):
                        batch[lm, kind * n_pad + n, b] = c[kind, lm, n]
        _contract(batch, n_kinds, n_max, found, first)


@_compiled
def mean_power(products: NDArray, power: int, found: NDArray) -> None:
    """Write the mean over rows of products (m, k), each to an integer power, to `found` (k,)."""
    for i in range(len(found)):
        found[i] = 0.0
    for row in range(len(products)):
        own = products[row]
        if power == 4:
            for i in range(len(found)):
                found[i] += own[i] * own[i] * own[i] * own[i]
        else:
            for i in range(len(found)):
                found[i] += own[i] ** power
    for i in range(len(found)):
        found[i] /= len(products)


@_compiled
def mean_around(grid: CellGrid, reach_A: float, values: NDArray, found: NDArray) -> None:
    """Write the mean of values (n,) over each atom and its neighbours within reach to `found` (n,)."""
    near = np.empty(256, dtype=np.int64)
    for atom in range(len(found)):
        near, count = _around(grid, grid.home[atom], reach_A, near)
        total = 0.0
        for j in range(count):
            total += values[grid.owners[near[j]]]
        found[atom] = total / count


@_compiled
def pair_histogram(grid: CellGrid, kinds: NDArray, reach_A: float, found: NDArray) -> None:
    """Add the distances of all atoms to their neighbours to `found`, int64 (kinds, kinds, bins), from 0 to the reach.

    `kinds` is that of each point of the grid.
    """
    n_bins = found.shape[2]
    near = np.empty(1024, dtype=np.int64)
    for place in grid.home:
        near, count = _around(grid, place, reach_A, near)
        own = found[kinds[place]]
        for j in range(count):
            other = near[j]
            if other != place:
                at = int(_distance(grid, place, other) / reach_A * n_bins)
                own[kinds[other], min(at, n_bins - 1)] += 1


@_compiled
def _distance(grid: CellGrid, one: int, other: int) -> float:
    square = 0.0
    for axis in range(3):
        square += (grid.points[other, axis] - grid.points[one, axis]) ** 2
    return np.sqrt(square)


@_compiled
def find_bonds(
    grid: CellGrid, kinds: NDArray, longest_A: NDArray, inverse: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return the bonds of each atom: first bond (n + 1,), and per bond the other atom, its image (3,) and vector (3,).

    Parameters
    ----------
    kinds
        Of each point of the grid.
    longest_A
        Longest bond by kind and kind; 0 or less for none.
    inverse
        Inverse of the cell (3, 3), which tells the image.
    """
    n, reach = len(grid.home), longest_A.max()
    start = np.zeros(n + 1, dtype=np.int64)
    near = np.empty(256, dtype=np.int64)
    # the first time they are counted, the second time written
    for again in range(2):
        other, image = np.empty(start[n], dtype=np.int64), np.empty((start[n], 3), dtype=np.int16)
        vector = np.empty((start[n], 3))
        for atom in range(n):
            place = grid.home[atom]
            at = start[atom]
            near, count = _around(grid, place, reach, near)
            for j in range(count):
                point = near[j]
                if point != place and _distance(grid, place, point) < longest_A[kinds[place], kinds[point]]:
                    if again:
                        other[at] = grid.owners[point]
                        at_home = grid.points[grid.home[other[at]]]
                        for axis in range(3):
                            vector[at, axis] = grid.points[point, axis] - grid.points[place, axis]
                            shift = 0.0
                            for k in range(3):
                                shift += (grid.points[point, k] - at_home[k]) * inverse[k, axis]
                            image[at, axis] = np.rint(shift)
                    at += 1
            if not again:
                start[atom + 1] = at
    return start, other, image, vector


@_compiled
def bond_angles(start: NDArray, vector: NDArray, kinds: NDArray, found: NDArray, order: NDArray) -> None:
    """Add the angles between bonds of each atom to `found` (kinds, bins to 180°); write q of four-fold ones to `order`.

    `kinds` is that of each atom; `order` keeps what it holds for atoms that have not four bonds.
    """
    n_bins = found.shape[1]
    for atom in range(len(start) - 1):
        first, last = start[atom], start[atom + 1]
        total = 0.0
        for i in range(first, last):
            for j in range(i + 1, last):
                cosine = _cosine(vector[i], vector[j])
                total += (1.0 / 3.0 + cosine) ** 2
                at = int(np.arccos(cosine) / np.pi * n_bins)
                found[kinds[atom], min(at, n_bins - 1)] += 1
        if last - first == 4:
            order[atom] = 1.0 - 3.0 / 8.0 * total


@_compiled
def _cosine(one: NDArray, other: NDArray) -> float:
    product = one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
    squares = (one[0] ** 2 + one[1] ** 2 + one[2] ** 2) * (other[0] ** 2 + other[1] ** 2 + other[2] ** 2)
    return min(max(product / np.sqrt(squares), -1.0), 1.0)


@_compiled
def straight_triples(grid: CellGrid, reach_A: float, limit: float, low_A: float, found: NDArray) -> tuple[float, int]:
    """Add the lengths of pairs of neighbours at angles with a cosine of at most `limit` to `found` (bins, bins).

    Bins go from `low_A` to the reach in both lengths. Returns the sum of longer over shorter, and the number of pairs.
    """
    n_bins = len(found)
    near = np.empty(256, dtype=np.int64)
    ratios, number = 0.0, 0
    for place in grid.home:
        near, count = _around(grid, place, reach_A, near)
        length, vector = np.empty(count), np.empty((count, 3))
        for i in range(count):
            length[i] = _distance(grid, place, near[i])
            for axis in range(3):
                vector[i, axis] = grid.points[near[i], axis] - grid.points[place, axis]
        for i in range(count):
            for j in range(i + 1, count):
                if near[i] != place and near[j] != place and _cosine(vector[i], vector[j]) <= limit:
                    a = int((length[i] - low_A) / (reach_A - low_A) * n_bins)
                    b = int((length[j] - low_A) / (reach_A - low_A) * n_bins)
                    if length[i] >= low_A and length[j] >= low_A:
                        found[min(a, n_bins - 1), min(b, n_bins - 1)] += 1
                        found[min(b, n_bins - 1), min(a, n_bins - 1)] += 1
                    ratios += max(length[i], length[j]) / min(length[i], length[j])
                    number += 1
    return ratios, number


@_compiled
def count_squares(start: NDArray, other: NDArray, image: NDArray, is_anion: NDArray) -> int:
    """Return the number of four-rings of alternating cations and anions: each pair of anions that two cations share."""
    twice = 0
    reached = np.empty((64, 4), dtype=np.int64)
    for cation in range(len(start) - 1):
        if is_anion[cation]:
            continue
        number = 0
        for i in range(start[cation], start[cation + 1]):
            anion = other[i]
            if not is_anion[anion]:
                continue
            for j in range(start[anion], start[anion + 1]):
                if is_anion[other[j]]:
                    continue
                if number == len(reached):
                    reached = np.concatenate((reached, reached))
                reached[number, 0] = other[j]
                for axis in range(3):
                    reached[number, axis + 1] = np.int64(image[i, axis]) + image[j, axis]
                for k in range(number):
                    if _same(reached[k], reached[number]):
                        twice += 1
                number += 1
        # each pair of anions of this cation closes a ring with the cation itself, too
        bonds = 0
        for i in range(start[cation], start[cation + 1]):
            bonds += is_anion[other[i]]
        twice -= bonds * (bonds - 1) // 2
    return twice // 2


@_compiled
def _same(one: NDArray, other: NDArray) -> bool:
    return one[0] == other[0] and one[1] == other[1] and one[2] == other[2] and one[3] == other[3]


@_compiled
def shortest_rings(start: NDArray, other: NDArray, image: NDArray, found: NDArray) -> None:
    """Add the size of the shortest ring through each pair of bonds of each atom to `found`; at 0 those without one.

    King's definition: the shortest path between the two neighbours that avoids the atom. `found` is int64 and ends at
    the largest ring that is looked for. Images of an atom are different atoms.
    """
    queue, table, stamp = _larger(np.empty((512, 4), dtype=np.int64), 0, 0)
    search = 0
    for atom in range(len(start) - 1):
        last = start[atom + 1]
        for first in range(start[atom], last - 1):
            search += 1
            # the atom itself, which paths must avoid, then the neighbour where they start
            _set(queue[0], atom, queue[0], image[first], 0)
            _set(queue[1], other[first], queue[0], image[first], 1)
            _is_new(queue, 0, table, stamp, search)
            _is_new(queue, 1, table, stamp, search)
            head, tail, missing = 1, 2, last - first - 1
            for size in range(3, len(found)):
                end = tail
                while head < end and missing:
                    for bond in range(start[queue[head, 0]], start[queue[head, 0] + 1]):
                        if tail == len(queue):
                            queue, table, stamp = _larger(queue, tail, search)
                        _set(queue[tail], other[bond], queue[head], image[bond], 1)
                        if _is_new(queue, tail, table, stamp, search):
                            if _ends_bond(queue[tail], other, image, first + 1, last):
                                found[size] += 1
                                missing -= 1
                            tail += 1
                    head += 1
            found[0] += missing


@_compiled
def _set(node: NDArray, atom: int, base: NDArray, image: NDArray, factor: int) -> None:
    """Make a node (atom and image) that lies one bond from a base, or with factor 0 in the cell itself."""
    node[0] = atom
    for axis in range(3):
        node[axis + 1] = factor * (base[axis + 1] + image[axis])


@_compiled
def _ends_bond(node: NDArray, other: NDArray, image: NDArray, first: int, last: int) -> bool:
    for bond in range(first, last):
        if (
            other[bond] == node[0]
            and image[bond, 0] == node[1]
            and image[bond, 1] == node[2]
            and image[bond, 2] == node[3]
        ):
            return True
    return False


@_compiled
def _larger(queue: NDArray, used: int, search: int) -> tuple[NDArray, NDArray, NDArray]:
    """Return a queue of twice the length and a hash table of the part that is used."""
    longer = np.empty((2 * len(queue), 4), dtype=np.int64)
    longer[:used] = queue[:used]
    table, stamp = np.empty(4 * len(longer), dtype=np.int64), np.zeros(4 * len(longer), dtype=np.int64)
    for place in range(used):
        _is_new(longer, place, table, stamp, search)
    return longer, table, stamp


@_compiled
def _is_new(queue: NDArray, place: int, table: NDArray, stamp: NDArray, search: int) -> bool:
    """Return whether an entry of the queue is not in the hash table yet, which then holds its place."""
    key = queue[place, 0]
    for axis in range(1, 4):
        key = key * 1000003 + queue[place, axis]
    slot = key & (len(table) - 1)
    while stamp[slot] == search:
        if _same(queue[table[slot]], queue[place]):
            return False
        slot = (slot + 1) & (len(table) - 1)
    stamp[slot], table[slot] = search, place
    return True


@_compiled
def nearest_points(grid: CellGrid, places_A: NDArray, reach_A: float, found: NDArray) -> None:
    """Write the owners of the nearest points of a grid to places (m, 3) to `found` (m, k), nearest first; −1 for none.

    Places lie in the cell; the reach is that of the grid at most.
    """
    k = found.shape[1]
    square = np.empty(k)
    nx, ny, nz = grid.shape
    for row in range(len(places_A)):
        x, y, z = places_A[row]
        i, j, h = _cube(grid, x, y, z)
        number = 0
        for a in range(max(i - 1, 0), min(i + 2, nx)):
            for b in range(max(j - 1, 0), min(j + 2, ny)):
                line = (a * ny + b) * nz
                for point in range(grid.start[line + max(h - 1, 0)], grid.start[line + min(h + 2, nz)]):
                    dx, dy, dz = grid.points[point, 0] - x, grid.points[point, 1] - y, grid.points[point, 2] - z
                    away = dx * dx + dy * dy + dz * dz
                    if away < reach_A * reach_A and (number < k or away < square[k - 1]):
                        at = min(number, k - 1)
                        while at > 0 and square[at - 1] > away:
                            square[at], found[row, at] = square[at - 1], found[row, at - 1]
                            at -= 1
                        square[at], found[row, at] = away, grid.owners[point]
                        number = min(number + 1, k)
        for at in range(number, k):
            found[row, at] = -1


@_compiled
def shared_atoms(grid: CellGrid, label: NDArray, reach_A: float) -> tuple[NDArray, int]:
    """Return pairs of labels (s, 2), the smaller first, that meet at an atom, and the number of atoms with several.

    Labels, from 1, meet at each atom that has both among itself and its neighbours; 0 is none.
    """
    labels, of_point = np.empty(256, dtype=np.int64), label[grid.owners]
    pairs = np.empty((1024, 2), dtype=np.int64)
    n_pairs, several = 0, 0
    nx, ny, nz = grid.shape
    for atom in range(len(label)):
        x, y, z = grid.points[grid.home[atom]]
        i, j, h = _cube(grid, x, y, z)
        labels[0] = label[atom]
        number = 1 if labels[0] else 0
        for a in range(max(i - 1, 0), min(i + 2, nx)):
            for b in range(max(j - 1, 0), min(j + 2, ny)):
                line = (a * ny + b) * nz
                for point in range(grid.start[line + max(h - 1, 0)], grid.start[line + min(h + 2, nz)]):
                    own = of_point[point]
                    # within a grain no distance is needed
                    if own == 0 or (number and own == labels[0]):
                        continue
                    new = number < len(labels)
                    for other in labels[:number]:
                        new = new and other != own
                    if new:
                        dx, dy, dz = grid.points[point, 0] - x, grid.points[point, 1] - y, grid.points[point, 2] - z
                        if dx * dx + dy * dy + dz * dz < reach_A * reach_A:
                            labels[number] = own
                            number += 1
        several += number > 1
        for first in range(number):
            for other in range(first + 1, number):
                if n_pairs == len(pairs):
                    pairs = np.concatenate((pairs, pairs))
                one, two = labels[first], labels[other]
                pairs[n_pairs, 0], pairs[n_pairs, 1] = min(one, two), max(one, two)
                n_pairs += 1
    return pairs[:n_pairs], several
