"""Find the run that a cycle continues, and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.heating import Geometry, geometry_of_atoms
from gst_jobflow.documents import Cycle, Trajectory
from gst_jobflow.store.atoms import load_atoms

if TYPE_CHECKING:
    from gst_jobflow.devices.cell import DeviceSpec
    from gst_jobflow.store import Results

DocumentT = TypeVar("DocumentT", Cycle, Trajectory)


def find_state(results: Results, said: str) -> Trajectory:
    """Return the run that `said` names: ``CYCLE`` (its last one), ``CYCLE:OPERATION`` (from 1), or a trajectory.

    Raises
    ------
    InputError
        There is no such run, or the operation has not run.
    """
    cycle_id, colon, number = said.partition(":")
    cycle = _get(results, Cycle, cycle_id)
    if cycle is None:
        run = None if colon else _get(results, Trajectory, said)
        if run is None:
            raise InputError(f"no cycle or trajectory '{cycle_id}'", "gst query cycles lists them")
        return run
    done = [one for one in cycle.operations if one.trajectory_id is not None]
    if not colon:
        if not done:
            raise InputError(f"no operation of cycle {cycle_id} has run", "wait for one: gst status")
        return results.get(Trajectory, str(done[-1].trajectory_id))
    if not number.isdigit() or not 1 <= int(number) <= len(cycle.operations):
        raise InputError(
            f"cycle {cycle_id} has no operation '{number}'", f"they count from 1 to {len(cycle.operations)}"
        )
    wanted = cycle.operations[int(number) - 1]
    if wanted.trajectory_id is None:
        raise InputError(f"operation {number} ({wanted.kind}) of cycle {cycle_id} has not run", "gst status")
    return results.get(Trajectory, wanted.trajectory_id)


def _get(results: Results, kind: type[DocumentT], document_id: str) -> DocumentT | None:
    found = results.database[kind.collection].find_one({"_id": document_id}, {"_id": 1})
    return None if found is None else results.get(kind, document_id)


def check_state(
    results: Results, trajectory_id: str, cell: DeviceSpec | None, potential_id: str | None = None
) -> tuple[Trajectory, Cycle]:
    """Check that a run can be continued; return it and its cycle.

    Parameters
    ----------
    results
        The database.
    trajectory_id
        The run.
    cell
        Cell of the new programme; None: not given.
    potential_id
        Potential to continue with; None: that of the run.

    Raises
    ------
    InputError
        The run did not finish, has no device cell, or has another cell or potential.
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
