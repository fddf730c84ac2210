"""Give the energy of a pulse in eV, eV per atom and pJ."""

from __future__ import annotations

from dataclasses import dataclass

EV_PER_PJ = 1e-12 / 1.602176634e-19
"""1 pJ in eV, by the definition of the SI: 6.2415e6."""


@dataclass(frozen=True)
class PulseEnergy:
    """Energy of a pulse in eV, and the number of atoms that it heats; None: unknown."""

    eV: float
    n_atoms: int | None = None

    @property
    def eV_per_atom(self) -> float | None:
        """Energy of each heated atom, eV."""
        return self.eV / self.n_atoms if self.n_atoms else None

    @property
    def pJ(self) -> float:
        """Energy of the whole pulse, pJ."""
        return self.eV / EV_PER_PJ

    def __str__(self) -> str:
        each = self.eV_per_atom
        per_atom = "" if each is None else f", {each:.4g} eV/atom"
        return f"{self.eV:,.5g} eV{per_atom}, {self.pJ:.4g} pJ"
