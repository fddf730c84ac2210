"""Which run a cycle may go on from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.heating import Geometry, geometry_of_atoms
from gst_jobflow.documents import Cycle, Trajectory
from gst_jobflow.store.atoms import load_atoms

if TYPE_CHECKING:
    from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec
    from gst_jobflow.store import Results

DocumentT = TypeVar("DocumentT", Cycle, Trajectory)


def find_state(results: Results, said: str) -> Trajectory:
    """Return the run that a user means: ``CYCLE`` (its last one), ``CYCLE:OPERATION`` (counted from 1), or its own id.

    Raises
    ------
    InputError
        There is none, or it did not finish.
    """
    cycle_id, colon, number = said.partition(":")
    cycle = _get(results, Cycle, cycle_id)
    if cycle is None:
        run = None if colon else _get(results, Trajectory, said)
        if run is None:
            raise InputError(f"no cycle or trajectory '{cycle_id}'", "gst query cycles shows what there is")
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
    results: Results, trajectory_id: str, cell: CrossPointSpec | MushroomSpec | None, potential_id: str | None = None
) -> tuple[Trajectory, Cycle]:
    """Return a run that can be gone on from, and its cycle.

    Parameters
    ----------
    results
        Where they are stored.
    trajectory_id
        The run.
    cell
        What the new programme says of its cell; None: nothing.
    potential_id
        What it is to go on with; None: whatever the run had.

    Raises
    ------
    InputError
        The run did not finish, is of no device, of another cell, or of another potential.
    """
    run = results.get(Trajectory, trajectory_id)
    if run.state != "finished" or run.final_structure_id is None:
        raise InputError(f"run {run.id} ({run.protocol}) {run.state}: it left no state", "go on from one that finished")
    if run.cycle_id is None:
        raise InputError(f"run {run.id} ({run.protocol}) is of no device cell", "go on from an operation of a cycle")
    if potential_id is not None and potential_id != run.potential_id:
        raise InputError(
            f"the state is of potential {run.potential_id}, not {potential_id}", "go on with its own, or leave it out"
        )
    cycle = results.get(Cycle, run.cycle_id)
    if cell is not None and (differ := _differences(cell, cycle)):
        raise InputError(
            f"the state is of another cell: {differ}", "leave the cell out of the programme, or start a new cell"
        )
    return run, cycle


def geometry_of_state(results: Results, run: Trajectory, cycle: Cycle) -> Geometry:
    """Where the mobile atoms of a state are."""

    first, last = cycle.groups["mobile"]
    atoms = load_atoms(results, str(run.final_structure_id))
    return geometry_of_atoms(atoms, (first, last), cycle.device == "mushroom")


def _differences(cell: CrossPointSpec | MushroomSpec, cycle: Cycle) -> str:
    if cell.kind != cycle.device:
        return f"a {cycle.device} cell, not a {cell.kind} one"
    mine = cell.model_dump(mode="json")
    # how its seam was made plays no role for a cell that is there
    keys = [key for key in mine if key != "min_contact_A" and key in cycle.cell and mine[key] != cycle.cell[key]]
    return "; ".join(f"{key} {cycle.cell[key]}, not {mine[key]}" for key in keys)
