"""Version 1 to 2: a structure names the group that a split of train and test must not part."""

from __future__ import annotations

from typing import Any

COLLECTIONS = frozenset({"structures"})
"""Collections whose documents change; of all others only the version does."""


def upgrade(collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """Give a structure its group: its first parent or, without one, itself, as version 2 does for new ones."""
    if collection != "structures":
        return document
    parents = document.get("parents") or []
    return {**document, "group": parents[0] if parents else document["_id"]}


INDEXES = {
    "attempts": "job_uuid started_at, fw_id started_at, state host, -created_at",
    "cycles": "device state, potential_id, structure_id, barrier_structure_id, formula, -created_at",
    "datasets": "name, fingerprint, parent_id, -created_at",
    "labels": "fingerprint state config_type, state failure_class, job_uuid, energy_per_atom_eV, max_force_eV_A, "
    "-created_at",
    "potentials": "name, dataset_id, parent_id, job_uuid, rmse.test.force_meV_per_A, rmse.test.energy_meV_per_atom, "
    "-created_at",
    "structures": "formula config_type, config_type iteration, iteration, n_atoms, min_distance_A, density_g_cm3, "
    "parents, tags, -created_at",
    "studies": "kind state, name, members.id, -created_at",
    "trajectories": "potential_id, cycle_id operation_index, start_structure_id, final_structure_id, job_uuid, "
    "protocol, formula, state, -created_at",
}
"""Indexes, by their fields, that version 1 made without keeping a record of them; `-` is descending."""
