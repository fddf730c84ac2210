"""Structure documents of frames that were chosen, with their trajectory's start as parent."""

from __future__ import annotations

from typing import Any

from ase import Atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import ConfigType, Structure, Trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document

Origin = tuple[Structure, "ConfigType"]
"""Parent of new structures, whose group they share so that no split parts them, and their config_type."""


def origin_of(results: Results, trajectory: Trajectory, config_type: ConfigType | None = None) -> Origin:
    """Return the start of a trajectory, and the config_type of its frames: by default that of its last structure.

    Raises DataError if the trajectory does not say where it started.
    """
    if trajectory.start_structure_id is None:
        raise DataError(
            f"trajectory {trajectory.id} does not say where it started", "gst structures import its frames from a file"
        )
    start, last = results.get(Structure, trajectory.start_structure_id), trajectory.final_structure_id
    default = results.get(Structure, last).config_type if last else start.config_type
    return start, config_type or default


def derived(
    results: Results, atoms: Atoms, origin: Origin, source: dict[str, Any], tags: list[str], iteration: int
) -> Structure:
    """Return the document of a structure that was made from `origin`."""
    parent, config_type = origin
    return structure_document(
        atoms,
        config_type,
        source=source,
        parents=[parent.id],
        group=parent.group,
        iteration=iteration,
        tags=tags,
        artifacts=results.artifacts,
    )
