"""Check the documents of a device cycle that ran in segments, with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gst_jobflow.documents import Attempt, Cycle, Trajectory
from gst_jobflow.store import Results

ENERGY_TOLERANCE = 1e-3
# share of a pulse's energy: drift of NVE with 2 fs steps near 2,000 K in tens of picoseconds
CONSERVED_TO = 0.02
# temperatures of some thousand atoms scatter by 5 K at 300 K
END_K, END_WITHIN_K = 300.0, 20.0
LEAST_LOSS = 0.05
# a disordered cell scatters by one per cent
LARGER = 1.2


@dataclass(frozen=True)
class Check:
    """A statement with numbers, and whether it holds."""

    holds: bool
    text: str


@dataclass(frozen=True)
class Step:
    """An operation that ran."""

    name: str
    run: Trajectory
    before: float | None
    """Crystal-like fraction at its start."""
    stopped: int
    """Times that it stopped for its walltime, and went on in another job."""

    @property
    def is_reset(self) -> bool:
        """Whether it has a pulse."""
        return self.run.protocol == "RESET"

    @property
    def pulse_ps(self) -> float:
        """Return the length of the pulse, ps."""
        return float(self.run.stages[0]["duration_ps"])

    @property
    def cuts_ps(self) -> list[float]:
        """Return the ends of segments by walltime, ps from the start of the operation."""
        return [segment.first_step * self.run.timestep_fs * 1e-3 for segment in self.run.segments[1:]]

    def cut_where(self, time_ps: float) -> str:
        """Return the part of the operation in which a segment ended."""
        if not self.is_reset:
            return self.run.protocol
        return "pulse" if time_ps < self.pulse_ps else "cooling"


def steps(results: Results, cycle: Cycle) -> list[Step]:
    """Return the operations of a cycle that ran, in order."""
    found: list[Step] = []
    kinds: dict[str, int] = {}
    for operation in cycle.operations:
        kinds[operation.kind] = kinds.get(operation.kind, 0) + 1
        if operation.trajectory_id is not None:
            run = results.get(Trajectory, operation.trajectory_id)
            fractions = run.analysis.get("crystalline", {}).get("fraction") or [None]
            # the job of a run keeps its uuid; what was lost instead says another state
            jobs = sum(1 for _ in results.find(Attempt, {"job_uuid": run.job_uuid, "state": "finished"}))
            found.append(Step(f"{operation.kind} {kinds[operation.kind]}", run, fractions[0], jobs - 1))
    return found


def checks(cycle: Cycle, ran: Sequence[Step], least_cuts: int) -> Iterator[Check]:
    """Yield all checks of a cycle."""
    states = ", ".join(f"{operation.kind} {operation.state}" for operation in cycle.operations)
    yield Check(cycle.state == "finished" and len(ran) == len(cycle.operations), f"all operations finished: {states}")
    yield from _cuts(ran, least_cuts)
    resets = [step for step in ran if step.is_reset]
    for step in resets:
        yield from _energies(step)
        yield _end(step)
        yield _order(step)
        if cycle.device == "cross-point":
            yield from _gradient(step)
    if cycle.device == "mushroom":
        yield from _domes(resets)


def _cuts(ran: Sequence[Step], least: int) -> Iterator[Check]:
    stopped = sum(step.stopped for step in ran)
    places = [f"{step.name} at {time:.1f} ps ({step.cut_where(time)})" for step in ran for time in step.cuts_ps]
    told = (
        f"{stopped} stops for the walltime, {least} wanted, and {len(places) - stopped} lost jobs: {', '.join(places)}"
    )
    yield Check(stopped >= least, told if stopped >= least else f"{told}; --times 2 runs longer")
    inside = [step.name for step in ran if step.is_reset and step.stopped]
    yield Check(bool(inside), f"within pulse or cooling of {' and '.join(inside) or 'none'}")
    for step in ran:
        covered = [(segment.first_step, segment.last_step) for segment in step.run.segments]
        joined = all(last == first for (_, last), (first, _) in pairwise(covered))
        if len(covered) > 1:
            whole = covered[0][0] == 0 and covered[-1][1] == step.run.n_steps
            yield Check(joined and whole, f"{step.name}: {len(covered)} segments cover steps {covered} without a gap")


def _energies(step: Step) -> Iterator[Check]:
    run = step.run
    asked, added, removed = run.asked_energy_eV or 0.0, run.added_energy_eV or 0.0, run.removed_energy_eV or 0.0
    error = abs(added - asked) / asked
    yield Check(
        error <= ENERGY_TOLERANCE,
        f"{step.name}: {asked:.4f} eV asked, {added:.4f} eV added, off by {100 * error:.5f} %",
    )
    layers = sum(run.analysis["layers"]["added_eV"])
    yield Check(abs(layers - added) <= ENERGY_TOLERANCE * added, f"{step.name}: {layers:.4f} eV summed over its layers")
    total = run.thermo["total_eV"]
    rise = total[-1] - total[0]
    yield Check(
        abs(rise - (added - removed)) <= CONSERVED_TO * added,
        f"{step.name}: LAMMPS's total energy rose by {rise:.2f} eV, the kicks by {added:.2f} − {removed:.2f} = "
        f"{added - removed:.2f} eV: a difference of {100 * (rise - added + removed) / added:+.2f} % of the pulse",
    )
    drift = run.max_drift_A_ps or 0.0
    yield Check(drift < 1e-6, f"{step.name}: largest mean velocity after a kick {drift:.1e} Å/ps")


def _end(step: Step) -> Check:
    final = step.run.final_temperature_K or 0.0
    return Check(abs(final - END_K) <= END_WITHIN_K, f"{step.name}: {final:.1f} K at its end, {END_K:g} K wanted")


def _order(step: Step) -> Check:
    before, after = step.before or 0.0, step.run.crystalline_fraction or 0.0
    return Check(before - after >= LEAST_LOSS, f"{step.name}: crystal-like fraction {before:.3f} → {after:.3f}")


def _gradient(step: Step) -> Iterator[Check]:
    heat = step.run.analysis["heating"]
    bottom, top, slope = heat["bottom_K"], heat["top_K"], heat["gradient_K_per_nm"]
    yield Check(
        slope < 0 and bottom > 1.3 * top,
        f"{step.name}: at the end of the pulse {bottom:.0f} K in the lowest fifth, {top:.0f} K in the highest, "
        f"{slope:.0f} K/nm; hottest slice {heat['peak_K']:.0f} K at z = {heat['peak_z_A']:.0f} Å",
    )
    low, high = _ends_of_order(step.run.analysis["crystalline"])
    yield Check(
        low < high, f"{step.name}: crystal-like after it {low:.3f} in the hot half, {high:.3f} in the cold half"
    )


def _ends_of_order(series: dict[str, Any]) -> tuple[float, float]:
    """Return the crystal-like fraction of the lower and upper half of the crystal in the last frame."""
    last = np.array([np.nan if value is None else value for value in series["fraction_by_z"][-1]], dtype=float)
    full = last[np.isfinite(last)]
    half = len(full) // 2
    return float(full[:half].mean()), float(full[half:].mean())


def dome_at(run: Trajectory, time_ps: float) -> dict[str, float]:
    """Return the size of the disordered dome in the frame nearest to a time."""
    series = run.analysis["dome"]
    nearest = int(np.argmin(np.abs(np.array(series["time_ps"]) - time_ps)))
    return {key: values[nearest] for key, values in series.items() if isinstance(values, list)}


def _domes(resets: Sequence[Step]) -> Iterator[Check]:
    sizes = [(step, dome_at(step.run, step.pulse_ps), dome_at(step.run, step.run.duration_ps)) for step in resets]
    for step, hot, cold in sizes:
        asked = step.run.analysis["dome"]["asked_diameter_A"]
        yield Check(
            cold["n_atoms"] > 0,
            f"{step.name}: {asked:.0f} Å heated; disordered after the pulse: {_size(hot)}; in the end: {_size(cold)}",
        )
    for (one, _, small), (two, _, large) in pairwise(sizes):
        larger = large["n_atoms"] >= LARGER * small["n_atoms"] and all(
            large[key] > small[key] for key in ("width_A", "height_A", "diameter_A")
        )
        share = large["n_atoms"] / max(small["n_atoms"], 1)
        yield Check(larger, f"{two.name} leaves a larger dome than {one.name}: {share:.2f} times the atoms")


def _size(region: dict[str, float]) -> str:
    return (
        f"{region['n_atoms']:.0f} atoms, half-width {region['width_A'] / 2:.0f} Å, height {region['height_A']:.0f} Å, "
        f"half-disc of {region['diameter_A']:.0f} Å"
    )
