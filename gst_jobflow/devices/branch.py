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
