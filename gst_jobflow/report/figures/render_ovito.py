"""Render DIR/scene.npz into DIR/0.png, 1.png, …: `python -m gst_jobflow.report.figures.render_ovito DIR`.

It runs in its own process because of OVITO's graphics drivers; see `snapshots`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gst_jobflow.report.figures.snapshots import SCENE_FILE, frame_A, pixels


def main(folder: Path) -> None:
    """Render all cells of the scene."""
    # with "offscreen", often set for other programs, OVITO finds no Vulkan
    os.environ.pop("QT_QPA_PLATFORM", None)
    import ovito

    with np.load(folder / SCENE_FILE) as scene:
        for index in range(int(scene["n_cells"])):
            positions, box, colours, radii = (
                scene[f"{name}_{index}"] for name in ("positions", "box", "colours", "radii")
            )
            _render(positions, box, colours, radii, folder / f"{index}.png")
    (folder / "version").write_text(f"OVITO {ovito.version_string}")


def _render(positions_A: np.ndarray, box_A: np.ndarray, colours: np.ndarray, radii_A: np.ndarray, file: Path) -> None:
    from ovito.pipeline import Pipeline, StaticSource
    from ovito.vis import TachyonRenderer, Viewport

    pipeline = Pipeline(source=StaticSource(data=_collection(positions_A, box_A, colours, radii_A)))
    pipeline.add_to_scene()
    left, right, bottom, top = frame_A(box_A)
    view = Viewport(type=Viewport.Type.Ortho, camera_dir=(0, 1, 0), camera_up=(0, 0, 1))
    view.camera_pos = ((left + right) / 2, float(positions_A[:, 1].mean()), (bottom + top) / 2)
    view.fov = (top - bottom) / 2
    # a quarter of the default samples: the same at this size, and several times faster
    renderer = TachyonRenderer(
        ambient_occlusion=True, ambient_occlusion_samples=5, antialiasing_samples=5, shadows=False
    )
    view.render_image(filename=str(file), size=pixels(right - left, top - bottom), renderer=renderer)
    pipeline.remove_from_scene()


def _collection(positions_A: np.ndarray, box_A: np.ndarray, colours: np.ndarray, radii_A: np.ndarray) -> Any:
    from ovito.data import DataCollection, Particles, SimulationCell

    data = DataCollection()
    matrix = np.zeros((3, 4))
    matrix[:, :3] = box_A.T
    cell = SimulationCell(pbc=(True, True, True))
    cell[...] = matrix
    cell.vis.line_width = 0.15
    cell.vis.rendering_color = (0.36, 0.39, 0.44)
    data.objects.append(cell)
    particles = Particles(count=len(positions_A))
    particles.create_property("Position", data=positions_A)
    particles.create_property("Color", data=colours)
    particles.create_property("Radius", data=radii_A)
    data.objects.append(particles)
    return data


if __name__ == "__main__":
    main(Path(sys.argv[1]))
