"""Render pictures of cells by OVITO, without a display.

OVITO runs in its own process, where a crashing graphics driver costs a picture, not the page. If it cannot render (new
versions need a Vulkan driver even for software renderers), a plain drawing replaces the picture, and the page says how
to get the real one.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.analysis.disorder import OrderMap, order_map
from gst_jobflow.analysis.plan import anion_of
from gst_jobflow.base.errors import DataError, GstError
from gst_jobflow.base.processes import run_program
from gst_jobflow.report import palette
from gst_jobflow.report.style import discs
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms

if TYPE_CHECKING:
    from gst_jobflow.report.collect import CycleData

logger = logging.getLogger(__name__)

SCENE_FILE = "scene.npz"
LOG_FILE = "ovito.log"
WALL_LIMIT_S = 240.0
FIX_VULKAN = "sudo apt install libvulkan1 mesa-vulkan-drivers"
FIX_OVITO = "pip install 'gst_jobflow[analysis]'"
_MAX_PIXELS = 640
_COLOURS = 160
MOST_SPHERES = 60_000
"""In a picture; of larger cells a slice is shown."""
# share of white in the colours of fixed atoms
_FIXED_LIGHTENED = 0.6


@dataclass
class Cell:
    """Content of one picture.

    `positions_A` (n, 3) inside the box, `box_A` (3, 3) rows are lattice vectors, `colours` (n, 3) between 0 and 1,
    `radii_A` (n,), `shown` (n,) the indices of these atoms among all of the cell.
    """

    title: str
    positions_A: np.ndarray
    box_A: np.ndarray
    colours: np.ndarray
    radii_A: np.ndarray
    shown: np.ndarray


@dataclass
class Picture:
    """A rendered cell."""

    title: str
    png: bytes


@dataclass
class Snapshots:
    """Pictures of a cycle, their renderer, and the reason why OVITO did not render them.

    `maps` are titles and maps of order of the same states, if crystal-like atoms are known.
    """

    pictures: list[Picture]
    ordered: list[Picture] = field(default_factory=list)
    maps: list[tuple[str, OrderMap]] = field(default_factory=list)
    renderer: str = ""
    remark: str = ""
    elements: tuple[str, ...] = ()
    has_fixed: bool = False


def cycle_snapshots(results: Results, data: CycleData) -> Snapshots:
    """Render the cell at the start and after each operation that ran."""
    wanted = [("start", data.cycle.structure_id)]
    wanted += [(f"after {name}", run.final_structure_id) for name, run in data.steps if run.final_structure_id]
    fixed = _fixed(data)
    cells: list[Cell] = []
    ordered: list[Cell] = []
    maps: list[tuple[str, OrderMap]] = []
    elements: dict[str, None] = {}
    remarks = []
    for title, structure_id in wanted:
        try:
            atoms = load_atoms(results, structure_id)
        except DataError as err:
            remarks.append(f"{title}: {err.message}")
            continue
        elements.update(dict.fromkeys(sorted(set(atoms.get_chemical_symbols()))))
        cells.append(snapshot_cell(title, atoms, fixed))
        mask = _crystal_like(atoms, anion_of(data.cycle))
        if mask is not None:
            ordered.append(by_order(cells[-1], mask))
            maps += _map(title, atoms, mask, fixed)
        if len(cells[-1].shown) < len(atoms):
            remarks.append(f"{title}: a slice of {len(cells[-1].shown):,} of {len(atoms):,} atoms")
    # one process renders all, since its start takes longest
    snapshots = render_cells([*cells, *ordered])
    snapshots.pictures, snapshots.ordered = snapshots.pictures[: len(cells)], snapshots.pictures[len(cells) :]
    snapshots.maps = maps
    snapshots.elements = tuple(elements)
    snapshots.has_fixed = fixed is not None
    snapshots.remark = "; ".join([*remarks, snapshots.remark] if snapshots.remark else remarks)
    return snapshots


def _fixed(data: CycleData) -> tuple[int, int] | None:
    """Return first and last (excluded) index of the fixed atoms, the heat barrier."""
    for name, (first, last) in data.cycle.groups.items():
        if name in ("barrier", "fixed", "frozen"):
            return first - 1, last
    return None


def snapshot_cell(title: str, atoms: Atoms, fixed: tuple[int, int] | None = None) -> Cell:
    """Prepare a picture: wrap atoms into the box, set colours and radii."""
    atoms = atoms.copy()
    atoms.wrap()
    symbols = np.array(atoms.get_chemical_symbols())
    colours, radii = np.empty((len(symbols), 3)), np.empty(len(symbols))
    for symbol in set(symbols.tolist()):
        colours[symbols == symbol] = palette.rgb(palette.element(symbol))
        radii[symbols == symbol] = covalent_radii[atomic_numbers[symbol]]
    if fixed is not None:
        part = colours[slice(*fixed)]
        colours[slice(*fixed)] = part + (1 - part) * _FIXED_LIGHTENED
    shown = _slice(atoms)
    return Cell(title, atoms.positions[shown], np.asarray(atoms.cell.array), colours[shown], radii[shown], shown)


def _slice(atoms: Atoms) -> np.ndarray:
    """Return the indices of all atoms or, of a large cell, of the `MOST_SPHERES` nearest to its middle along y."""
    if len(atoms) <= MOST_SPHERES:
        return np.arange(len(atoms))
    height = atoms.positions[:, 1]
    middle = (height.min() + height.max()) / 2
    return np.sort(np.argpartition(np.abs(height - middle), MOST_SPHERES)[:MOST_SPHERES])


def _crystal_like(atoms: Atoms, anion: str) -> np.ndarray | None:
    """Return the mask (n,) of crystal-like atoms; None if these atoms or this machine do not allow it."""
    try:
        return np.asarray(crystallinity(atoms, anion=anion).mask, dtype=bool)
    except GstError as err:
        logger.info("no crystal-like atoms in the pictures: %s", err)
        return None


def _map(title: str, atoms: Atoms, mask: np.ndarray, fixed: tuple[int, int] | None) -> list[tuple[str, OrderMap]]:
    """Return title and map of order of the mobile atoms; nothing for a tilted cell."""
    mobile = np.setdiff1d(np.arange(len(atoms)), np.arange(*fixed) if fixed else [])
    try:
        return [(title, order_map(atoms, mask, mobile))]
    except GstError as err:
        logger.info("no map of order: %s", err)
        return []


def by_order(cell: Cell, mask: np.ndarray) -> Cell:
    """Return the cell coloured by order: crystal-like atoms (`mask`, shape (n,)) and others."""
    colours = np.where(mask[cell.shown, None], palette.rgb(palette.CRYSTALLINE), palette.rgb(palette.DISORDERED))
    return replace(cell, colours=colours)


def render_cells(cells: Sequence[Cell]) -> Snapshots:
    """Render cells, seen along y with z up, by OVITO; draw them if it cannot."""
    if not cells:
        return Snapshots([])
    pictures, version, problem = _by_ovito(cells)
    if pictures:
        return Snapshots(pictures, renderer=version)
    logger.warning("no pictures by OVITO: %s", problem)
    return Snapshots([Picture(cell.title, drawing(cell)) for cell in cells], renderer="a plain drawing", remark=problem)


def _by_ovito(cells: Sequence[Cell]) -> tuple[list[Picture], str, str]:
    """Return pictures and OVITO's version, or the reason of a failure."""
    if importlib.util.find_spec("ovito") is None:
        return [], "", f"OVITO is not installed: {FIX_OVITO}"
    with tempfile.TemporaryDirectory(prefix="gst-render-") as name:
        folder = Path(name)
        write_scene(cells, folder / SCENE_FILE)
        command = [sys.executable, "-m", "gst_jobflow.report.figures.render_ovito", name]
        ended = run_program(command, folder, output=LOG_FILE, wall_limit_s=WALL_LIMIT_S)
        files = [folder / f"{index}.png" for index in range(len(cells))]
        if ended.returncode == 0 and all(file.is_file() for file in files):
            version = (folder / "version").read_text()
            return [Picture(c.title, small_png(f.read_bytes())) for c, f in zip(cells, files, strict=True)], version, ""
        log = (folder / LOG_FILE).read_text(errors="replace")
    if ended.timed_out:
        return [], "", f"OVITO took longer than {WALL_LIMIT_S:g} s"
    if "Vulkan" in log:
        return [], "", f"this OVITO needs a Vulkan driver (a software one is enough): {FIX_VULKAN}"
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "no message")
    return [], "", f"OVITO could not render: {last.strip()[:200]}"


