"""Watch an import for outlying energies and wrong units; no record is kept out."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from typing import ClassVar

import numpy as np

from gst_jobflow.documents import Label, Structure, unpack
from gst_jobflow.importing.outcome import Outcome


class EnergyWatch:
    """Find energies per atom far from those of recent structures of the same elements and method.

    Far is 10 robust standard deviations (1.4826 × median absolute deviation) from the median, and at least 1 eV: this
    finds totals given per atom, hartree for eV, and failed runs, not the merely unusual. Elements with fewer than 30
    structures are not judged, and neither are single atoms.
    """

    SAMPLE = 500
    FEWEST = 30
    FACTOR = 10 * 1.4826
    FLOOR_EV = 1.0

    def __init__(self) -> None:
        self._samples: dict[tuple[str, ...], deque[tuple[tuple[Path, int], float]]] = {}
        self._seen: dict[tuple[str, ...], int] = {}
        self._bounds: dict[tuple[str, ...], tuple[float, float]] = {}

    def outliers(self, record: Outcome, per_atom_eV: float) -> list[tuple[tuple[Path, int], str]]:
        """Add an energy; return (file, index) and reason of the energies that are far off."""
        if record.n_atoms == 1:
            return []
        assert record.label is not None  # the caller passes only labelled records
        # each method has its own zero of energy
        key = (record.label.fingerprint, *record.elements)
        sample = self._samples.setdefault(key, deque(maxlen=self.SAMPLE))
        sample.append(((record.file, record.index), per_atom_eV))
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if seen < self.FEWEST:
            return []
        # medians are costly, and change slowly
        if seen == self.FEWEST or seen % 50 == 0:
            energies = np.array([energy for _, energy in sample])
            median = float(np.median(energies))
            spread = float(np.median(np.abs(energies - median)))
            self._bounds[key] = (median, max(self.FACTOR * spread, self.FLOOR_EV))
        median, limit = self._bounds[key]
        candidates = list(sample) if seen == self.FEWEST else [sample[-1]]
        return [
            (place, f"energy {energy:.4g} eV/atom, the median of {'-'.join(key[1:])} is {median:.4g}")
            for place, energy in candidates
            if abs(energy - median) > limit
        ]


_UNIT_FACTORS: tuple[tuple[float, str], ...] = (
    (25.7110, "forces look like Ry/bohr"),
    (51.4221, "forces look like hartree/bohr"),
    (1 / 13.6057, "energies look like Ry"),
    (1 / 27.2114, "energies look like hartree"),
    (1.8897, "energies and forces look like Ry and Ry/bohr, or hartree and hartree/bohr"),
    (-1.0, "forces have the wrong sign, they look like gradients"),
)
"""Change of energy over work of the forces, if one of them is in a wrong unit."""


class UnitWatch:
    """Find wrong units of energies, forces and stresses from the labels themselves.

    Between two structures of the same atoms in the same cell that lie close together, the energy changes by the work of
    the forces: ΔE = -½ (F₁ + F₂)·Δx, exact for springs. Where it changes by a multiple, that is the factor between the
    units. It is believed when most of at least `FEWEST` neighbours in a file agree on it; steps that are too small
    against the decimals of an energy, or too large for springs, are left out. Files without such neighbours are judged
    by size: forces in liquids and random structures are some eV/Å, in Ry/bohr or hartree/bohr a tenth of it or less.
    Stresses are always judged by size.

    The first `ALL` labels of a file are looked at, then two of every `EVERY`.
    """

    ALL = 300
    EVERY = 50
    FEWEST = 8
    LONGEST_A = 0.4
    SMALLEST_WORK_EV = 1e-5
    """Energies have eight decimals at best, often six."""
    NEAR = 1.3
    FAR = 1.5
    AGREE = 0.7
    FEWEST_BY_SIZE = 20
    SMALL_FORCE: ClassVar[dict[str, float]] = {"aimd": 0.12, "melt_quench": 0.12, "hard_sphere": 0.3}
    """eV/Å, largest force of a structure: thermal motion at 300 K gives about 1, random contacts several."""
    MOVING: ClassVar = ("aimd", "melt_quench")
    STRESS_EV_A3 = (1e-4, 0.3)
    """Largest component of a moving structure: thermal motion alone gives 0.002 (0.3 GPa), and 0.3 would be 48 GPa."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._begin(None)

    def _begin(self, file: Path | None) -> None:
        self._file = file
        self._seen = 0
        self._said: set[str] = set()
        self._last: tuple[Structure, Label] | None = None
        self._ratios: deque[float] = deque(maxlen=self.ALL)
        self._largest: dict[str, deque[float]] = {}
        self._stresses: deque[float] = deque(maxlen=self.ALL)

    def suspicions(self, record: Outcome) -> list[str]:
        """Add a label; return new suspicions about its file."""
        # comparing paths takes longer than all that follows for most records
        if record.file is not self._file:
            if record.file != self._file:
                self._begin(record.file)
            self._file = record.file
        self._seen += 1
        if self._seen > self.ALL and self._seen % self.EVERY > 1:
            self._last = None
            return []
        assert record.structure is not None and record.label is not None  # the caller passes only labelled records
        structure, label = record.structure.decode(), record.label.decode()
        before, self._last = self._last, (structure, label)
        if structure.n_atoms > 1 and structure.config_type in self.SMALL_FORCE and label.max_force_eV_A is not None:
            sizes = self._largest.setdefault(structure.config_type, deque(maxlen=self.ALL))
            sizes.append(label.max_force_eV_A)
        if before is not None and (ratio := self._ratio(*before, structure, label)) is not None:
            self._ratios.append(ratio)
        if structure.n_atoms > 1 and structure.config_type in self.MOVING and label.stress_eV_A3 is not None:
            self._stresses.append(max(abs(value) for value in label.stress_eV_A3))
        if self._seen > self.ALL and self._seen % self.EVERY == 0:
            # with its neighbour, which comes next
            return []
        by_force = self._by_work() if len(self._ratios) >= self.FEWEST else self._by_size()
        # the numbers in a text change from record to record
        new = [text for text in (by_force, self._by_stress()) if text and text.partition(":")[0] not in self._said]
        self._said |= {text.partition(":")[0] for text in new}
        return new

    def _ratio(self, one: Structure, first: Label, two: Structure, second: Label) -> float | None:
        """Return change of energy over work of the forces between neighbours; None if they are not neighbours."""
        if one.numbers != two.numbers or one.numbers is None or one.positions is None or two.positions is None:
            return None
        if first.fingerprint != second.fingerprint or first.forces is None or second.forces is None:
            return None
        cell_A = np.array(one.cell_A)
        if np.abs(cell_A - np.array(two.cell_A)).max() > 1e-6:
            return None  # the stress does work, too
        steps = (unpack(two.positions, 3) - unpack(one.positions, 3)) @ np.linalg.inv(cell_A)
        steps_A = (steps - np.round(steps)) @ cell_A
        if np.abs(steps_A).max() > self.LONGEST_A:
            return None
        work_eV = -float(np.sum((unpack(first.forces, 3) + unpack(second.forces, 3)) * steps_A)) / 2
        change_eV = (second.energy_eV or 0.0) - (first.energy_eV or 0.0)
        if min(abs(work_eV), abs(change_eV)) < self.SMALLEST_WORK_EV:
            return None
        return change_eV / work_eV

    def _by_work(self) -> str | None:
        ratios = np.array(self._ratios)
        middle = float(np.median(ratios))
        if middle == 0 or 1 / self.NEAR < middle < self.NEAR:
            return None
        # a wrong factor must be nearly the same everywhere to be believed
        near = np.abs(np.log(np.abs(ratios / middle))) < math.log(1.3)
        if np.mean(near & (np.sign(ratios) == np.sign(middle))) < self.AGREE:
            return None
        seen = f"from one structure to the next the energy changes by {middle:.3g} × the work of the forces"
        for factor, what in _UNIT_FACTORS:
            if 1 / self.NEAR < middle / factor < self.NEAR:
                return f"{what}: {seen}"
        if 1 / self.FAR < middle < self.FAR:
            return None
        return f"energies and forces do not belong together: {seen}"

    def _by_size(self) -> str | None:
        for config_type, sizes in self._largest.items():
            if len(sizes) < self.FEWEST_BY_SIZE:
                continue
            middle = float(np.median(sizes))
            if middle < self.SMALL_FORCE[config_type]:
                return (
                    f"forces look like Ry/bohr or hartree/bohr: the largest force of a structure ({config_type}) is "
                    f"{middle:.2g} eV/Å, by the median"
                )
        return None

    def _by_stress(self) -> str | None:
        if len(self._stresses) < self.FEWEST_BY_SIZE:
            return None
        middle = float(np.median(self._stresses))
        smallest, largest = self.STRESS_EV_A3
        if smallest <= middle <= largest:
            return None
        what = "GPa or kbar" if middle > largest else "Ry/bohr³ or hartree/bohr³"
        return (
            f"stresses look like {what}: the largest component of a structure in motion is {middle:.2g} eV/Å³, "
            "by the median"
        )
