"""Relax the seam of a cell that was cut from a frame, while the core is held."""

from __future__ import annotations

from pathlib import Path

from ase.calculators.lammps import Prism

from gst_jobflow.base.errors import DataError
from gst_jobflow.dynamics.deck import PotentialFiles, pair_lines
from gst_jobflow.dynamics.dump import iter_frames
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.single_point import cell_lines, end_line
from gst_jobflow.selection.clusters import SHELL_A, Cluster, with_positions
from gst_jobflow.structures.lammps_data import write_data

_FILE = "relaxed.dump"
_WALL_EV_A2 = 10.0
# no full minimisation, which would destroy the structure of a liquid at the seam
_FORCE_EV_A, _MOST_STEPS, _LONGEST_STEP_A = 0.5, 100, 0.05


def relax_seam(
    engine: LammpsEngine, potential: PotentialFiles, cluster: Cluster, radius_A: float, directory: Path
) -> Cluster:
    """Minimise the energy over the atoms beyond the core until no force exceeds 0.5 eV/Å, for at most 100 steps.

    A wall keeps these atoms out of `radius_A` around the centre, whose environment stays unchanged. Raises RunError if
    LAMMPS fails, and DataError if the atoms fly apart.
    """
    if cluster.n_core == len(cluster.atoms):
        return cluster
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    write_data(cluster.atoms, directory / "0.data", potential.elements)
    lines = [
        *cell_lines(0),
        *pair_lines(potential, "recursive"),
        f"group core id 1:{cluster.n_core}",
        "group seam subtract all core",
        *_wall_lines(cluster, radius_A),
        "fix hold core setforce 0 0 0",
        "thermo 10",
        f"min_modify dmax {_LONGEST_STEP_A} norm max",
        f"minimize 0 {_FORCE_EV_A} {_MOST_STEPS} {10 * _MOST_STEPS}",
        f"write_dump all custom {_FILE} id type x y z modify sort id format float %.15g",
        end_line(),
        "",
    ]
    (directory / _FILE).unlink(missing_ok=True)
    engine.with_ranks(1).run("\n".join(lines), directory).require_success()
    frame = next(iter_frames(directory / _FILE), None)
    if frame is None or len(frame.ids) != len(cluster.atoms):
        raise DataError("LAMMPS lost atoms of the seam", f"see {directory}")
    return with_positions(cluster, frame.fractional() @ cluster.atoms.cell.array)


def _wall_lines(cluster: Cluster, radius_A: float) -> list[str]:
    """Return a harmonic wall around the centre, which acts only on atoms that enter the core.

    Regions of LAMMPS have no periodic images. A sphere wider than the cell, which then has the frame's period, gets no
    wall.
    """
    x, y, z, xy, xz, yz = (float(edge) for edge in Prism(cluster.atoms.cell.array, pbc=True).get_lammps_prism())
    if 2 * (radius_A + SHELL_A) >= 1 / max(cluster.atoms.cell.reciprocal().lengths()):
        return []
    middle = f"{(x + xy + xz) / 2!r} {(y + yz) / 2!r} {z / 2!r}"
    return [
        f"region core sphere {middle} {radius_A!r} side out",
        f"fix wall seam wall/region core harmonic {_WALL_EV_A2} 0.0 {SHELL_A!r}",
        "fix_modify wall energy yes",
    ]
