"""What our decks cost beside a bare one: the same cell and potential, one rank, the arms in turn.

A RESET is run as a cycle runs it: the project's own decks, default output (a row every 50 steps, a frame and a profile
every 500, energies of 20 layers at every kick), the barrier frozen. The bare deck has LAMMPS's defaults, ``fix nve``
for the mobile atoms and no output. Both start from the same atoms and velocities at 600 K.

A time is that of the whole process, less that of the bare deck without a step, which reads the same potential: what
kicks, output, and the writing of the end cost is on our side. A ratio is the median of those of neighbouring runs. On a
machine with other work the processor's time says more than the clock.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from _common import Row

if TYPE_CHECKING:
    from gst_jobflow.dynamics.deck import Group, PotentialFiles
    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.dynamics.stages import Protocol

REPEAT = {"small": (3, 2, 2), "full": (4, 3, 2)}
STEPS = {"small": 100, "full": 500}
BLOCKS = {"small": 3, "full": 5}
START_K = 600.0
# a kick every 0.5 ps: four times as often as a programme does by default; 30 K each
KICK_PS = 0.5
EV_PER_ATOM_AND_KICK = 0.008
GAMMA_EVERY = 100
MOST_BESIDE_BARE = 1.03
MOST_WITH_GAMMA = 1.10


@dataclass(frozen=True)
class Times:
    """Seconds of a process: on the clock, and of the processor (its children's included)."""

    wall_s: float
    cpu_s: float

    def less(self, other: Times) -> Times:
        return Times(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


@dataclass(frozen=True)
class Bench:
    """A cell at 600 K, and what moves it.

    Attributes
    ----------
    start
        Data file with velocities.
    """

    engine: LammpsEngine
    potential: PotentialFiles
    start: Path
    groups: dict[str, Group]
    n_atoms: int
    folder: Path

    def scratch(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def bare(self, steps: int, extrapolation: bool = False) -> Times:
        """A deck as short as one can be."""
        first, last = self.groups["mobile"].ranges[0]
        files = f"{self.potential.yaml} {self.potential.asi}" if extrapolation else self.potential.yace
        deck = [
            "units metal",
            "read_data " + str(self.start),
            f"pair_style {'pace/extrapolation' if extrapolation else 'pace recursive'}",
            f"pair_coeff * * {files} {' '.join(self.potential.elements)}",
            f"group mobile id {first}:{last}",
            "timestep 0.002",
            "fix nve mobile nve",
            f"run {steps}",
            'print "GST-FINISHED step $(step)"',
        ]
        return timed(lambda: self.engine.run("\n".join(deck) + "\n", self.scratch()).require_success().wall_s)

    def ours(self, steps: int, gamma_every: int = 0) -> Times:
        """A pulse, as the operation of a cycle runs it."""
        from gst_jobflow.devices.programme import CycleSettings
        from gst_jobflow.dynamics.deck import Output
        from gst_jobflow.dynamics.protocol import run_protocol

        settings = CycleSettings(output=Output(gamma_every=gamma_every))
        options = settings.run_options(groups=self.groups)
        protocol = self._pulse(steps)
        return timed(
            lambda: (
                run_protocol(self.engine, self.potential, self.start, protocol, self.scratch(), options)
                .require_success()
                .wall_s
            )
        )

    def _pulse(self, steps: int) -> Protocol:
        from gst_jobflow.devices.heating import geometry_of_atoms
        from gst_jobflow.devices.operations import Reset, on_cell
        from gst_jobflow.dynamics.stages import TIMESTEP_FS, Protocol, Pulse
        from gst_jobflow.structures.lammps_data import read_data

        first, last = self.groups["mobile"].ranges[0]
        geometry = geometry_of_atoms(read_data(self.start, self.potential.elements), (first, last), False)
        pulse_ps = steps * TIMESTEP_FS * 1e-3
        every_ps = min(KICK_PS, pulse_ps)
        energy = EV_PER_ATOM_AND_KICK * round(pulse_ps / every_ps)
        reset = Reset(energy_eV_per_atom=energy, pulse_ps=pulse_ps, every_ps=every_ps, cool_ps=1.0)
        stages = [stage for stage in on_cell(reset, geometry).stages if isinstance(stage, Pulse)]
        return Protocol(name="RESET", stages=stages)


def timed(run: Callable[[], float]) -> Times:
    """Run a program of which `run` returns the time on the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall_s = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def prepared(size: str, potential_path: Path, folder: Path) -> Bench:
    """Build a cross-point cell with a hard-sphere barrier, relax it a little, and heat it to 600 K."""
    from gst_jobflow.devices.cell import CrossPointSpec, build_device
    from gst_jobflow.devices.cell.source import hard_sphere_barrier
    from gst_jobflow.dynamics.deck import Group, RunOptions
    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.dynamics.protocol import run_protocol
    from gst_jobflow.dynamics.stages import Anneal, Protocol, Relax
    from gst_jobflow.exporting.potential import read_potential

    engine, potential = LammpsEngine.discover(), read_potential(potential_path)
    formula = "Ge1Sb2Te4" if "Ge" in potential.elements else "Sb2Te3"
    spec = CrossPointSpec(formula=formula, repeat=REPEAT[size], barrier_thickness_A=15.0)
    cell = build_device(spec, hard_sphere_barrier(spec))
    groups = {name: Group(ranges=[ids], frozen=name == "barrier") for name, ids in cell.groups.items()}
    stages = [Relax(max_iterations=30), Anneal(temperature_K=START_K, duration_ps=0.2)]
    options = RunOptions(groups=groups, create_velocities_K=START_K)
    protocol = Protocol(name="prepare", stages=stages)
    done = run_protocol(engine, potential, cell.atoms, protocol, folder / "prepare", options).require_success()
    assert done.final_data is not None  # it has finished
    return Bench(engine, potential, done.final_data, groups, len(cell.atoms), folder)


def md_rows(size: str, folder: Path, potential: Path) -> Iterator[Row]:
    """Rows of part ``md``."""
    bench, steps = prepared(size, potential, folder), STEPS[size]
    arms: dict[str, Callable[[], Times]] = {
        "start": lambda: bench.bare(0),
        "bare": lambda: bench.bare(steps),
        "ours": lambda: bench.ours(steps),
    }
    if bench.potential.asi and bench.potential.yaml:
        arms["gamma"] = lambda: bench.ours(steps, GAMMA_EVERY)
        arms["gamma start"] = lambda: bench.bare(0, extrapolation=True)
    taken: dict[str, list[Times]] = {name: [] for name in arms}
    for block in range(BLOCKS[size]):
        # to and fro, so that a load that grows or falls favours nobody
        for name in list(arms) if block % 2 == 0 else reversed(arms):
            taken[name].append(arms[name]())
    yield from _as_rows(taken, steps, f"{bench.n_atoms:,} atoms, {steps} steps")


def _as_rows(taken: dict[str, list[Times]], steps: int, what: str) -> Iterator[Row]:
    net = {name: [one.less(_median(taken["start"])) for one in taken[name]] for name in ("bare", "ours")}
    compared = [("ours", "bare", "pulse, logging and thermo", "bare NVE deck", MOST_BESIDE_BARE)]
    if "gamma" in taken:
        net["gamma"] = [one.less(_median(taken["gamma start"])) for one in taken["gamma"]]
        compared.append(("gamma", "ours", f"gamma every {GAMMA_EVERY} steps", "the same without", MOST_WITH_GAMMA))
    for name, other, done, baseline, most in compared:
        for key, clock in (("cpu_s", "processor"), ("wall_s", "wall")):
            mine, theirs = ([getattr(one, key) for one in net[arm]] for arm in (name, other))
            ratio = statistics.median(one / two for one, two in zip(mine, theirs, strict=True))
            step_ms, other_ms = (1e3 * statistics.median(some) / steps for some in (mine, theirs))
            yield Row(f"MD with {done}, {what}: {clock} time a step", step_ms, "ms", baseline, other_ms)
            yield Row(f"the same, median of {len(mine)} neighbouring runs", ratio, "times", limit=most)


def _median(times: list[Times]) -> Times:
    return Times(*(statistics.median(getattr(one, key) for one in times) for key in ("wall_s", "cpu_s")))
