"""The arithmetic of heating and cooling by velocity changes: when, how much, for which atom.

Energy goes in as kinetic energy. An atom's velocity is scaled by ``sqrt((ke + dE) / ke)``, which keeps its direction;
then the net momentum is removed, and one uniform factor makes the total rise by exactly what was asked. LAMMPS does
this through the commands of :func:`pulse_kick`; :func:`kick_velocities` is the same in numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.dynamics.stages import Cool, LinearZ, Profile, Pulse, kick_count, steps_in
from gst_jobflow.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: LAMMPS "metal" constants, with its digits, so that our sums equal its own: eV per (g/mol) (Å/ps)^2, and eV/K.
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
    """Return the step of every kick: at the start of each interval of a pulse, at its end when cooling."""
    every = steps_in(stage.every_ps, timestep_fs, "every_ps")
    shift = every if isinstance(stage, Cool) else 0
    return [first_step + shift + every * k for k in range(kick_count(stage, timestep_fs))]


def kick_energy_eV(stage: Pulse, timestep_fs: float) -> float:
    """Return the energy of one kick; all kicks of a pulse are equal."""
    return stage.energy_eV / kick_count(stage, timestep_fs)


def profile_weights(profile: Profile, z_A: NDArray) -> NDArray:
    """Return the relative weight of each atom, between 0 and 1.

    Parameters
    ----------
    profile
        Shape in space.
    z_A
        Heights, shape (n,), in Å.
    """
    z_A = np.asarray(z_A, dtype=float)
    if isinstance(profile, LinearZ):
        u = np.clip((profile.top_A - z_A) / (profile.top_A - profile.bottom_A), 0.0, 1.0)
        return profile.floor + (1.0 - profile.floor) * u
    return np.ones_like(z_A)


def kinetic_energy_eV(velocities: NDArray, masses: NDArray) -> float:
    """Return the kinetic energy in eV of velocities (n, 3) in Å/ps and masses (n,) in g/mol."""
    return float(0.5 * MVV2E * np.sum(masses[:, None] * velocities**2))


def kick_velocities(velocities: NDArray, masses: NDArray, weights: NDArray, energy_eV: float) -> NDArray:
    """Return velocities after one kick.

    Parameters
    ----------
    velocities
        Shape (n, 3), Å/ps.
    masses
        Shape (n,), g/mol.
    weights
        Shape (n,), not negative, not all zero.
    energy_eV
        By how much the total kinetic energy rises.

    Returns
    -------
    Velocities of shape (n, 3) with zero net momentum and a kinetic energy higher by `energy_eV`.

    Raises
    ------
    InputError
        If no atom moves (there is no direction to scale) or no atom has weight.
    """
    before = kinetic_energy_eV(velocities, masses)
    if before <= 0.0:
        raise InputError("a pulse cannot heat atoms at rest", "hold the cell at a temperature before the pulse")
    if not np.sum(weights) > 0.0 or np.min(weights) < 0.0:
        raise InputError("the profile of the pulse gives no atom any energy", "move bottom_A and top_A over the cell")
    ke = 0.5 * MVV2E * masses * np.sum(velocities**2, axis=1)
    gain = energy_eV * weights / np.sum(weights)
    scale = np.sqrt(np.divide(ke + gain, ke, out=np.ones_like(ke), where=ke > 0.0))
    moved = velocities * scale[:, None]
    moved = moved - (masses @ moved) / np.sum(masses)
    return moved * np.sqrt((before + energy_eV) / kinetic_energy_eV(moved, masses))


def cool_target_K(now_K: float, end_K: float, kicks_left: int) -> float:
    """Return the temperature to set at a cooling kick, with `kicks_left` counting this one.

    About half of what a kick takes out of the motion flows back from the potential energy before the next one
    (equipartition), so a kick takes twice the share of the straight line: in a solid or liquid the temperature then
    falls linearly and has no heat left over at the end. The target is drawn anew at every kick. That needs no memory,
    so a run may be cut and continued anywhere, and heat that crystallisation sets free is taken out in the intervals
    that remain. Only the last kick may heat, so that the stage ends at `end_K` exactly.
    """
    if kicks_left <= 1:
        return end_K
    return min(now_K, now_K + 2.0 * (end_K - now_K) / (kicks_left + 1))


def weight_formula(profile: Profile) -> str:
    """Return the weight of an atom as a LAMMPS atom-style formula."""
    if isinstance(profile, LinearZ):
        u = f"(({profile.top_A:.12g}-z)/{profile.top_A - profile.bottom_A:.12g})"
        held = f"({u}*({u}>0.0)*({u}<=1.0)+({u}>1.0))"
        return f"{profile.floor:.12g}+{1.0 - profile.floor:.12g}*{held}"
    # a formula of constants alone is refused in an atom-style variable
    return "1.0+0.0*z"


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
    """Return LAMMPS variables that the kicks of one group read; all are evaluated when used, on any step."""
    return [
        f"variable ke_grp equal ke({group})",
        f"variable temp_grp equal 2.0*v_ke_grp/((3.0*count({group})-{removed_dof})*{BOLTZMANN_EV_K})",
        f"variable mom_grp equal mass({group})*sqrt(vcm({group},x)^2+vcm({group},y)^2+vcm({group},z)^2)",
        "variable uni equal 1.0",
        *[f"variable u{x} atom v_uni*v{x}" for x in "xyz"],
    ]


def pulse_kick(stage: Pulse, stage_index: int, timestep_fs: float, log_file: str) -> list[str]:
    """Return the commands of one kick of a pulse, for the loop variable ``kick``.

    The sum of the weights is not asked from a compute (whether one is current between runs depends on the version of
    LAMMPS): a first, smaller gain is applied, and the rise of the total kinetic energy says what the sum is.
    """
    energy = f"{kick_energy_eV(stage, timestep_fs):.15g}"
    group = stage.group
    apply = f"velocity {group} set v_kx v_ky v_kz sum no units box"
    return [
        "variable ke0 equal $(v_ke_grp:%.17g)",
        "variable temp0 equal $(v_temp_grp:%.17g)",
        'if "${ke0} <= 0.0" then "print \'GST-ERROR bad_input: a pulse cannot heat atoms at rest\'" "quit 3"',
        f"variable gain equal $(0.5*{energy}/count({group}):%.17g)",
        apply,
        "variable rise equal $(v_ke_grp-v_ke0:%.17g)",
        'if "${rise} <= 0.0" then "print \'GST-ERROR bad_input: the profile gives no atom energy\'" "quit 3"',
        f"variable gain equal $(v_gain*({energy}/v_rise-1.0):%.17g)",
        apply,
        f"velocity {group} zero linear",
        *_rescale_to(f"v_ke0+{energy}", group),
        _log_line(stage_index, log_file, energy),
    ]


def pulse_setup(stage: Pulse) -> list[str]:
    """Return the variables of a pulse: weight, kinetic energy and new velocity of each atom."""
    return [
        f'variable kweight atom "{weight_formula(stage.profile)}"',
        f'variable kke atom "0.5*{MVV2E}*mass*(vx*vx+vy*vy+vz*vz)"',
        "variable gain equal 0.0",
        # an atom at rest has no direction: it stays at rest, and the uniform factor gives its share to the others
        'variable kfac atom "sqrt((v_kke+v_gain*v_kweight)/(v_kke+1.0e-30))"',
        *[f"variable k{x} atom v_kfac*v{x}" for x in "xyz"],
    ]


def cool_kick(stage: Cool, stage_index: int, kicks: int, log_file: str) -> list[str]:
    """Return the commands of one cooling kick, for the loop variable ``kick`` that counts from 1 to `kicks`."""
    end = f"{stage.end_K:.12g}"
    line = f"v_temp0+2.0*({end}-v_temp0)/(v_left+1)"
    return [
        "variable ke0 equal $(v_ke_grp:%.17g)",
        "variable temp0 equal $(v_temp_grp:%.17g)",
        'if "${ke0} <= 0.0" then "print \'GST-ERROR bad_input: atoms at rest cannot be cooled\'" "quit 3"',
        f"variable left equal $({kicks}-v_kick+1)",
        # cool_target_K in LAMMPS' language
        f"variable goal equal $(ternary(v_left<=1||v_temp0>{end},{line},v_temp0):%.17g)",
        *_rescale_to("v_ke0*v_goal/v_temp0", stage.group),
        _log_line(stage_index, log_file, "$(v_ke0*(v_goal/v_temp0-1.0):%.12g)"),
    ]
