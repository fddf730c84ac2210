"""Structures to grade, from the database, files and trajectories, with their mobile atoms."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import ArtifactRef, Cycle, Potential, Trajectory
from gst_jobflow.dynamics.dump import Damaged, DumpFrame, iter_chain, iter_frames
from gst_jobflow.importing.cp2k import read_cp2k
from gst_jobflow.importing.formats import source_files
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.labelling import cp2k_md
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.query import frames, make_query
from gst_jobflow.structures.document_fields import content_hash

_DUMP = ".lammpstrj.gz"


@dataclass(frozen=True)
class FoundStructure:
    """A structure and its source: an id, the step of a trajectory, or a place in a file.

    `mobile` are the first and last mobile atom, from 0; None: all atoms. Grades of frozen atoms do not count. `problem`
    says why a frame of a damaged file has no atoms.
    """

    name: str
    atoms: Atoms
    structure_id: str | None = None
    step: int | None = None
    problem: str = ""
    mobile: tuple[int, int] | None = None

    @property
    def is_mobile(self) -> NDArray[np.bool_]:
        """Mask of the mobile atoms, shape (n_atoms,)."""
        first, last = self.mobile or (0, len(self.atoms) - 1)
        places = np.arange(len(self.atoms))
        return (places >= first) & (places <= last)


def stored_structures(results: Results, where: Sequence[str]) -> list[FoundStructure]:
    """Return the stored structures that meet conditions in the syntax of `gst query structures`.

    Raises InputError if there are none.
    """
    atoms = list(frames(results, make_query("structures", where)))
    if not atoms:
        raise InputError(f"no structure with {' '.join(where)}", "gst query structures -w …")
    mobile = _mobile_of_structures(results, [each.info["structure_id"] for each in atoms])
    return [FoundStructure(id, each, id, mobile=mobile.get(id)) for each in atoms for id in [each.info["structure_id"]]]


def _mobile_of_structures(results: Results, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return the mobile atoms of device cells by structure id: of new cells, frames and ends of operations."""
    devices = {"_id": {"$in": list(ids)}, "config_type": "device"}
    found: dict[str, tuple[int, int]] = {}
    for cell in results.database["structures"].find(devices, {"source": 1}):
        source = cell.get("source", {})
        if "groups" in source:
            found[cell["_id"]] = _places(source["groups"]["mobile"])
            continue
        # a cell cut out of a frame has another order of atoms
        is_frame = source.get("builder") in ("gamma", "sample")
        where = {"_id": source["trajectory_id"]} if is_frame else {"final_structure_id": cell["_id"]}
        run = results.database["trajectories"].find_one(where, {"cycle_id": 1}) or {}
        if mobile := _mobile_of_cycle(results, run.get("cycle_id")):
            found[cell["_id"]] = mobile
    return found


def _mobile_of_cycle(results: Results, cycle_id: str | None) -> tuple[int, int] | None:
    ids = None if cycle_id is None else results.get(Cycle, cycle_id).groups.get("mobile")
    return _places(ids) if ids else None


def _places(ids: Sequence[int]) -> tuple[int, int]:
    """Return places from 0 of the first and last atom id of a group, which count from 1."""
    first, last = ids
    return first - 1, last - 1


def file_structures(files: Sequence[Path]) -> list[FoundStructure]:
    """Return the structures of files in any format that can be imported.

    Raises InputError if a file or one of its records cannot be read.
    """
    options = ImportOptions()
    found = []
    for source in source_files(files, options):
        file = source.path
        for record in source.records(options):
            if record.atoms is None:
                raise InputError(
                    f"{file} record {record.index}: {record.problem}", "correct the record, or remove it from the file"
                )
            found.append(FoundStructure(f"{file}:{record.index}", record.atoms))
    if not found:
        raise InputError(f"{', '.join(map(str, files))}: no structures", "name files that hold some")
    return found


def check_cell_size(trajectory: Trajectory, most_atoms: int | None) -> None:
    """Refuse to take whole cells of more than `most_atoms`; None: any size."""
    if most_atoms is not None and trajectory.n_atoms > most_atoms:
        raise InputError(
            f"trajectory {trajectory.id} has {trajectory.n_atoms} atoms: whole cells are taken up to {most_atoms}",
            "cut cells out with gst structures select --cluster, or set --max-atoms",
        )


def iter_trajectory(results: Results, trajectory: Trajectory, every: int = 1) -> Iterator[FoundStructure]:
    """Yield each `every`-th stored frame of molecular dynamics, each step once; one is in memory at a time.

    Raises InputError if the trajectory has no frames of its own.
    """
    if trajectory.potential_id is None:
        raise InputError(
            f"the frames of trajectory {trajectory.id} are stored structures, with labels",
            f"take them by --where parents={trajectory.start_structure_id}",
        )
    elements = results.get(Potential, trajectory.potential_id).elements
    dumps = [file for file in trajectory.files if file.name.endswith(_DUMP)]
    mobile, there_is_one = _mobile_of_cycle(results, trajectory.cycle_id), False
    for frame in islice(_frames(results, dumps), 0, None, every):
        there_is_one = True
        yield FoundStructure(f"step {frame.step}", frame.to_atoms(elements), step=frame.step, mobile=mobile)
    if not there_is_one:
        raise InputError(f"trajectory {trajectory.id} has no frames", "run with output.dump_every")


