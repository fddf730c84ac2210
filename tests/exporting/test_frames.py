"""Frames with arrays of atoms, as OVITO and ASE read them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import iread

from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import analyse_trajectory
from gst_jobflow.analysis.series import newest
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Trajectory
from gst_jobflow.exporting.frames import export_frames, write_dump
from gst_jobflow.store import Results
from tests.analysis.runs import frame, stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
pytest.importorskip("ovito")


@pytest.fixture
def analysed(project: Project, tmp_path: Path) -> tuple[Results, Trajectory]:
    """A run of which each second frame was analysed."""
    results = Results.open(project)
    run = stored(results, tmp_path, {0: frame(0.1), 100: frame(0.15), 200: frame(0.8)})
    analyse_trajectory(results, run, AnalysisPlan(what=["tellurium", "grains"], every=2, min_grain=20))
    return results, results.get(Trajectory, run.id)


def values(results: Results, run: Trajectory, step: int) -> np.ndarray:
    series = newest(run, "grains")
    assert series is not None
    return series.arrays(results.artifacts, step)["grain"]


@pytest.mark.parametrize("name", ["run.lammpstrj", "run.lammpstrj.gz"])
def test_ovito_opens_the_dump_and_finds_the_numbers(
    analysed: tuple[Results, Trajectory], tmp_path: Path, name: str
) -> None:
    from ovito.io import import_file

    results, run = analysed
    assert export_frames(results, run, tmp_path / name) == 3
    pipeline = import_file(str(tmp_path / name), multiple_frames=True)
    assert pipeline.source.num_frames == 3
    for place, step in ((0, 0), (2, 200)):
        data = pipeline.compute(place)
        order = np.argsort(np.array(data.particles.identifiers))
        assert data.attributes["Timestep"] == step
        assert np.array_equal(np.array(data.particles["grain"])[order], values(results, run, step))
        original = frame(0.1) if step == 0 else frame(0.8)
        assert np.allclose(np.array(data.particles.positions)[order], original.positions, atol=1e-5)
        names = {kind.id: kind.name for kind in data.particles.particle_types.types}
        found = [names[number] for number in np.array(data.particles.particle_types)[order]]
        assert found == original.get_chemical_symbols()
    assert np.array(pipeline.compute(0).particles["grain"]).max() == 1
    # nothing was computed of the frame between
    assert np.isnan(np.array(pipeline.compute(1).particles["crystalline"])).all()


def test_extended_xyz_has_what_was_asked_for(analysed: tuple[Results, Trajectory], tmp_path: Path) -> None:
    results, run = analysed
    target = tmp_path / "run.extxyz.gz"
    assert export_frames(results, run, target, arrays=["grain"], every=2) == 2
    with gzip.open(target, "rt") as file:
        found = list(iread(file, index=":", format="extxyz"))
    assert [atoms.info["step"] for atoms in found] == [0, 200]
    assert "crystalline" not in found[0].arrays
    assert np.array_equal(found[1].arrays["grain"], values(results, run, 200))
    assert found[1].calc is None


def test_what_cannot_be_written_is_one_line(analysed: tuple[Results, Trajectory], tmp_path: Path) -> None:
    results, run = analysed
    for name, arrays, message in (
        ("run.cif", [], "says no format"),
        ("run.xyz", ["k_bar"], "no array 'k_bar'"),
    ):
        with pytest.raises(InputError, match=message):
            export_frames(results, run, tmp_path / name, arrays=arrays)
    (tmp_path / "run.xyz").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export_frames(results, run, tmp_path / "run.xyz")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dump_1.lammpstrj.gz", "project", "run.xyz"]


def test_a_leaning_cell_has_the_same_vectors_in_ovito(tmp_path: Path) -> None:
    from ovito.io import import_file

    atoms = frame(0.1)
    cell = np.array([[20.0, 0, 0], [-3.0, 18.0, 0], [4.0, -2.0, 19.0]])
    atoms.set_cell(cell)
    with (tmp_path / "one.dump").open("w") as file:
        write_dump(file, 5, atoms, 0.01, ["Ge", "Sb", "Te"], [])
    data = import_file(str(tmp_path / "one.dump")).compute()
    assert np.allclose(np.array(data.cell)[:, :3].T, cell)
    assert np.allclose(np.array(data.particles.positions), atoms.positions, atol=1e-5)
