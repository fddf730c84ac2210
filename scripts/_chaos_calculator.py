"""A slow calculator for chaos_launch that records the start of each calculation in a ledger."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


def key_of(atoms: Atoms) -> str:
    """Return the key of a structure in the ledger."""
    return hashlib.sha256(np.round(atoms.get_scaled_positions(), 6).tobytes()).hexdigest()[:16]


def note(ledger: str, key: str) -> None:
    """Record the start of `key`; a short line is written atomically, even beside other writers."""
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{time.time():.6f} {key}\n".encode())
    os.close(handle)


class Slow(Calculator):
    """Atoms in a harmonic cage, with a delay."""

    implemented_properties = ("energy", "forces")
    default_parameters: dict[str, Any] = {"ledger": "", "seconds": 1.0}  # noqa: RUF012

    def calculate(
        self, atoms: Atoms, properties: tuple[str, ...] = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Write to the ledger, sleep, and compute energy and forces."""
        super().calculate(atoms, properties, system_changes)
        note(self.parameters["ledger"], key_of(atoms))
        time.sleep(self.parameters["seconds"])
        out = atoms.positions - atoms.positions.mean(axis=0)
        self.results = {"energy": float((0.01 * out**2).sum()), "forces": -0.02 * out}
