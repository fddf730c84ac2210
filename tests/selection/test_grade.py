"""The extrapolation grade is LAMMPS's and pyace's own; a compressed cell is flagged."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Settings
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.selection.grade import Grade, gammas
from gst_jobflow.selection.projections import coordinates

if TYPE_CHECKING:
    from gst_jobflow.dynamics.deck import PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine

pytestmark = pytest.mark.lammps


def cells() -> list[Atoms]:
    """Rattled, turned, and compressed rock salt; the last has one element."""
    plain, turned = (bulk("SbTe", "rocksalt", a=6.0, cubic=True) for _ in range(2))
    turned.set_cell(turned.cell.array @ [[1, 0.1, 0.3], [0, 1, -0.2], [0.2, 0, 1]], scale_atoms=True)
    dense = plain.copy()
    dense.set_cell(0.75 * plain.cell.array, scale_atoms=True)
    for seed, atoms in enumerate((plain, turned, dense)):
        atoms.rattle(0.05, seed=seed)
    return [plain, turned, dense, bulk("Te", "sc", a=3.0) * (2, 2, 2)]


def by_hand(engine: LammpsEngine, potential: PotentialFiles, atoms: Atoms, folder: Path) -> np.ndarray:
    """Grades by a deck that shares nothing with ours; for cells along x, y, z."""
    lines = ["by hand", "", f"{len(atoms)} atoms", f"{len(potential.elements)} atom types", ""]
    lines += [f"0 {edge!r} {axis}lo {axis}hi" for edge, axis in zip(atoms.cell.lengths().tolist(), "xyz", strict=True)]
    lines += ["", "Atoms # atomic", ""]
    for number, atom in enumerate(atoms, 1):
        x, y, z = atom.position.tolist()
        lines.append(f"{number} {potential.elements.index(atom.symbol) + 1} {x!r} {y!r} {z!r}")
    (folder / "cell").write_text("\n".join([*lines, ""]))
    (folder / "in").write_text(
        "units metal\natom_style atomic\nread_data cell\nmass * 100\npair_style pace/extrapolation\n"
        f"pair_coeff * * {potential.yaml} {potential.asi} {' '.join(potential.elements)}\n"
        "fix f all pair 1 pace/extrapolation gamma 1\nfix hold all nve\ndump d all custom 1 out id f_f\n"
        "dump_modify d sort id format float %.12g\nrun 0\n"
    )
    command = engine.with_ranks(1).argv("-in", "in", "-log", "none")
    subprocess.run(command, cwd=folder, env=engine.environment(), check=True, capture_output=True)
    rows = (folder / "out").read_text().splitlines()[9:]
    return np.array([float(row.split()[1]) for row in rows])


def test_grades_are_those_of_lammps_and_of_pyace(
    engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    from pyace import ACEBBasisSet
    from pyace.activelearning import compute_B_projections, compute_extrapolation_grade, load_active_inverse_set

    structures = cells()
    found = gammas(engine, tiny_potential, structures, tmp_path / "ours", at_once=2)
    np.testing.assert_allclose(found[2], by_hand(engine, tiny_potential, structures[2], tmp_path), rtol=1e-6)
    basis, inverse = ACEBBasisSet(tiny_potential.yaml), load_active_inverse_set(tiny_potential.asi)
    for atoms, gamma in zip(structures, found, strict=True):
        expected = compute_extrapolation_grade(compute_B_projections(basis, [atoms]), inverse)
        for kind, element in enumerate(tiny_potential.elements):
            np.testing.assert_allclose(gamma[atoms.symbols == element], expected[kind], rtol=1e-6)


def test_a_compressed_cell_is_flagged(engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path) -> None:
    plain, _, dense, _ = cells()
    grades = [
        Grade.of(FoundStructure("", atoms), gamma, 1.0)
        for atoms, gamma in zip(
            (plain, dense), gammas(engine, tiny_potential, [plain, dense], tmp_path / "run"), strict=True
        )
    ]
    assert grades[0].maximum < 1.5 < grades[1].maximum
    assert grades[1].share > grades[0].share


def test_coordinates_in_the_active_set_give_the_same_grades(
    engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    structures = cells()
    found = gammas(engine, tiny_potential, structures, tmp_path / "run")
    rows = coordinates(Settings(), tiny_potential, structures)
    for atoms, gamma, of_one in zip(structures, found, rows, strict=True):
        for element in tiny_potential.elements:
            np.testing.assert_allclose(np.abs(of_one[element]).max(axis=1), gamma[atoms.symbols == element], rtol=1e-6)


def test_an_element_that_the_potential_does_not_know_is_one_line(
    engine: LammpsEngine, tiny_potential: PotentialFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not know Ge"):
        gammas(engine, tiny_potential, [bulk("GeTe", "rocksalt", a=6.0)], tmp_path / "run")
