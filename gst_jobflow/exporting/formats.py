"""Export a dataset as a file: extended XYZ for people and other codes, a gzipped dataframe for pacemaker."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError, InputError, check_known, nearest
from gst_jobflow.datasets.members import SPLITS
from gst_jobflow.datasets.read import MemberRow, stream_rows
from gst_jobflow.documents import Dataset
from gst_jobflow.exporting.compress import ThreadedGzip
from gst_jobflow.exporting.targets import check_target, move_to_target, part_of
from gst_jobflow.fitting.frame import to_dataframe
from gst_jobflow.store import Results

FORMATS = ("extxyz", "pckl.gzip")
# coordinates and forces hardly compress: higher levels take several times as long to save a few per cent
_GZIP_LEVEL = 1
_ROWS = 2000
_BARE = re.compile(r"[A-Za-z0-9_.:+-]+")

Progress = Callable[[int, int], None]


def dataset_format(file: Path, form: str | None) -> str:
    """Return the requested format, or the one that the file name implies.

    Raises InputError if neither names one, or they contradict each other.
    """
    endings = {"pckl.gzip": (".pckl.gzip",), "extxyz": (".extxyz", ".xyz", ".extxyz.gz", ".xyz.gz")}
    if form is None:
        for name, known in endings.items():
            if file.name.endswith(known):
                return name
        raise InputError(f"the name {file.name} says no format", "add --format extxyz, pckl.gzip or bundle")
    if form not in FORMATS:
        raise InputError(f"no format '{form}'", nearest(form, (*FORMATS, "bundle")))
    if form == "pckl.gzip" and not file.name.endswith(".pckl.gzip"):
        raise InputError(f"{file.name}: pacemaker needs the ending .pckl.gzip", "rename it")
    return form


def export_dataset(
    results: Results,
    dataset: Dataset,
    target: Path,
    *,
    form: str | None = None,
    split: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the labelled structures of a dataset to one file, completely or not at all; return their number.

    Parameters
    ----------
    form
        `extxyz` or `pckl.gzip`; None: by the name of the file.
    split
        `train` or `test`; None: both.
    force
        Replace an existing file.
    progress
        Called with how many are done and how many there are.

    Raises
    ------
    InputError
        The format, split or target is invalid.
    DataError
        A label or structure is missing or incomplete; nothing is written.
    """
    form = dataset_format(target, form)
    check_known("no split", split, SPLITS)
    check_target(target, force)
    total = dataset.n_members if split is None else dataset.counts.get(split, 0)
    if total == 0:
        raise InputError(f"dataset {dataset.id} has no members in '{split}'", f"gst export dataset {dataset.id}")
    rows = stream_rows(results, dataset, split, (lambda done: progress(done, total)) if progress else None)
    with part_of(target) as scratch:
        part = scratch / target.name
        written = _WRITERS[form](rows, dataset, part)
        if written != total:
            raise DataError(
                f"dataset {dataset.id} counts {total} members, its member file has {written}", "gst db check --deep"
            )
        move_to_target(part, target)
    return written


def _write_extxyz(rows: Iterable[MemberRow], dataset: Dataset, file: Path) -> int:
    written = 0
    with file.open("wb") as raw, ThreadedGzip(raw, _GZIP_LEVEL) if file.suffix == ".gz" else nullcontext(raw) as stream:
        for row in rows:
            stream.write(extxyz_frame(row, dataset.fingerprint).encode())
            written += 1
    return written


def extxyz_frame(row: MemberRow, fingerprint: str) -> str:
    """Format one frame as in GST-GAP-22, with the shortest digits that read back to the same double.

    It has `virial` (eV, -stress × volume, as in QUIP and GST-GAP-22) and `stress` (eV/Å³, ASE's sign), since a stress
    computed from a virial would differ in its last digit.
    """
    info: dict[str, Any] = {
        "Lattice": _numbers(row.cell_A.ravel().tolist()),
        "Properties": "species:S:1:pos:R:3:forces:R:3",
        "config_type": row.config_type,
        "energy": repr(row.energy_eV),
        "label_id": row.label_id,
        "structure_id": row.structure_id,
        "fingerprint": fingerprint,
        "split": row.split,
        "group": row.group,
        "iteration": str(row.iteration),
    }
    if row.stress_eV_A3 is not None:
        xx, yy, zz, yz, xz, xy = (float(value) for value in row.stress_eV_A3)
        stress = [xx, xy, xz, xy, yy, yz, xz, yz, zz]
        volume_A3 = abs(float(np.linalg.det(row.cell_A)))
        info["virial"] = _numbers([-value * volume_A3 + 0.0 for value in stress])
        info["stress"] = _numbers(stress)
    if row.source.get("sub_config"):
        info["sub_config"] = str(row.source["sub_config"])
    info["pbc"] = " ".join("T" if periodic else "F" for periodic in row.pbc)
    lines = [str(len(row.numbers)), " ".join(f"{key}={_quoted(text)}" for key, text in info.items())]
    columns = np.concatenate((row.positions_A, row.forces_eV_A), axis=1).tolist()
    for number, (x, y, z, fx, fy, fz) in zip(row.numbers.tolist(), columns, strict=True):
        lines.append(f"{chemical_symbols[number]} {x!r} {y!r} {z!r} {fx!r} {fy!r} {fz!r}")
    return "\n".join(lines) + "\n"


def _numbers(values: list[float]) -> str:
    return " ".join(map(repr, values))


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _write_pckl(rows: Iterable[MemberRow], dataset: Dataset, file: Path) -> int:
    import pandas as pd

    # built in pieces, with one array for all structures of the same atoms in the same order: both save memory
    pieces: list[pd.DataFrame] = []
    numbers: dict[bytes, np.ndarray] = {}
    for batch in batches(rows, _ROWS):
        pieces.append(to_dataframe([row.labelled(dataset) for row in batch], dataset.reference_energies_eV))
        for atoms in pieces[-1]["ase_atoms"]:
            atoms.arrays["numbers"] = numbers.setdefault(atoms.numbers.tobytes(), atoms.numbers)
    frame = pd.concat(pieces, ignore_index=True)
    if not frame["name"].is_unique:
        raise DataError(f"a label is in dataset {dataset.id} more than once", "make the dataset again")
    with file.open("wb") as raw, ThreadedGzip(raw, _GZIP_LEVEL, numbers=True) as packed:
        pickler = pickle.Pickler(packed, protocol=4)
        # it would keep a copy of every array, in case that one comes twice
        pickler.fast = True
        pickler.dump(frame)
    return len(frame)


_WRITERS: dict[str, Callable[[Iterable[MemberRow], Dataset, Path], int]] = {
    "extxyz": _write_extxyz,
    "pckl.gzip": _write_pckl,
}
