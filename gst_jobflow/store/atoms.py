"""Convert between ASE's Atoms and structure documents."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.documents import LARGE_STRUCTURE_ATOMS, ConfigType, Structure, pack, unpack
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.results import Results
from gst_jobflow.structures.document_fields import identified
from gst_jobflow.structures.plain_atoms import PlainAtoms


def structure_document(
    atoms: Atoms,
    config_type: ConfigType,
    *,
    source: dict[str, Any] | None = None,
    parents: list[str] | None = None,
    group: str | None = None,
    iteration: int = 0,
    tags: list[str] | None = None,
    artifacts: ArtifactStore | None = None,
) -> Structure:
    """Build the document of a structure; a large one stores its coordinates in `artifacts`.

    Splits into train and test keep structures of one `group` together; None: its first parent or, without one, itself.
    """
    values = structure_values(
        atoms,
        config_type,
        source=source,
        parents=parents,
        group=group,
        iteration=iteration,
        tags=tags,
        artifacts=artifacts,
    )
    return Structure(**values)


def store_family(
    results: Results,
    family: Iterable[tuple[Atoms, dict[str, Any]]],
    config_type: ConfigType,
    iteration: int,
    tags: list[str] | None,
) -> tuple[list[Structure], int, int]:
    """Store structures; return their documents, and how many of them are new and were known before."""
    documents = [
        structure_document(
            atoms, config_type, source=source, iteration=iteration, tags=tags, artifacts=results.artifacts
        )
        for atoms, source in family
    ]
    return documents, *results.add_many(documents)


def structure_values(
    atoms: Atoms | PlainAtoms,
    config_type: ConfigType,
    *,
    source: dict[str, Any] | None = None,
    parents: list[str] | None = None,
    group: str | None = None,
    iteration: int = 0,
    tags: list[str] | None = None,
    artifacts: ArtifactStore | None = None,
) -> dict[str, Any]:
    """Return the values of the document that `structure_document` builds; faster for many `PlainAtoms`."""
    id, fields = identified(atoms)
    plain = PlainAtoms.of(atoms)
    if len(atoms) > LARGE_STRUCTURE_ATOMS:
        if artifacts is None:
            raise ValueError(f"{len(atoms)} atoms need an artifact store")
        buffer = io.BytesIO()
        np.savez_compressed(buffer, numbers=atoms.numbers.astype("u1"), positions=atoms.positions.astype("<f8"))
        fields["atoms_artifact"] = artifacts.put_bytes(buffer.getvalue(), "atoms.npz").model_dump()
    else:
        fields["numbers"] = pack(atoms.numbers, "u1")
        # `identified` checked them
        fields["positions"] = pack(plain.positions, known_finite=True)
    return {
        "id": id,
        "group": group or (parents[0] if parents else id),
        "config_type": config_type,
        "iteration": iteration,
        "parents": parents or [],
        "pbc": plain.pbc,
        "cell_A": plain.cell_A,
        "source": source or {},
        "tags": tags or [],
        **fields,
    }


def atoms_of(structure: Structure, artifacts: ArtifactStore) -> Atoms:
    """Return the atoms of a structure document; `info` holds its id and config_type."""
    if structure.atoms_artifact is not None:
        with np.load(artifacts.path(structure.atoms_artifact)) as data:
            numbers, positions = data["numbers"], data["positions"]
    else:
        assert structure.numbers is not None and structure.positions is not None  # the model checks this
        numbers, positions = unpack(structure.numbers, dtype="u1"), unpack(structure.positions, 3)
    atoms = Atoms(numbers=numbers, positions=positions, cell=structure.cell_A, pbc=structure.pbc)
    atoms.info.update(structure_id=structure.id, config_type=structure.config_type)
    return atoms


def load_atoms(results: Results, structure_id: str) -> Atoms:
    """Read the atoms of a structure by its id."""
    return atoms_of(results.get(Structure, structure_id), results.artifacts)
