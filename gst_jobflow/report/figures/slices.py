"""Draw thin slices of cells, seen along y: atoms coloured by a value or by the orientation of their grain.

A slice shows what lies in it, and half a million atoms cost no more than its some ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.report import palette
from gst_jobflow.report.figures.cycle import dome_outline
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import WIDE_IN, canvas, discs, panel_grid, styled

THICKNESS_A = 12.0
"""Of a slice: about two cells of rock-salt."""
_RADIUS_NM = 0.14
_TALLEST_IN = 6.0
_HIDDEN = "#E4E6EA"
# corners of the standard triangle of a cubic crystal, told apart with all forms of colour blindness
CORNERS = {"001": "#D55E00", "011": "#0072B2", "111": "#F0E442"}


@dataclass(frozen=True)
class Slice:
    """Atoms within a thin slice in the middle of a cell.

    Attributes
    ----------
    title
        Of the panel.
    place_nm
        Shape (n, 2), x and z, from the far to the near atoms.
    value
        Shape (n,), NaN for atoms without one; or shape (n, 3), colours.
    size_nm
        Of the whole cell along x and z.
    dome
        What the last pulse heated, if that was a dome.
    """

    title: str
    place_nm: NDArray
    value: NDArray
    size_nm: tuple[float, float]
    dome: dict[str, Any] | None = None
    numbers: NDArray = field(default_factory=lambda: np.zeros(0, dtype=int))


def slice_of(title: str, atoms: Atoms, values: NDArray, dome: dict[str, Any] | None = None) -> Slice:
    """Cut a slice of 1.2 nm out of the middle of a cell, across y; `values` (n,) or (n, 3) are of all its atoms."""
    places = atoms.get_positions(wrap=True)
    depth = float(atoms.cell[1, 1])
    inside = np.flatnonzero(np.abs(places[:, 1] - depth / 2) <= min(THICKNESS_A, depth) / 2)
    # pale atoms lie behind those with a value, then the far ones behind the near ones
    pale = ~np.isfinite(values[inside]) if values.ndim == 1 else (values[inside] == palette.rgb(_HIDDEN)).all(axis=1)
    inside = inside[np.lexsort([-places[inside, 1], ~pale])]
    size = (float(atoms.cell[0, 0]) / 10, float(atoms.cell[2, 2]) / 10)
    return Slice(title, places[inside][:, [0, 2]] / 10, values[inside], size, dome, inside + 1)


@styled
def value_slices(slices: Sequence[Slice], label: str, colours: str, limits: tuple[float, float]) -> Figure | None:
    """Draw slices coloured by a value, with one colour scale; pale: atoms without a value; dashed: last heated."""
    if not slices:
        return None
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(*limits), matplotlib.colormaps[colours])
    figure, grid = _panels(slices, 1.8)
    for axes, each in zip(grid, slices, strict=True):
        rgba = scale.to_rgba(np.nan_to_num(each.value))
        rgba[~np.isfinite(each.value)] = (*palette.rgb(_HIDDEN), 1.0)
        _atoms(axes, each, rgba[:, :3])
    figure.colorbar(scale, ax=grid, label=label, pad=0.01, aspect=30)
    return figure


@styled
def grain_slices(slices: Sequence[Slice]) -> Figure | None:
    """Draw slices coloured by the crystal direction that points to the viewer; pale: in no grain."""
    if not slices:
        return None
    from matplotlib.patches import Patch

    figure, grid = _panels(slices, 0.9)
    for axes, each in zip(grid, slices, strict=True):
        _atoms(axes, each, each.value)
    handles = [Patch(color=colour, label=f"[{name}] along y") for name, colour in CORNERS.items()]
    handles.append(Patch(color=_HIDDEN, label="in no grain"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def orientation_colours(label: NDArray, quaternions: NDArray) -> NDArray:
    """Return colours (n, 3) of atoms by the direction of their grain's cubic crystal along y.

    Parameters
    ----------
    label
        Shape (n,), grain of each atom from 1; 0 for none.
    quaternions
        Shape (g, 4), (x, y, z, w) that turn the lattice to the sample.
    """
    from scipy.spatial.transform import Rotation

    colours = np.tile(palette.rgb(_HIDDEN), (len(label), 1))
    if not len(quaternions):
        return colours
    seen = Rotation.from_quat(quaternions).inv().apply([0.0, 1.0, 0.0])
    low, middle, high = np.sort(np.abs(seen), axis=1).T
    weights = np.stack([high - middle, np.sqrt(2) * (middle - low), np.sqrt(3) * low], axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    of_grain = weights @ np.array([palette.rgb(colour) for colour in CORNERS.values()])
    inside = label > 0
    colours[inside] = of_grain[label[inside].astype(int) - 1]
    return colours


def _panels(slices: Sequence[Slice], beside_in: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel a slice; `beside_in` inches of its width go to labels and a colour bar."""
    aspect = slices[0].size_nm[1] / slices[0].size_nm[0]
    columns = min(len(slices), 5 if aspect > 1.2 else 3 if aspect > 0.8 else 2)
    rows = -(-len(slices) // columns)
    width = (WIDE_IN - beside_in) / max(columns, 3 if aspect > 1.2 else 2)
    width = min(width, _TALLEST_IN / aspect)
    figure = canvas(max(width * columns + beside_in, 4.2), rows * (width * aspect + 0.38) + 0.8)
    panels = panel_grid(figure, len(slices), columns, sharex=True, sharey=True)
    for axes in panels[::columns]:
        axes.set_ylabel("z (nm)")
    for axes in panels[-columns:]:
        axes.set_xlabel("x (nm)")
    return figure, panels


def _atoms(axes: Axes, each: Slice, colours: NDArray) -> None:
    axes.set(xlim=(0, each.size_nm[0]), ylim=(0, each.size_nm[1]), aspect="equal", title=each.title)
    axes.grid(visible=False)
    size = np.full(len(each.place_nm), 2 * _RADIUS_NM)
    discs(axes, each.place_nm, size, facecolors=colours, edgecolors="none", rasterized=True)
    if each.dome is not None:
        dome_outline(axes, each.dome)