def write_scene(cells: Sequence[Cell], file: Path) -> None:
    """Write the input of the rendering process."""
    arrays: dict[str, np.ndarray] = {}
    for index, cell in enumerate(cells):
        arrays |= {f"positions_{index}": cell.positions_A, f"box_{index}": cell.box_A}
        arrays |= {f"colours_{index}": cell.colours, f"radii_{index}": cell.radii_A}
    np.savez(file, n_cells=len(cells), **arrays)  # type: ignore[arg-type]  # numpy adds a keyword of its own


def frame_A(cell_box_A: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the box seen along y, Å, with a margin for atoms at its faces."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) @ cell_box_A
    low, high = corners.min(axis=0), corners.max(axis=0)
    room = 2.0
    return low[0] - room, high[0] + room, low[2] - room, high[2] + room


def pixels(width_A: float, height_A: float) -> tuple[int, int]:
    """Return width and height in pixels; the longer side has `_MAX_PIXELS`."""
    scale = _MAX_PIXELS / max(width_A, height_A)
    return max(40, round(width_A * scale)), max(40, round(height_A * scale))


def small_png(png: bytes) -> bytes:
    """Return the picture with a colour palette, about a quarter of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def drawing(cell: Cell) -> bytes:
    """Draw discs from back to front, as a substitute for rendering."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, bottom, top = frame_A(cell.box_A)
    width, height = pixels(right - left, top - bottom)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    order = np.argsort(-cell.positions_A[:, 1])
    depth = cell.positions_A[order, 1]
    # fade with distance
    faded = ((depth - depth.min()) / max(np.ptp(depth), 1e-9) * 0.55)[:, None]
    colours = cell.colours[order] * (1 - faded) + faded
    places, edges = cell.positions_A[order][:, [0, 2]], np.clip(colours * 0.6, 0, 1)
    discs(axes, places, 2 * cell.radii_A[order], facecolors=colours, edgecolors=edges, linewidths=0.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, facecolor="white", metadata={"Software": None})
    return small_png(buffer.getvalue())
