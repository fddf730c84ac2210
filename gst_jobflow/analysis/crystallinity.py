"""Which atoms are crystal-like: by the order of the tellurium sublattice.

In every crystal of the GeTe-Sb2Te3 line, rock-salt with vacancies or layered trigonal, tellurium stands on close-packed
planes, while the cation sites are disordered or partly empty. Polyhedral template matching (Larsen, Schmidt and
Schiøtz, Model. Simul. Mater. Sci. Eng. 24, 055007, 2016; OVITO's implementation) is therefore run on tellurium alone,
with the templates fcc and hcp: rock-salt is fcc; beside a van der Waals gap the stacking is hcp. An atom of another
element is crystal-like when at least four of its six nearest tellurium atoms are.

The RMSD cutoff lies between two distributions of the RMSD of tellurium atoms (5 % / median / 95 %):

=====================================================  =================================
perfect trigonal Sb2Te3                                0.03 / 0.07 / 0.07
the same, Gaussian rattle of 0.20 Å                    0.07 / 0.09 / 0.11
the same, rattle of 0.25 Å                             0.08 / 0.11 / 0.13
Sb2Te3 at 300 K (dynamics with an ACE potential)       0.04 / 0.08 / 0.09
Sb2Te3 at 600 K                                        0.06 / 0.09 / 0.11
rock-salt with cation vacancies, rattle of 0.15 Å      0.04 / 0.05 / 0.06
Sb2Te3 melt at 3000 K and 1000 K                       0.29 / not matched / not matched
that melt quenched to 300 K                            0.29 / not matched / not matched
hard-sphere random, same density                       0.33 / not matched / not matched
=====================================================  =================================

Simple cubic on all atoms was tried and left: vacancies take neighbours away (half of the atoms of perfect rock-salt
GST124 match), and the gap of the trigonal phase reaches 0.12 without any disorder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_names, atomic_numbers
from numpy.typing import NDArray

from gst_jobflow.analysis.neighbours import CellGrid, cell_grid, kinds_of
from gst_jobflow.analysis.profiles import along_z
from gst_jobflow.base.errors import DataError, InputError, MissingProgramError

RMSD_CUTOFF = 0.17
ANION = "Te"
#: a cation site of these crystals is an octahedron of anions
_OCTAHEDRON, _NEEDED = 6, 4
OCTAHEDRON_REACH_A = 6.0
"""Twice the distance of neighbours: an atom with fewer than six anions within it is not crystal-like."""


def crystal_like(anion: str = ANION) -> str:
    """Return what crystal-like means, to be printed beside every number of it.

    The reference paper's own measure, similarity of SOAP vectors above 0.57, is another one and gives other fractions.
    """
    return (
        f"a {anion} atom is crystal-like where its {anion} neighbours match fcc or hcp (polyhedral template matching, "
        f"RMSD below {RMSD_CUTOFF:g}), another atom where at least four of its six nearest {anion} atoms are; "
        "fractions count mobile atoms"
    )


def element_name(symbol: str) -> str:
    """Return the name of an element, in lower case."""
    return atomic_names[atomic_numbers[symbol]].lower()


@dataclass(frozen=True)
class Crystallinity:
    """Mask of the crystal-like atoms of a whole cell, shape (n,), and their share in the group that was asked for."""

    mask: NDArray
    fraction: float


def crystallinity(
    atoms: Atoms, group: NDArray | None = None, rmsd_cutoff: float = RMSD_CUTOFF, anion: str = ANION
) -> Crystallinity:
    """Return which atoms are crystal-like, and their share in a group.

    Parameters
    ----------
    group
        Indices or a mask of the atoms to count; all by default. Neighbours outside the group are seen.
    rmsd_cutoff
        Largest deviation from a template, relative to the neighbour distance.
    anion
        Element of the close-packed sublattice.

    Raises
    ------
    InputError, DataError
        As `anions_of`, or the group is empty.
    """
    is_anion = anions_of(atoms, anion)
    mask = np.zeros(len(atoms), dtype=bool)
    pipeline, matching = close_packed_matching(atoms[is_anion], rmsd_cutoff)
    ordered = np.array(pipeline.compute().particles["Structure Type"]) != int(matching.Type.OTHER)
    mask[is_anion] = ordered
    if not is_anion.all():
        grid = cell_grid(atoms, OCTAHEDRON_REACH_A, np.flatnonzero(is_anion))
        near = nearest_anions(atoms, np.flatnonzero(~is_anion), grid)
        mask[~is_anion] = (near >= 0).all(axis=1) & (ordered[near].sum(axis=1) >= _NEEDED)
    chosen = mask if group is None else mask[np.asarray(group)]
    if chosen.size == 0:
        raise InputError("the group has no atoms", "give indices of atoms of the cell")
    return Crystallinity(mask, float(chosen.mean()))


def anions_of(atoms: Atoms, anion: str = ANION) -> NDArray:
    """Return which atoms are anions, shape (n,).

    Raises InputError if there are none, and DataError if a position is not finite.
    """
    if not np.all(np.isfinite(atoms.positions)):
        raise DataError("positions are not finite: the configuration comes from a failed run")
    is_anion = kinds_of(atoms, [anion]) == 0
    if not is_anion.any():
        raise InputError(
            f"there is no {anion} in {atoms.get_chemical_formula()}", "name the close-packed element: anion="
        )
    return is_anion


def crystal_profile(
    atoms: Atoms, mask: NDArray, bin_A: float, group: NDArray | None = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Return (centres in Å, fraction, number of atoms) in bins along z; the fraction is NaN in empty bins."""
    chosen = np.arange(len(atoms)) if group is None else np.arange(len(atoms))[np.asarray(group)]
    bins = along_z(atoms, bin_A, chosen)
    edges = bins.edges_A["z"]
    return 0.5 * (edges[1:] + edges[:-1]), bins.mean(np.asarray(mask)[chosen]), bins.counts


