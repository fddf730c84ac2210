from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from PIL import Image

from gst_jobflow.report import palette
from gst_jobflow.report.figures import snapshots

from . import synthetic


def small_cell() -> Atoms:
    return Atoms("GeSbTe", positions=[[1, 1, 1], [3, 3, 9], [3, 1, 25]], cell=[6, 6, 20], pbc=True)


def colours_in(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3) / 255


def test_cells_are_wrapped_coloured_and_the_barrier_is_pale() -> None:
    cell = snapshots.snapshot_cell("x", small_cell(), fixed=(2, 3))
    assert cell.positions_A[2] == pytest.approx([3, 1, 5])
    assert cell.colours[0] == pytest.approx(palette.rgb(palette.ELEMENTS["Ge"]))
    assert cell.colours[2] == pytest.approx(palette.rgb(palette.ELEMENTS["Te"], 0.6))


def test_other_elements_have_colours_of_their_own() -> None:
    cell = snapshots.snapshot_cell("x", Atoms("CrSeTe", cell=[5, 5, 5], pbc=True))
    assert len({tuple(colour) for colour in cell.colours}) == 3
    assert {palette.element("Cr"), palette.element("Se")} <= set(palette.OTHER_ELEMENTS)


def test_tilted_boxes_fit_into_the_picture() -> None:
    left, right, bottom, top = snapshots.frame_A(np.array([[10.0, 0, 0], [-5, 8, 0], [0, 0, 20]]))
    assert left < -5
    assert right > 10
    assert (bottom, top) == (-2, 22)


def test_longer_side_is_bounded() -> None:
    assert max(snapshots.pixels(10, 400)) == max(snapshots.pixels(400, 10)) == 640
    assert min(snapshots.pixels(1, 1000)) == 40


def test_drawing_shows_every_element() -> None:
    seen = colours_in(snapshots.drawing(snapshots.snapshot_cell("x", small_cell())))
    front = palette.rgb(palette.ELEMENTS["Ge"])
    assert np.abs(seen - front).max(axis=1).min() < 0.1


def test_without_ovito_a_drawing_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = snapshots.render_cells([snapshots.snapshot_cell("x", small_cell())])
    assert "pip install" in made.remark
    assert made.pictures[0].png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("said", "remark"),
    [
        ("RuntimeError: Could not initialize the Vulkan graphics backend", "apt install libvulkan1"),
        ("ImportError: libQt6.so\n", "could not render: ImportError: libQt6.so"),
        ("", "no message"),
    ],
)
def test_ovito_that_cannot_render_is_explained(monkeypatch: pytest.MonkeyPatch, said: str, remark: str) -> None:
    pytest.importorskip("ovito")

    def fail(command, directory, *, output, wall_limit_s):
        (directory / output).write_text(said)
        return SimpleNamespace(returncode=1, timed_out=False)

    monkeypatch.setattr(snapshots, "run_program", fail)
    made = snapshots.render_cells([snapshots.snapshot_cell("x", small_cell())])
    assert remark in made.remark
    assert len(made.pictures) == 1


def test_nothing_to_render_starts_nothing() -> None:
    assert snapshots.render_cells([]).pictures == []


def test_rendering_by_ovito() -> None:
    pytest.importorskip("ovito")
    made = snapshots.render_cells(
        [snapshots.snapshot_cell("x", synthetic.device_atoms(0.1, np.random.default_rng(0))[:60])]
    )
    if "Vulkan" in made.remark:
        pytest.skip(made.remark)
    assert made.renderer.startswith("OVITO 3.")
    assert made.remark == ""
    seen = colours_in(made.pictures[0].png)
    # blue of germanium, shaded: much more blue than red somewhere; and white around the cell
    assert (seen[:, 2] - seen[:, 0]).max() > 0.4
    assert seen.min(axis=1).max() == 1.0
