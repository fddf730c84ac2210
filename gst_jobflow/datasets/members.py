"""Read and write the member file of a dataset: gzipped JSON lines, in the order of the label ids."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.groups import group_names
from gst_jobflow.datasets.table import Members, texts_of
from gst_jobflow.documents import ArtifactRef, Dataset, Label, Structure
from gst_jobflow.store import ArtifactStore, Results

FILE_NAME = "members.jsonl.gz"
SPLITS = ("train", "test")
_ROWS = 10_000


def write_members(artifacts: ArtifactStore, members: Members) -> tuple[ArtifactRef, str]:
    """Store the member file; return it, and a hash of labels, config types and sides."""
    # one digest a column does not depend on the number of rows written at a time
    digests = [hashlib.sha256() for _ in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE_NAME
        # without name and time in the header, the same members give the same file; level 1 is five times as fast
        with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
            for start in range(0, len(members), _ROWS):
                part = members.take(np.arange(start, min(start + _ROWS, len(members))))
                file.write("".join(_lines(part)).encode())
                for digest, column in zip(digests, _identity(part), strict=True):
                    digest.update(column)
        return artifacts.put(path, FILE_NAME), "".join(digest.hexdigest() for digest in digests)


def _identity(part: Members) -> tuple[bytes, bytes, bytes]:
    """Return what identifies a dataset: labels (which name their structures), config types, sides."""
    kinds = "".join(f"{word}\n" for word in part.config_types.list())
    return b"".join(id + b"\n" for id in part.label_ids.tolist()), kinds.encode(), part.test.astype("u1").tobytes()


def _lines(part: Members) -> Iterator[str]:
    columns = zip(
        _quoted(texts_of(part.label_ids)),
        _quoted(texts_of(part.structure_ids)),
        _quoted(part.config_types.list()),
        np.where(part.test, "test", "train").tolist(),
        _quoted(texts_of(part.groups)),
        _quoted(part.formulas.list()),
        part.n_atoms.tolist(),
        part.energies_eV.tolist(),
        ["null" if force != force else f"{force:.4f}" for force in part.max_forces_eV_A.tolist()],
        strict=True,
    )
    for label, structure, kind, split, group, formula, n_atoms, energy, force in columns:
        yield (
            f'{{"label_id":{label},"structure_id":{structure},"config_type":{kind},"split":"{split}","group":{group},'
            f'"formula":{formula},"n_atoms":{n_atoms},"energy_per_atom_eV":{energy:.6f},"max_force_eV_A":{force}}}\n'
        )


def _quoted(words: list[str]) -> list[str]:
    """Return words as JSON; plain ones are just quoted, which is ten times as fast."""
    if re.fullmatch(r"[\w\-]*", "".join(words), re.ASCII):
        return [f'"{word}"' for word in words]
    return [json.dumps(word) for word in words]


def read_members(artifacts: ArtifactStore, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Stream the members of a dataset: label_id, structure_id, config_type, split.

    All but the oldest files also hold group, formula, n_atoms, energy_per_atom_eV and max_force_eV_A. Raises DataError
    if the file is missing, damaged or not in the order of the label ids.
    """
    last, number = "", 0
    path = artifacts.path(dataset.members)
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                member = json.loads(line)
                if member["label_id"] <= last:
                    raise DataError(f"the members of dataset {dataset.id} are not in order", "gst db check")
                last, number = member["label_id"], number + 1
                yield member
        if number != dataset.n_members:
            raise ValueError(f"{number} members instead of {dataset.n_members}")
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as err:
        raise DataError(
            f"the member file of dataset {dataset.id} is damaged: {err}", "restore it from a backup; gst db check"
        ) from err


def load_members(results: Results, dataset: Dataset) -> Members:
    """Return all members of a dataset as columns; what an old file lacks is read from the database.

    Raises as `read_members`, and DataError if a member is no longer in the database.
    """
    rows = read_members(results.artifacts, dataset)
    parts, old = [], False
    for part in batches(rows, _ROWS):
        if "group" not in part[0]:
            part, old = _completed(results, part), True
        parts.append(Members.of(part))
    members = Members.joined(parts)
    if old:
        members = replace(members, groups=group_names(results.database, members.structure_ids, members.groups))
    return members


def _completed(results: Results, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to rows of an old file what they lack."""
    labels = results.get_many(Label, [row["label_id"] for row in rows])
    structures = results.get_many(Structure, [row["structure_id"] for row in rows])
    return [
        row
        | {
            "group": structure.group,
            "formula": label.formula,
            "n_atoms": label.n_atoms,
            "energy_per_atom_eV": _energy(label) / label.n_atoms,
            "max_force_eV_A": label.max_force_eV_A,
        }
        for row, label, structure in zip(rows, labels, structures, strict=True)
    ]


def _energy(label: Label) -> float:
    if label.energy_eV is None:
        raise DataError(f"label {label.id} is {label.state} and has no energy", "make the dataset again")
    return label.energy_eV
