"""Records of ASE databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gst_jobflow.importing.records import Record


def read_ase_db(file: Path) -> Iterator[Record]:
    from ase.db import connect

    index = 0
    try:
        _check_is_ase(file)
        for row in connect(file, type="db").select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            yield Record(file, index, atoms=atoms)
            index += 1
    except (sqlite3.DatabaseError, OSError, ValueError, KeyError) as err:
        yield Record(file, index, problem=f"the database cannot be read on: {err}")


def _check_is_ase(file: Path) -> None:
    """Raise ValueError for another program's SQLite file: ASE would write its tables into it on reading."""
    database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        if not database.execute("select 1 from sqlite_master where name = 'systems'").fetchone():
            raise ValueError("it is an SQLite file, but not of ASE (no table 'systems')")
    finally:
        database.close()
