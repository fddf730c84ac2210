"""A label backend: the Morse potential of a pair, with one well for all elements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.morse import MorsePotential
from pydantic import Field

from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked
from gst_jobflow.labelling.backend import BackendModel, Bounds, RawLabel, failed
from gst_jobflow.labelling.method import Method


class MorseBackend(BackendModel):
    """Settings of the Morse potential; all of them change the numbers, so all of them belong to the method."""

    well_eV: float = Field(0.3, gt=0, description="Depth of the well")
    bond_A: float = Field(2.9, gt=0, description="Distance of the minimum")
    stiffness: float = Field(5.0, gt=0, description="Width of the well; larger is narrower")
    bounds: Bounds = Field(default_factory=lambda: Bounds(lower_eV_per_atom=-10.0, upper_eV_per_atom=100.0))

    def method(self) -> Method:
        """Return what identifies the physics; labels of other settings are labels of another method."""
        return Method(code="morse", parameters=self.model_dump(include={"well_eV", "bond_A", "stiffness"}))

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Return energy (eV) and forces (eV/Å); a calculation that fails is a failed label."""
        atoms.calc = MorsePotential(epsilon=self.well_eV, r0=self.bond_A, rho0=self.stiffness)
        try:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        except (ValueError, ArithmeticError) as err:
            return failed("crash", str(err))
        (directory / "morse.txt").write_text(f"energy {energy:.8f} eV\n")
        return RawLabel(converged=True, energy_eV=float(energy), forces_eV_A=forces)


def morse_backend(project: Project, options: dict[str, Any]) -> MorseBackend:
    """Return the backend for `--backend morse`; `options` are those of `--option`."""
    return checked(MorseBackend, options, "morse")
