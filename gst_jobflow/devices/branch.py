"""Find the run that a cycle continues, and check it."""

from __future__ import annotations

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell import DeviceSpec
from gst_jobflow.devices.heating import Geometry, geometry_of_atoms
from gst_jobflow.documents import Cycle, Trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms


def check_state(
    results: Results, trajectory_id: str, cell: DeviceSpec | None, potential_id: str | None = None
) -> tuple[Trajectory, Cycle]:
    """Check that a run can be continued; return it and its cycle.

    `cell` is that of the new programme and `potential_id` the potential to continue with; None: those of the run.
    Raises InputError if the run did not finish, has no device cell, or has another cell or potential.
    """
    run = results.get(Trajectory, trajectory_id)
    if run.state != "finished" or run.final_structure_id is None:
        raise InputError(f"run {run.id} ({run.protocol}) {run.state}: it left no state", "continue one that finished")
    if run.cycle_id is None:
        raise InputError(f"run {run.id} ({run.protocol}) has no device cell", "continue an operation of a cycle")
    if potential_id is not None and potential_id != run.potential_id:
        raise InputError(
            f"the state was made with potential {run.potential_id}, not {potential_id}", "leave out --potential"
        )
    cycle = results.get(Cycle, run.cycle_id)
    if cell is not None and (differ := _differences(cell, cycle)):
        raise InputError(
            f"the state has another cell: {differ}", "leave the cell out of the programme, or start a new cell"
        )
    return run, cycle


def geometry_of_state(results: Results, run: Trajectory, cycle: Cycle) -> Geometry:
    """Return the geometry of a stored state."""
    first, last = cycle.groups["mobile"]
    atoms = load_atoms(results, str(run.final_structure_id))
    return geometry_of_atoms(atoms, (first, last), cycle.device == "mushroom")


def _differences(cell: DeviceSpec, cycle: Cycle) -> str:
    if cell.kind != cycle.device:
        return f"a {cycle.device} cell, not a {cell.kind} one"
    mine = cell.model_dump(mode="json")
    # the seam of an existing cell is already made
    keys = [key for key in mine if key != "min_contact_A" and key in cycle.cell and mine[key] != cycle.cell[key]]
    return "; ".join(f"{key} {cycle.cell[key]}, not {mine[key]}" for key in keys)
