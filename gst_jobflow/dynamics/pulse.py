"""Heat and cool by changes of velocity: LAMMPS commands of a kick, its time, its energy, the weight of each atom.

Heating adds kinetic energy. Each atom's velocity is scaled by ``sqrt((ke + dE) / ke)``, which keeps its direction; then
the net momentum is removed, and one uniform factor makes the total rise by exactly the asked energy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics import expression
from gst_jobflow.dynamics.stages import Cool, Dome, Expression, LinearZ, Profile, Pulse, Slices, kick_count, steps_in

# constants of LAMMPS' "metal" units with its digits, so that sums agree: eV per (g/mol) (Å/ps)^2, and eV/K
MVV2E = 1.0364269e-4
BOLTZMANN_EV_K = 8.617343e-5

KICK_COLUMNS = (
    "stage",
    "kick",
    "step",
    "asked_eV",
    "added_eV",
    "ke_before_eV",
    "ke_after_eV",
    "temp_before_K",
    "temp_after_K",
    "momentum",
)


def kick_steps(stage: Pulse | Cool, first_step: int, timestep_fs: float) -> list[int]:
    """Return the step of every kick: a pulse kicks at the start of each interval, a cooling at its end."""
    every = steps_in(stage.every_ps, timestep_fs, "every_ps")
    shift = every if isinstance(stage, Cool) else 0
    return [first_step + shift + every * k for k in range(kick_count(stage, timestep_fs))]


def kick_energy_eV(stage: Pulse, timestep_fs: float) -> float:
    """Return the energy of one kick; all kicks of a pulse are equal."""
    return stage.energy_eV / kick_count(stage, timestep_fs)


def profile_weights(profile: Profile, positions_A: NDArray, edges_A: NDArray | None = None) -> NDArray:
    """Return the relative weight of each atom, shape (n,); an expression may exceed 1.

    Positions (n, 3) are wrapped, in Å; `edges_A` (3,) are the lengths of the cell, which expressions may name. Raises
    InputError if an expression is negative or not finite at an atom.
    """
    positions = np.asarray(positions_A, dtype=float)
    if isinstance(profile, LinearZ):
        u = np.clip((profile.top_A - positions[:, 2]) / (profile.top_A - profile.bottom_A), 0.0, 1.0)
        return profile.floor + (1.0 - profile.floor) * u
    if isinstance(profile, Dome):
        squares = sum((positions[:, i] - c) ** 2 for i, c in enumerate(profile.centre_A) if c is not None)
        inside = profile.diameter_A / 2 - np.sqrt(squares)
        return np.clip(inside / profile.edge_A, 0.0, 1.0) if profile.edge_A else (inside >= 0.0).astype(float)
    if isinstance(profile, Expression):
        values = expression.evaluate_formula(profile.formula, positions, np.zeros(3) if edges_A is None else edges_A)
        if bad := int(np.sum(~np.isfinite(values) | (values < 0.0))):
            raise InputError(
                f"the formula '{profile.formula}' is negative or undefined at {bad} of {len(values)} atoms",
                "keep it positive, for example with max(0, …)",
            )
        return values
    return np.ones(len(positions))


def fall_per_kick_K(stage: Cool) -> float | None:
    """Return the fall of temperature between two kicks of a cooling at a rate, K; None without a rate."""
    return None if stage.rate_K_ps is None else stage.rate_K_ps * stage.every_ps


def weight_formula(profile: Profile) -> str:
    """Return the weight of an atom as the formula of a LAMMPS atom-style variable."""
    if isinstance(profile, LinearZ):
        u = f"(({profile.top_A:.12g}-z)/{profile.top_A - profile.bottom_A:.12g})"
        held = f"({u}*({u}>0.0)*({u}<=1.0)+({u}>1.0))"
        return f"{profile.floor:.12g}+{1.0 - profile.floor:.12g}*{held}"
    if isinstance(profile, Dome):
        offsets = [f"({axis}-({c:.12g}))" for axis, c in zip("xyz", profile.centre_A, strict=True) if c is not None]
        inside = f"({profile.diameter_A / 2:.12g}-sqrt({'+'.join(f'{d}*{d}' for d in offsets)}))"
        if not profile.edge_A:
            return f"({inside}>=0.0)"
        u = f"({inside}/{profile.edge_A:.12g})"
        return f"({u}*({u}>0.0)*({u}<=1.0)+({u}>1.0))"
    if isinstance(profile, Expression):
        return expression.to_lammps(profile.formula)
    # LAMMPS refuses an atom-style variable of constants alone
    return "1.0+0.0*z"


@dataclass(frozen=True)
class Layers:
    """Equal slices of the cell along z; each kick logs their gains."""

    count: int

    def regions(self) -> list[str]:
        """Return the commands that define the slices; the outermost include atoms just across the boundary."""
        lines = []
        for number in range(self.count):
            low = "INF" if number == 0 else self._at(number)
            high = "INF" if number == self.count - 1 else self._at(number + 1)
            lines.append(f"region gst_layer_{number} block INF INF INF INF {low} {high} units box")
        return lines

    def _at(self, number: int) -> str:
        return f"$(zlo+{number}.0*lz/{self.count}.0:%.15g)"

    def before(self, group: str) -> list[str]:
        """Return the commands that note the kinetic energy of each slice before a kick."""
        return [f"variable low{n} equal $(ke({group},gst_layer_{n}):%.17g)" for n in range(self.count)]

    def log(self, group: str, stage_index: int, log_file: str) -> list[str]:
        """Return the commands that log the gain of each slice since `before`."""
        head = f"{stage_index},$(v_kick),$(step),$(zlo:%.10g),$(lz:%.10g)"
        gains = ",".join(f"$(ke({group},gst_layer_{n})-v_low{n}:%.10g)" for n in range(self.count))
        return [f'print "{head},{gains}" append {log_file} screen no']


def _log_line(stage_index: int, log_file: str, asked: str) -> str:
    values = (
        f"{stage_index},$(v_kick),$(step),{asked},$(v_ke_grp-v_ke0:%.12g),$(v_ke0:%.14g),"
        "$(v_ke_grp:%.14g),$(v_temp0:%.8g),$(v_temp_grp:%.8g),$(v_mom_grp:%.3e)"
    )
    return f'print "{values}" append {log_file} screen no'


def _rescale_to(target: str, group: str) -> list[str]:
    return [
        f"variable uni equal $(sqrt(({target})/v_ke_grp):%.17g)",
        f"velocity {group} set v_ux v_uy v_uz sum no units box",
    ]


def kick_variables(group: str, removed_dof: int) -> list[str]:
    """Return LAMMPS variables that the kicks of a group read; LAMMPS evaluates them at each use."""
    return [
        f"variable ke_grp equal ke({group})",
        f"variable temp_grp equal 2.0*v_ke_grp/((3.0*count({group})-{removed_dof})*{BOLTZMANN_EV_K})",
        f"variable mom_grp equal mass({group})*sqrt(vcm({group},x)^2+vcm({group},y)^2+vcm({group},z)^2)",
        "variable uni equal 1.0",
        *[f"variable u{x} atom v_uni*v{x}" for x in "xyz"],
    ]


def pulse_kick(stage: Pulse, stage_index: int, timestep_fs: float, log_file: str) -> list[str]:
    """Return the commands of one kick of a pulse, for the loop variable ``kick``.

    A first, smaller gain measures the sum of the weights by the rise of the kinetic energy. A compute could give the
    sum, but whether it is current between runs depends on the version of LAMMPS.
    """
    energy = f"{kick_energy_eV(stage, timestep_fs):.15g}"
    group = stage.group
    apply = f"velocity {group} set v_kx v_ky v_kz sum no units box"
    return [
        "variable ke0 equal $(v_ke_grp:%.17g)",
        "variable temp0 equal $(v_temp_grp:%.17g)",
        _refuse('"${ke0} <= 0.0"', "a pulse cannot heat atoms at rest"),
        *_refuse_negative(stage),
        f"variable gain equal $(0.5*{energy}/count({group}):%.17g)",
        apply,
        "variable rise equal $(v_ke_grp-v_ke0:%.17g)",
        _refuse('"${rise} <= 0.0"', "the profile heats no atom"),
        f"variable gain equal $(v_gain*({energy}/v_rise-1.0):%.17g)",
        apply,
        f"velocity {group} zero linear",
        *_rescale_to(f"v_ke0+{energy}", group),
        _log_line(stage_index, log_file, energy),
    ]


def _refuse(condition: str, message: str) -> str:
    return f'if {condition} then "print \'GST-ERROR bad_input: {message}\'" "quit 3"'


def _refuse_negative(stage: Pulse) -> list[str]:
    # atoms move, so a formula that was positive at all of them may become negative
    if not isinstance(stage.profile, Expression):
        return []
    return [
        "group gst_negative clear",
        "group gst_negative variable kbelow",
        _refuse('"$(count(gst_negative)) > 0"', "the formula of the pulse is negative at an atom"),
    ]


def pulse_setup(stage: Pulse) -> list[str]:
    """Return the variables of a pulse: weight, kinetic energy and new velocity of each atom."""
    lines = [
        f'variable kweight atom "{weight_formula(stage.profile)}"',
        f'variable kke atom "0.5*{MVV2E}*mass*(vx*vx+vy*vy+vz*vz)"',
        "variable gain equal 0.0",
        # an atom at rest has no direction and stays at rest; the uniform factor gives its share to the others
        'variable kfac atom "sqrt((v_kke+v_gain*v_kweight)/(v_kke+1.0e-30))"',
        *[f"variable k{x} atom v_kfac*v{x}" for x in "xyz"],
    ]
    if isinstance(stage.profile, Expression):
        lines += ['variable kbelow atom "v_kweight<0.0"', "group gst_negative empty"]
    return lines


def cool_setup(stage: Cool) -> list[str]:
    """Return the regions and variables of a cooling by slices; none without slices.

    The regions are nested, so that no atom on a border counts twice; a slice is a region without the next inner one.
    """
    if stage.slices is None:
        return []
    count, lines = stage.slices.count, []
    for number in range(count - 1):
        lines += [f'if "$(is_defined(region,gst_cool_{number}))" then "region gst_cool_{number} delete"']
        lines.append(_nested(stage.slices, number))
    factors = "".join(f"+(v_cf{n}-v_cf{n + 1})*rmask(gst_cool_{n})" for n in range(count - 1))
    return [
        *lines,
        *[f"variable cf{number} equal 1.0" for number in range(count)],
        f'variable cfac atom "v_cf{count - 1}+0.0*z{factors}"',
        *[f"variable k{x} atom v_cfac*v{x}" for x in "xyz"],
    ]


def _nested(slices: Slices, number: int) -> str:
    if slices.centre_A is None or slices.width_A is None:
        top = f"$(zlo+{number + 1}.0*lz/{slices.count}.0:%.15g)"
        return f"region gst_cool_{number} block INF INF INF INF INF {top} units box"
    radius = f"{(number + 1) * slices.width_A:.12g}"
    if None not in slices.centre_A:
        return f"region gst_cool_{number} sphere {' '.join(f'{c:.12g}' for c in slices.centre_A)} {radius} units box"
    axis = "xyz"[slices.centre_A.index(None)]
    centre = " ".join(f"{c:.12g}" for c in slices.centre_A if c is not None)
    return f"region gst_cool_{number} cylinder {axis} {centre} {radius} INF INF units box"


def _goal(stage: Cool, now: str) -> str:
    """Return the temperature that a cooling kick sets as a LAMMPS formula; `now` names the present temperature.

    About half of the energy that a kick removes flows back from the potential energy before the next one
    (equipartition), so a kick takes twice its share of the straight line: solids and liquids then cool linearly. Each
    kick computes its target anew. It needs no memory, so a run may be cut anywhere, and the remaining intervals remove
    the heat that crystallisation releases. Only the last kick may heat, so that the stage ends at `end_K` exactly; at a
    rate, the kicks after `end_K` was reached hold it there.
    """
    end, fall = f"{stage.end_K:.12g}", fall_per_kick_K(stage)
    if fall is None:
        return f"ternary(v_left<=1||{now}>{end},{now}+2.0*({end}-{now})/(v_left+1),{now})"
    return f"ternary(v_left<=1||{now}-{2.0 * fall:.12g}<{end},{end},{now}-{2.0 * fall:.12g})"


def _slice_lines(stage: Cool, number: int) -> list[str]:
    """Return the commands that measure the temperature of a slice and set the factor of its velocities."""
    assert stage.slices is not None  # the caller checks
    group, last = stage.group, stage.slices.count - 1

    def up_to(what: str, k: int) -> str:
        if k < 0:
            return "0.0"
        return f"{what}({group})" if k == last else f"{what}({group},gst_cool_{k})"

    energy, atoms = (f"{up_to(what, number)}-{up_to(what, number - 1)}" for what in ("ke", "count"))
    return [
        f"variable cn equal $({atoms}:%.17g)",
        f"variable ck equal $({energy}:%.17g)",
        # an empty slice, or one at rest, keeps its energy
        f"variable ct equal $(2.0*v_ck/(3.0*(v_cn+(v_cn<1))*{BOLTZMANN_EV_K}):%.17g)",
        f"variable cf{number} equal $(ternary(v_ct>0.0,sqrt({_goal(stage, 'v_ct')}/(v_ct+(v_ct<=0.0))),1.0):%.17g)",
        f"variable casked equal $(v_casked+v_ck*(v_cf{number}^2-1.0):%.17g)",
        "variable chot equal $(ternary(v_ct>v_chot,v_ct,v_chot):%.17g)",
    ]


def cool_kick(stage: Cool, stage_index: int, kicks: int, log_file: str) -> list[str]:
    """Return the commands of one cooling kick, for the loop variable ``kick`` that counts from 1 to `kicks`."""
    before = [
        "variable ke0 equal $(v_ke_grp:%.17g)",
        "variable temp0 equal $(v_temp_grp:%.17g)",
        _refuse('"${ke0} <= 0.0"', "atoms at rest cannot be cooled"),
        f"variable left equal $({kicks}-v_kick+1)",
    ]
    zero = f"velocity {stage.group} zero linear"
    if stage.slices is None:
        return [
            *before,
            "variable chot equal ${temp0}",
            f"variable goal equal $({_goal(stage, 'v_temp0')}:%.17g)",
            zero,
            *_rescale_to("v_ke0*v_goal/v_temp0", stage.group),
            _log_line(stage_index, log_file, "$(v_ke0*(v_goal/v_temp0-1.0):%.12g)"),
        ]
    slices = [line for number in range(stage.slices.count) for line in _slice_lines(stage, number)]
    return [
        *before,
        "variable casked equal 0.0",
        "variable chot equal 0.0",
        *slices,
        f"velocity {stage.group} set v_kx v_ky v_kz sum no units box",
        zero,
        # the last kick sets the temperature of the whole: those of slices with few atoms scatter
        f"variable goal equal $(ternary(v_left<=1,v_ke0*{stage.end_K:.12g}/v_temp0,v_ke0+v_casked):%.17g)",
        *_rescale_to("v_goal", stage.group),
        _log_line(stage_index, log_file, "$(v_goal-v_ke0:%.12g)"),
    ]


def is_cold(stage: Cool) -> str:
    """Return the LAMMPS condition that the last kick ended a cooling at a rate."""
    fall = fall_per_kick_K(stage) or 0.0
    # the temperature of a slice of a hundred atoms fluctuates by 8 %
    hot = stage.end_K * (1.1 if stage.slices else 1.0) + fall
    return f"$(v_temp0) <= {stage.end_K + fall:.12g} && $(v_chot) <= {hot:.12g}"
