"""Read ASE databases (SQLite)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.labels import quantity_of
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record, last_record_says_why


@last_record_says_why
def read_ase_db(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every row with its calculator's results and key-value pairs, and labels among its data."""
    from ase.db import connect

    try:
        _check_is_ase(file)
        for index, row in enumerate(connect(file, type="db").select()):
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info.update({name: value for name, value in row.data.items() if quantity_of(name)})
            yield Record(file, index, atoms)
    except (sqlite3.DatabaseError, OSError, ValueError, KeyError) as err:
        raise DataError(f"reading the database stopped: {err}") from err


def _check_is_ase(file: Path) -> None:
    """Raise ValueError for another program's SQLite file: ASE would write its tables into it on reading."""
    database = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        if not database.execute("select 1 from sqlite_master where name = 'systems'").fetchone():
            raise ValueError("it is an SQLite file, but not of ASE (no table 'systems')")
    finally:
        database.close()
