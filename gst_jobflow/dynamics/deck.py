"""Render LAMMPS input: a pure function of typed values.

Step numbers are absolute, counted from the start of the protocol, so the deck of a continuation is the same deck
without the finished stages. A restart file holds the state before the velocity changes scheduled at its step.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.dynamics import pulse
from gst_jobflow.dynamics.stages import Anneal, Cool, Hold, Protocol, Pulse, Quench, Relax, Stage, kick_count, steps_in

SERIES_COLUMNS = (
    "stage",
    "step",
    "time_ps",
    "pe_eV",
    "ke_eV",
    "temp_K",
    "etotal_eV",
    "press_bar",
    "volume_A3",
    "max_gamma",
)
SERIES_FILE, KICKS_FILE, PROFILE_FILE, LAYERS_FILE = "series.csv", "kicks.csv", "profile.dat", "layers.csv"
FINAL_DATA, FINAL_RESTART, STOPPED_RESTART = "final.data", "final.restart", "stopped.restart"
RESTART_GENERATIONS = ("restart.a", "restart.b")
_ROW = (
    "$(v_s_stage:%.0f),$(step:%.0f),$(v_s_time:%.9g),$(v_s_pe:%.12g),$(v_s_ke:%.12g),$(v_temp_grp:%.8g),"
    "$(v_s_etotal:%.14g),$(v_s_press:%.8g),$(v_s_vol:%.10g),$(v_s_gamma:%.6g)"
)
# restart files written in each relaxation
_RELAX_RESTARTS = 10
# printed by decks for gst_jobflow.dynamics.log
FINISHED_WORD, STOPPED_WORD, ERROR_WORD = "GST-FINISHED", "GST-STOPPED", "GST-ERROR"
GAMMA_HALT_ID, BLOW_UP_HALT_ID = "gst_gamma_halt", "gst_blow_up"
# group of all atoms that are not frozen, if some are
MOVING = "gst_moving"
STOP_REQUEST = "stop.request"
"""A file of this name in the working directory asks a run to stop at the next restart file."""
PairStyle = Literal["recursive", "product", "extrapolation"]


def pair_style_of(lines: Sequence[str]) -> str:
    """Return the words of the ``pair_style`` line; empty if there is none."""
    return next((" ".join(line.split()[1:]) for line in lines if line.split()[:1] == ["pair_style"]), "")


class PotentialFiles(StrictModel):
    """A potential on disk, `elements` in the order of LAMMPS atom types.

    ``pace`` reads `yace`; ``pace/extrapolation`` reads pacemaker's `yaml` (B-basis) and the active set `asi`. A kind of
    a plugin has `lines` instead, which name the files `other` by their absolute paths.
    """

    yace: str = ""
    elements: list[str] = Field(min_length=1)
    yaml: str | None = None
    asi: str | None = None
    lines: list[str] = Field(default_factory=list)
    other: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _can_run(self) -> PotentialFiles:
        if not self.yace and not self.style:
            raise ValueError("a potential needs a .yace, or lines with a pair_style")
        return self

    @property
    def style(self) -> str:
        """Words of the ``pair_style`` of a plugin's lines; empty for ACE."""
        return pair_style_of(self.lines)