def states_of(results: Results, trajectory: Trajectory, every: int = 1) -> Iterator[FoundStructure]:
    """Yield each n-th frame of a run of any kind, and always its last state; one frame is in memory at a time.

    A frame that cannot be read, or has other atoms than this run, is yielded with its `problem`. Raises InputError if
    there is no frame.
    """
    count, last = 0, FoundStructure("", None)  # type: ignore[arg-type]  # replaced by the first frame
    for found in _all_states(results, trajectory):
        if count % every == 0 or found.problem:
            yield found
        count, last = count + 1, found
    if count == 0:
        raise InputError(f"trajectory {trajectory.id} has no frames", "run with output.dump_every")
    if (count - 1) % every and not last.problem:
        yield last


def _all_states(results: Results, trajectory: Trajectory) -> Iterator[FoundStructure]:
    if trajectory.potential_id is None:
        yield from aimd_frames(results, trajectory)
        return
    elements = results.get(Potential, trajectory.potential_id).elements
    dumps = [file for file in trajectory.files if file.name.endswith(_DUMP)]
    damaged: list[FoundStructure] = []
    last = -1

    def told(step: int, error: DataError) -> None:
        # an unreadable file has no step: its gap begins after the last frame
        place = step if step >= 0 else last + 1
        damaged.append(_damaged(place, error.message.rpartition("/")[2]))

    for frame in _frames(results, dumps, told):
        yield from _taken(damaged)
        last = frame.step
        yield _checked(frame, elements, trajectory)
    yield from _taken(damaged)
    if trajectory.state == "finished" and trajectory.final_structure_id and last < trajectory.n_steps:
        atoms = load_atoms(results, trajectory.final_structure_id)
        yield FoundStructure(f"step {trajectory.n_steps}", atoms, step=trajectory.n_steps)


def _taken(damaged: list[FoundStructure]) -> list[FoundStructure]:
    taken = damaged[:]
    damaged.clear()
    return taken


def _checked(frame: DumpFrame, elements: list[str], trajectory: Trajectory) -> FoundStructure:
    name, problem = f"step {frame.step}", ""
    if len(frame.ids) != trajectory.n_atoms:
        problem = f"{len(frame.ids)} atoms instead of {trajectory.n_atoms}: another run's frame, or atoms were lost"
    elif frame.ids[0] != 1 or frame.ids[-1] != len(frame.ids) or (frame.ids[1:] == frame.ids[:-1]).any():
        problem = "the ids of its atoms are not 1 to their number"
    if not problem:
        try:
            return FoundStructure(name, frame.to_atoms(elements), step=frame.step)
        except DataError as error:
            problem = error.message
    return _damaged(frame.step, problem)


def _damaged(step: int, problem: str) -> FoundStructure:
    return FoundStructure(f"step {step}", Atoms(), step=step, problem=problem)


@contextmanager
def fetched_files(results: Results, refs: Sequence[ArtifactRef]) -> Iterator[list[Path]]:
    """Yield links to files, in folders of their own, since segments give theirs the same names."""
    with tempfile.TemporaryDirectory(prefix="gst_frames_") as name:
        folders = [Path(name) / str(place) for place in range(len(refs))]
        for folder in folders:
            folder.mkdir()
        yield [results.artifacts.fetch(ref, folder) for ref, folder in zip(refs, folders, strict=True)]


def _frames(results: Results, dumps: Sequence[ArtifactRef], damaged: Damaged | None = None) -> Iterator[DumpFrame]:
    """Yield the frames of all segments in order; a later file replaces earlier ones from its first step on."""
    with fetched_files(results, dumps) as paths:
        ignored = None if damaged is None else lambda step, error: None
        firsts = [next((frame.step for frame in iter_frames(path, damaged=ignored)), None) for path in paths]
        pieces: list[tuple[Path, int | None]] = []
        for place, path in enumerate(paths):
            later = [first for first in firsts[place + 1 :] if first is not None]
            pieces.append((path, min(later) - 1 if later else None))
        yield from iter_chain(pieces, damaged)


def aimd_frames(results: Results, trajectory: Trajectory) -> list[FoundStructure]:
    """Return frames of dynamics from first principles that are stored structures, each step once, without the start.

    Raises InputError if there are none.
    """
    by_id = {content_hash(atoms): (step, atoms) for step, atoms in _steps_of_cp2k(results, trajectory)}
    stored = results.database["structures"].find({"_id": {"$in": list(by_id)}}, {"_id": 1})
    # steps without converged electrons are not stored
    known = sorted(((*by_id[each["_id"]], each["_id"]) for each in stored), key=lambda each: each[0])
    if not known:
        raise InputError(
            f"trajectory {trajectory.id} has no frames that are stored", "import its files: gst structures import"
        )
    return [FoundStructure(f"step {step}", atoms, structure_id=id, step=step) for step, atoms, id in known]


def _steps_of_cp2k(results: Results, trajectory: Trajectory) -> Iterator[tuple[int, Atoms]]:
    """Yield steps and atoms that the segments of CP2K wrote and no later segment replaces."""
    number = -1
    with tempfile.TemporaryDirectory(prefix="gst_frames_") as name:
        for ref in trajectory.files:
            # each segment's files begin with its input
            number += ref.name == cp2k_md.INPUT
            folder = Path(name) / str(max(0, number))
            folder.mkdir(exist_ok=True)
            results.artifacts.fetch(ref, folder)
        for folder in sorted(Path(name).iterdir(), key=lambda each: int(each.name)):
            place = int(folder.name)
            last = trajectory.segments[place].last_step if place < len(trajectory.segments) else trajectory.n_steps
            path = folder / cp2k_md.POSITIONS
            for record in read_cp2k(path, ImportOptions()) if path.exists() else ():
                if record.atoms is not None and record.step and record.step <= last:
                    yield record.step, record.atoms