def close_packed_matching(anions: Atoms, rmsd_cutoff: float, **output: Any) -> tuple[Any, Any]:
    """Return an OVITO pipeline that matches fcc and hcp by polyhedral templates, and its modifier.

    `output` asks for further results of the modifier, such as ``output_orientation``. Raises MissingProgramError if
    OVITO cannot be imported.
    """
    try:
        from ovito.data import DataCollection
        from ovito.modifiers import PolyhedralTemplateMatchingModifier as Matching
        from ovito.pipeline import Pipeline, StaticSource
    except ImportError as error:
        raise MissingProgramError(
            f"OVITO cannot be imported: {error}", "pip install 'gst_jobflow[analysis]'"
        ) from error
    data = DataCollection()
    data.create_cell(np.column_stack([np.asarray(anions.cell).T, np.zeros(3)]), pbc=tuple(anions.pbc.tolist()))
    data.create_particles(count=len(anions)).create_property("Position", data=anions.positions)
    pipeline = Pipeline(source=StaticSource(data=data))
    matching = Matching(rmsd_cutoff=rmsd_cutoff, **output)
    for structure in matching.structures:
        structure.enabled = structure.id in (int(Matching.Type.FCC), int(Matching.Type.HCP))
    pipeline.modifiers.append(matching)
    return pipeline, matching


def nearest_anions(atoms: Atoms, of: NDArray, grid: CellGrid) -> NDArray:
    """Return the six nearest anions within 6 Å of atoms `of`, as owners in a grid of anions, (m, 6); -1 where fewer."""
    from gst_jobflow.analysis.kernels import nearest_points

    found = np.empty((len(of), _OCTAHEDRON), dtype=np.int64)
    at_home = atoms.get_scaled_positions(wrap=True)[of] @ np.asarray(atoms.cell)
    nearest_points(grid, at_home, OCTAHEDRON_REACH_A, found)
    return found
