"""Get the amorphous material of a barrier without a melt-quench: from a file, or as hard spheres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from gst_jobflow.base.errors import GstError, InputError
from gst_jobflow.devices.cell.barrier import barrier_spec
from gst_jobflow.devices.cell.spec import DeviceSpec
from gst_jobflow.structures.hard_sphere import generate
from gst_jobflow.structures.lammps_data import read_data

HARD_SPHERE = "hard-sphere"
"""Value of the barrier option that asks for hard spheres: to look at a cell without a potential."""
HARD_SPHERE_WARNING = (
    "the barrier is HARD-SPHERE material: random atoms kept apart, no bonds, no physics; only to look at the cell"
)

_DATA_SUFFIXES = (".data", ".lmp", ".lammps")


def hard_sphere_barrier(spec: DeviceSpec) -> Atoms:
    """Make hard-sphere material to look at a cell; raises InputError if the atoms do not fit."""
    return generate(barrier_spec(spec))


def read_barrier(path: Path, species_order: Sequence[str]) -> Atoms:
    """Read the last structure of a file: LAMMPS data (types in `species_order`), or a format of ASE.

    Raises InputError if the file cannot be read, or its structure has no cell.
    """
    if path.suffix in _DATA_SUFFIXES:
        return read_data(path, species_order)
    from ase.io import read

    fix = "give extended XYZ, POSCAR, CIF or LAMMPS data (.data) of amorphous material in a periodic cell"
    try:
        atoms = read(path, index=-1)
    except GstError:
        raise
    # ASE's readers raise exceptions of any kind
    except Exception as error:
        raise InputError(f"{path} cannot be read as a structure: {error or type(error).__name__}", fix) from error
    if atoms.cell.rank < 3:  # type: ignore[union-attr]
        raise InputError(f"{path} has no periodic cell", fix)
    return atoms  # type: ignore[return-value]