class Group(StrictModel):
    """Atoms by ranges of ids (first, last), inclusive and counted from 1; frozen atoms never move."""

    ranges: list[tuple[int, int]] = Field(min_length=1)
    frozen: bool = False

    @field_validator("ranges")
    @classmethod
    def _ordered(cls, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
        for first, last in ranges:
            if not 1 <= first <= last:
                raise ValueError(f"id range {first}:{last}: ids count from 1, and first <= last")
        return ranges

    def count(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)


class Output(StrictModel):
    """Output of a run; intervals in steps, 0 switches a part off.

    Unless `dump_every` is 0, every stage that takes time has a frame at both ends. Profiles and layers run along z,
    from the bottom electrode to the top one. A profile averages the second half of its interval, which leaves out the
    spike after a kick if both intervals agree. `layers` is the number of slices in which each velocity change is
    logged. The extrapolation grade (gamma) is computed every `gamma_every` steps and at the end of a stage; elsewhere
    the series holds 0. Dumps have `dump_digits` decimals: 1e-4 Å is a hundredth of a vibration, and takes a third less
    space than 1e-6 Å. Dumped coordinates are wrapped; `dump_images` adds image flags, so that readers can unwrap them.
    """

    series_every: int = Field(50, ge=1)
    layers: int = Field(20, ge=0, le=200)
    profile_every: int = Field(500, ge=0)
    profile_bin_A: float = Field(5.0, gt=0)
    dump_every: int = Field(500, ge=0)
    dump_digits: int = Field(4, ge=2, le=10)
    dump_velocities: bool = False
    dump_images: bool = False
    restart_every: int = Field(5000, ge=0)
    gamma_every: int = Field(0, ge=0)

    def problem(self) -> str:
        """Return how intervals contradict each other; empty if they do not."""
        if self.gamma_every and self.dump_every % self.gamma_every:
            near = max(1, round(self.dump_every / self.gamma_every)) * self.gamma_every
            return (
                f"dump_every {self.dump_every} is not a multiple of gamma_every {self.gamma_every}, so frames would "
                f"hold the gamma of earlier steps: set dump_every to {near}, or gamma_every to a divisor of dump_every"
            )
        return ""


class Limits(StrictModel):
    """Limits that end a run.

    `walltime_s` stops a run in order between any two steps; it writes a restart file and can be continued. A stop by
    `STOP_REQUEST` waits for the step of a restart file, where every run rebuilds its neighbour lists, so that a chain
    of segments sums forces in the order of an uncut run.
    """

    walltime_s: int | None = Field(None, ge=1)
    max_temperature_K: float | None = Field(50_000.0, gt=0)
    halt_gamma: float | None = Field(None, gt=0)


class Tuning(StrictModel):
    """Settings of speed that leave the physics alone; docs/devices.md has the reasons.

    `balance` gives each MPI rank as many atoms: once at the start, or every so many steps. A continuation then sums
    forces in another order, so a chain of segments equals an uncut run only up to rounding; hence off by default.
    `chunk` applies to KOKKOS on GPUs.
    """

    balance: Literal["off", "start"] | Annotated[int, Field(ge=100)] = "off"
    neighbour_skin_A: float = Field(1.0, gt=0, le=4)
    chunk: int = Field(4096, ge=1)


class RunOptions(StrictModel):
    """How a protocol is run; none of it changes which stages it has.

    `create_velocities_K` draws velocities at the start of the first run.
    """

    groups: dict[str, Group] = Field(default_factory=dict)
    create_velocities_K: float | None = Field(None, gt=0)
    pair_style: PairStyle = "recursive"
    output: Output = Field(default_factory=Output)
    limits: Limits = Field(default_factory=Limits)
    tuning: Tuning = Field(default_factory=Tuning)


class DeckSpec(RunOptions):
    """Everything a deck is made of.

    `start_step` is the step of the restart file; earlier stages are left out. `new_clock`: the restart file belongs to
    another protocol, so steps count from zero. `relaxing`: it was written within a relaxation, which counts its
    iterations as steps. `on_gpu`: KOKKOS runs the pair style on a GPU.
    """

    protocol: Protocol
    potential: PotentialFiles
    start_file: str
    start_kind: Literal["data", "restart"] = "data"
    start_step: int = Field(0, ge=0)
    new_clock: bool = False
    relaxing: bool = False
    on_gpu: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> DeckSpec:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def continues(self) -> bool:
        return self.start_kind == "restart" and not self.new_clock


def _problem(spec: DeckSpec) -> str:
    named = set(spec.groups) | ({"mobile"} if not spec.groups else set())
    for stage in spec.protocol.stages:
        if stage.group not in named:
            return f"stage '{stage.kind}' acts on group '{stage.group}', which is not among {sorted(named)}"
        if spec.groups and spec.groups[stage.group].frozen:
            return f"stage '{stage.kind}' acts on the frozen group '{stage.group}'"
    for name in named:
        if not name.isidentifier() or name == "all":
            return f"'{name}' cannot name a group: letters, digits and _ only, and not 'all'"
    if spec.continues and spec.create_velocities_K is not None:
        return "velocities are never drawn again on a continuation: leave create_velocities_K out"
    if spec.start_step and not spec.continues:
        return "start_step is for the continuation from a restart file only"
    if spec.start_step > spec.protocol.total_steps:
        return f"start_step {spec.start_step} lies after the last step {spec.protocol.total_steps}"
    if spec.pair_style == "extrapolation" and not (spec.potential.asi and spec.potential.yaml):
        return "pair_style extrapolation needs the B-basis and its active set: give potential.yaml and potential.asi"
    if spec.output.gamma_every and spec.pair_style != "extrapolation":
        return "gamma_every needs pair_style 'extrapolation'"
    if spec.pair_style == "extrapolation" and not spec.output.gamma_every:
        return "pair_style extrapolation needs output.gamma_every (steps between evaluations of gamma)"
    if spec.on_gpu and spec.pair_style == "recursive":
        return "on a GPU the pair style is 'product': the recursive evaluator is for CPUs"
    if spec.limits.halt_gamma and not spec.output.gamma_every:
        return "halt_gamma needs output.gamma_every"
    return spec.output.problem()


def render_deck(spec: DeckSpec) -> str:
    """Return the whole input file; run it with ``-in``, since it jumps within itself and cannot be piped in."""
    lines = [
        *_header(spec),
        *_start(spec),
        *_pair(spec),
        *_groups(spec),
        *_layers(spec),
        *_thermo(spec),
        *_velocities(spec),
        *_first_row(spec),
    ]
    for index, (stage, span) in enumerate(zip(spec.protocol.stages, spec.protocol.boundaries(), strict=True), start=1):
        if not spec.continues or _still_to_do(spec, stage, span[1]):
            lines += ["", f"# stage {index}: {stage.kind}", *_stage(spec, stage, index, span)]
        elif span[1] == spec.start_step > span[0]:
            # the run may have been cut between the last step of this stage and its frame
            lines += _last_frame(spec, stage, index)
    return "\n".join([*lines, "", *_ending(spec)]) + "\n"


def _still_to_do(spec: DeckSpec, stage: Stage, last: int) -> bool:
    if last != spec.start_step:
        return last > spec.start_step
    # at its last step a cooling still owes its last kick, and a relaxation has not begun
    return isinstance(stage, Relax) or (stage.acts_at_end and not spec.relaxing)


def _header(spec: DeckSpec) -> list[str]:
    lines = [f"# protocol {spec.protocol.name}", "units metal", "atom_style atomic"]
    # atoms keep their order, so that a chain of segments sums forces in the order of an uncut run
    lines.append("atom_modify map yes sort 0 0.0")
    if spec.limits.walltime_s is not None:
        hours, rest = divmod(spec.limits.walltime_s, 3600)
        lines.append(f"timer timeout {hours}:{rest // 60:02d}:{rest % 60:02d} every 5")
    if spec.output.restart_every:
        lines.append(f"variable s_stop equal is_file({STOP_REQUEST})")
    return lines


def _start(spec: DeckSpec) -> list[str]:
    path = shlex.quote(spec.start_file)
    if spec.start_kind == "data":
        return ["boundary p p p", f"read_data {path}"]
    lines = [f"read_restart {path}"]
    if spec.new_clock:
        return [*lines, "reset_timestep 0"]
    if spec.relaxing:
        return [*lines, f"reset_timestep {spec.start_step}"]
    wrong = f"print '{ERROR_WORD} bad_input: the restart file is of step $(step), not {spec.start_step}'"
    return [*lines, f'if "$(step) != {spec.start_step}" then "{wrong}" "quit 3"']


def pair_lines(potential: PotentialFiles, style: PairStyle, options: str = "") -> list[str]:
    """Return ``pair_style``, with further `options`, and ``pair_coeff`` of a potential.

    Raises InputError if the potential lacks the files of the extrapolation grade.
    """
    if potential.lines and style != "extrapolation":
        return list(potential.lines)
    names = " ".join(potential.elements)
    if style != "extrapolation":
        return [f"pair_style pace {style}{options}", f"pair_coeff * * {shlex.quote(potential.yace)} {names}"]
    if not (potential.yaml and potential.asi):
        raise InputError("the potential has no .yaml and .asi", "pair_style pace/extrapolation needs both")
    files = f"{shlex.quote(potential.yaml)} {shlex.quote(potential.asi)}"
    return [f"pair_style pace/extrapolation{options}", f"pair_coeff * * {files} {names}"]


def _pair(spec: DeckSpec) -> list[str]:
    # restart files do not hold the pair settings of pace
    chunk = f" chunksize {spec.tuning.chunk}" if spec.on_gpu else ""
    return [
        *pair_lines(spec.potential, spec.pair_style, chunk),
        # atoms of a melt at 3000 K move fast, and frequent checks of the list cost little beside ACE
        f"neighbor {spec.tuning.neighbour_skin_A:.12g} bin",
        "neigh_modify every 1 delay 0 check yes",
        *_balance(spec.tuning),
    ]


def _balance(tuning: Tuning) -> list[str]:
    if tuning.balance == "off":
        return []
    lines = ["balance 1.02 shift xyz 20 1.01"]
    if isinstance(tuning.balance, int):
        lines.append(f"fix gst_balance all balance {tuning.balance} 1.05 shift xyz 10 1.02")
    return lines


def _groups(spec: DeckSpec) -> list[str]:
    groups: Mapping[str, Group | None] = spec.groups or {"mobile": None}
    lines = []
    for name, group in groups.items():
        if spec.start_kind == "restart":
            lines.append(f'if "$(is_defined(group,{name}))" then "group {name} clear"')
        if group is None:
            lines.append(f"group {name} union all")
            continue
        ids = " ".join(f"{first}:{last}" for first, last in group.ranges)
        lines.append(f"group {name} id {ids}")
        wrong = f"print '{ERROR_WORD} bad_input: group {name} has $(count({name})) atoms, not {group.count()}'"
        lines.append(f'if "$(count({name})) != {group.count()}" then "{wrong}" "quit 3"')
        if group.frozen:
            lines += [
                f"velocity {name} set 0.0 0.0 0.0 units box",
                f"fix freeze_{name} {name} setforce 0.0 0.0 0.0",
            ]
    if frozen := [name for name, group in spec.groups.items() if group.frozen]:
        if spec.start_kind == "restart":
            lines.append(f'if "$(is_defined(group,{MOVING}))" then "group {MOVING} clear"')
        lines.append(f"group {MOVING} subtract all {' '.join(frozen)}")
    return lines


def _has_frozen(spec: DeckSpec) -> bool:
    return any(group.frozen for group in spec.groups.values())


def _layers(spec: DeckSpec) -> list[str]:
    if not spec.output.layers or not any(isinstance(stage, Pulse | Cool) for stage in spec.protocol.stages):
        return []
    return pulse.Layers(spec.output.layers).regions()


def _thermo(spec: DeckSpec) -> list[str]:
    lines = [
        f"timestep {spec.protocol.timestep_fs * 1e-3:.12g}",
        "compute gst_kin all ke",
        "variable s_stage equal 0",
        "variable s_time equal step*dt",
        "variable s_pe equal pe",
        "variable s_ke equal c_gst_kin",
        "variable s_etotal equal pe+c_gst_kin",
        "variable s_press equal press",
        "variable s_vol equal vol",
    ]
    if spec.output.gamma_every:
        every = spec.output.gamma_every
        lines += [
            _grade(every),
            # frozen atoms did not get to their places by dynamics
            f"compute gst_max_gamma {MOVING if _has_frozen(spec) else 'all'} reduce max f_gst_gamma",
            # between two evaluations the fix repeats its last values
            f"variable s_gamma equal c_gst_max_gamma*(step%{every}==0)",
        ]
    else:
        lines.append("variable s_gamma equal 0")
    gamma = " v_s_gamma" if spec.output.gamma_every else ""
    return [
        *lines,
        f"thermo_style custom step temp pe ke etotal press vol{gamma}",
        "thermo_modify lost error flush yes norm no",
        f"thermo {10 * spec.output.series_every}",
    ]


def _grade(every: int) -> str:
    return f"fix gst_gamma all pair {every} pace/extrapolation gamma 1"


def _velocities(spec: DeckSpec) -> list[str]:
    if spec.create_velocities_K is None:
        return []
    group = spec.protocol.stages[0].group
    return [
        f"compute gst_drawn {group} temp",
        f"compute_modify gst_drawn extra/dof {_removed_dof(spec)}",
        f"velocity {group} create {spec.create_velocities_K:.12g} {spec.protocol.seed} mom yes rot no dist gaussian "
        "temp gst_drawn",
        "uncompute gst_drawn",
    ]


def _first_row(spec: DeckSpec) -> list[str]:
    variables = pulse.kick_variables(spec.protocol.stages[0].group, _removed_dof(spec))
    if spec.continues:
        # a run continued at its very end has no stage left to define them
        return variables
    return [
        *variables,
        f"fix gst_zero {spec.protocol.stages[0].group} nve",
        "run 0 post no",
        "unfix gst_zero",
        f'print "{_ROW}" append {SERIES_FILE} screen no',
    ]


def _removed_dof(spec: DeckSpec) -> int:
    # frozen atoms absorb momentum, so the moving ones keep all their degrees of freedom
    return 0 if _has_frozen(spec) else 3


def _stage(spec: DeckSpec, stage: Stage, index: int, span: tuple[int, int]) -> list[str]:
    first, last = span
    head = [*pulse.kick_variables(stage.group, _removed_dof(spec)), f"variable s_stage equal {index}"]
    if isinstance(stage, Relax):
        return [*head, *_relax(spec, stage, first)]
    if isinstance(stage, Pulse | Cool):
        body = _kicked(spec, stage, index, first)
    else:
        body = [f"run {last} upto start {first} stop {last} post no", _stop_before(spec, last)]
    fixes = _integrator(spec, stage, index)
    outputs, closing = _outputs(spec, stage, index)
    unfix = [f"unfix {line.split()[1]}" for line in fixes]
    return [*head, *fixes, *outputs, *body, *unfix, *closing, *_last_frame(spec, stage, index)]


def _relax(spec: DeckSpec, stage: Relax, first: int) -> list[str]:
    # a minimiser counts its iterations as steps, so the clock is reset
    every = max(1, stage.max_iterations // _RELAX_RESTARTS)
    restart = f"restart {every} {' '.join(relaxing_files(first))}" if spec.output.restart_every else "restart 0"
    return [
        "min_style cg",
        restart,
        f"minimize {stage.energy_tolerance:.6g} {stage.force_tolerance_eV_A:.6g} "
        f"{stage.max_iterations} {10 * stage.max_iterations}",
        "restart 0",
        f"reset_timestep {first}",
        f'if "$(is_timeout()) > 0" then "write_restart {relaxing_files(first)[0]}" "jump SELF stopped_relaxing"',
    ]


def _integrator(spec: DeckSpec, stage: Stage, index: int) -> list[str]:
    lines = [f"fix gst_nve {stage.group} nve"]
    # each stage draws its own random forces, and the same ones when it runs again
    seed = (spec.protocol.seed * 7919 + index * 104729) % 900_000_000 + 1
    if isinstance(stage, Quench):
        start, end, damping = stage.start_K, stage.end_K, stage.damping_ps
    elif isinstance(stage, Anneal) or (isinstance(stage, Hold) and stage.ensemble == "langevin"):
        start = end = stage.temperature_K
        damping = stage.damping_ps
    else:
        return lines
    # a continuation must not repeat the noise of earlier steps
    seed = (seed + spec.start_step) % 900_000_000 + 1
    # without `zero` the random forces make the whole cell drift
    return [*lines, f"fix gst_bath {stage.group} langevin {start:.12g} {end:.12g} {damping:.12g} {seed} zero yes"]


def _outputs(spec: DeckSpec, stage: Stage, index: int) -> tuple[list[str], list[str]]:
    out, closing = spec.output, ["unfix gst_series"]
    lines = [f'fix gst_series all print {out.series_every} "{_ROW}" append {SERIES_FILE} screen no title ""']
    if out.profile_every:
        lines += [
            # a triclinic cell allows reduced units only; the reader needs the height to convert them
            f'print "# low $(zlo:%.10g) height $(lz:%.10g)" append {PROFILE_FILE} screen no',
            f"variable bins equal $(ternary(lz<{out.profile_bin_A:.12g},1.0,round(lz/{out.profile_bin_A:.12g})))",
            f"compute gst_bins {stage.group} chunk/atom bin/1d z lower $(1.0/v_bins:%.15g) units reduced",
            f"fix gst_profile {stage.group} ave/chunk {_sampled(out.profile_every)} gst_bins temp density/number "
            f"append {PROFILE_FILE}",
        ]
        closing += ["unfix gst_profile", "uncompute gst_bins"]
    if out.dump_every:
        lines += [
            f"dump gst_dump all custom {out.dump_every} {dump_file(index)} {_columns(out)}",
            f"dump_modify gst_dump {_form(out)}",
        ]
        closing.append("undump gst_dump")
    halts = _halts(spec)
    closing += [f"unfix {line.split()[1]}" for line in halts]
    if out.restart_every:
        lines.append(f"restart {out.restart_every} {' '.join(RESTART_GENERATIONS)}")
        closing.append("restart 0")
    return [*lines, *halts], closing


def _sampled(every: int) -> str:
    """Return Nevery, Nrepeat and Nfreq of an average over the second half of each interval."""
    apart = next(steps for steps in range(max(1, every // 20), 0, -1) if every % steps == 0)
    return f"{apart} {max(1, every // (2 * apart))} {every}"


def relaxing_files(first: int | str) -> tuple[str, str]:
    """Return the names of the restart files of a relaxation that began at step `first` of the protocol."""
    return f"relaxing_{first}.a", f"relaxing_{first}.b"


def dump_file(stage_index: int) -> str:
    """Return the names of the dumped frames of a stage, counted from 1.

    Each frame has its own file: with one file for all, a kill would lose the frames that gzip still buffers, while the
    run continues from a later restart file. :func:`gst_jobflow.dynamics.dump.join_frames` joins them.
    """
    return f"dump_{stage_index:03d}_*.lammpstrj.gz"


def _columns(out: Output) -> str:
    columns = "id type x y z"
    columns += " ix iy iz" if out.dump_images else ""
    columns += " vx vy vz" if out.dump_velocities else ""
    return columns + (" f_gst_gamma" if out.gamma_every else "")


def _form(out: Output) -> str:
    return f"pad 12 sort id format float %.{out.dump_digits}f"


def _last_frame(spec: DeckSpec, stage: Stage, index: int) -> list[str]:
    """Return the commands that write a frame at the end of a stage, with the gamma of this step."""
    out = spec.output
    if not out.dump_every or isinstance(stage, Relax):
        return []
    write = f"write_dump all custom {dump_file(index)} {_columns(out)} modify {_form(out)}"
    if not out.gamma_every:
        return [write]
    return [_grade(1), "run 0 post no", write, _grade(out.gamma_every)]


def _halts(spec: DeckSpec) -> list[str]:
    lines, limits = [], spec.limits
    if limits.max_temperature_K is not None:
        lines.append(
            f"fix {BLOW_UP_HALT_ID} all halt 20 v_temp_grp > {limits.max_temperature_K:.12g} error hard message yes"
        )
    if limits.halt_gamma is not None:
        lines.append(
            f"fix {GAMMA_HALT_ID} all halt {spec.output.gamma_every} v_s_gamma > {limits.halt_gamma:.12g} "
            "error hard message yes"
        )
    if spec.output.restart_every:
        # rank 0 checks for all: fix halt broadcasts the result
        lines.append(f"fix gst_stop all halt {spec.output.restart_every} v_s_stop > 0 error soft message no")
    return lines


def _stop_before(spec: DeckSpec, step: int | str) -> str:
    """Return the line that leaves a run which did not reach `step`, or which the walltime stopped at this step.

    The next command would change velocities, and a restart file holds the state before that.
    """
    on_it = f"(($(is_timeout()) > 0) && ($(step) < {spec.protocol.total_steps}))"
    return f'if "($(step) < {step}) || {on_it}" then "jump SELF stopped_early"'


def _kicked(spec: DeckSpec, stage: Pulse | Cool, index: int, first: int) -> list[str]:
    dt, every = spec.protocol.timestep_fs, steps_in(stage.every_ps, spec.protocol.timestep_fs, "every_ps")
    count, steps = kick_count(stage, dt), pulse.kick_steps(stage, first, dt)
    done = sum(step < spec.start_step for step in steps) if spec.continues else 0
    loop, label = [f"variable kick loop {done + 1} {count}"], f"kicks_{index}"
    until = f"$({first}+{every}*v_kick)"
    run = [f"run {until} upto post no", _stop_before(spec, until)]
    lead, leave = [], []
    if isinstance(stage, Pulse):
        setup, kick = pulse.pulse_setup(stage), pulse.pulse_kick(stage, index, dt, KICKS_FILE)
        if done:
            # a continuation within an interval completes it before the next kick
            rest = str(steps[done] if done < count else first + every * count)
            lead = [f"run {rest} upto post no", _stop_before(spec, rest)]
        inner = [*_in_layers(spec, stage, index, kick), *run]
    else:
        setup, kick = pulse.cool_setup(stage), pulse.cool_kick(stage, index, count, KICKS_FILE)
        inner = [*run, *_in_layers(spec, stage, index, kick)]
        if stage.rate_K_ps is not None and index == len(spec.protocol.stages):
            inner.append(f'if "{pulse.is_cold(stage)}" then "variable kick delete" "jump SELF cooled"')
            leave = ["label cooled"]
    if done >= count:
        return [*setup, *lead]
    return [*setup, *lead, *loop, f"label {label}", *inner, "next kick", f"jump SELF {label}", *leave]


def _in_layers(spec: DeckSpec, stage: Pulse | Cool, index: int, kick: list[str]) -> list[str]:
    """Return a kick that logs the gain of each layer."""
    if spec.output.layers:
        layers = pulse.Layers(spec.output.layers)
        kick = [*layers.before(stage.group), *kick, *layers.log(stage.group, index, LAYERS_FILE)]
    # hundreds of kicks would fill the log with their commands
    return ["echo none", *kick, "echo log"]


def _ending(spec: DeckSpec) -> list[str]:
    return [
        "# one more row: the last velocity change came after the last row",
        "run 0 post no",
        f'print "{_ROW}" append {SERIES_FILE} screen no',
        f"write_restart {FINAL_RESTART}",
        f"write_data {FINAL_DATA} nocoeff",
        f'print "{FINISHED_WORD} step $(step)"',
        "quit 0",
        "label stopped_early",
        f"write_restart {STOPPED_RESTART}",
        "label stopped_relaxing",
        f'print "{STOPPED_WORD} step $(step)"',
        "quit 0",
    ]
