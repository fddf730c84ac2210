"""Which reader reads which file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.importing.ase_db import read_ase_db
from gst_jobflow.importing.cp2k import check_cp2k, read_cp2k
from gst_jobflow.importing.extxyz import read_extxyz
from gst_jobflow.importing.files import first_bytes, plain_name
from gst_jobflow.importing.lammps import check_data, check_dump, read_data_file, read_dump
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcar import read_outcar
from gst_jobflow.importing.pacemaker import read_pacemaker
from gst_jobflow.importing.records import Record
from gst_jobflow.importing.vasp import read_vasprun

Reader = Callable[[Path, ImportOptions], Iterator[Record]]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Parameters
    ----------
    content
        What stands in the first bytes, where that tells it from all others.
    name
        What the name is like, for files whose content does not tell; the ending of a compression is not part of it.
    read
        Yields the records.
    check
        Raises InputError for a file that cannot be read with these options, before anything is read.
    """

    content: str
    name: str
    read: Reader
    check: Callable[[Path, ImportOptions], None] | None = None


FORMATS: dict[str, Format] = {
    "vasprun": Format(r"\A\s*<\?xml[^>]*>\s*<modeling>", r"(?i).*vasprun.*|.*\.xml", read_vasprun),
    "outcar": Format(r"\A\s*vasp\.\d|\A.{0,400}executed on .*date \d", r"OUTCAR.*|.*[._-]OUTCAR", read_outcar),
    "cp2k": Format(
        r"\A\s*\d+\s*\n\s*i =\s*\d+,.*E =|^ CP2K\| version string",
        r".*-pos-\d+\.xyz|.*-frc-\d+\.xyz",
        read_cp2k,
        check_cp2k,
    ),
    "lammps-dump": Format(
        r"\A\s*ITEM: (TIMESTEP|UNITS|TIME)", r".*\.lammpstrj|.*\.dump|dump\..*", read_dump, check_dump
    ),
    "lammps-data": Format(
        r"\A.*\n(\s*\n)*\s*\d+\s+atoms\b", r".*\.lmp|.*\.data|.*\.lammps-data|data\..*", read_data_file, check_data
    ),
    "ase-db": Format(r"\ASQLite format 3", r".*\.db", lambda file, options: read_ase_db(file)),
    "pacemaker": Format(r"\A\x80[\x02-\x05]", r".*\.(pckl|pkl|pickle)(\.gzip)?", read_pacemaker),
    "extxyz": Format(
        r"\A\s*\d+\s*\n.*(Lattice|Properties)=", r".*\.(xyz|extxyz)", lambda file, options: read_extxyz(file)
    ),
}


def format_of(file: Path, options: ImportOptions | None = None) -> str:
    """Return the name of a file's format: the one asked for, else what its first bytes say, else its name.

    Raises
    ------
    InputError
        The file is not there or of a kind that is not known.
    """
    if not file.is_file():
        raise InputError(f"{file} is not a file", "name the files that hold the structures")
    if options is not None and options.format is not None:
        return known_format(options.format)
    head = first_bytes(file).decode("latin-1")
    for name, kind in FORMATS.items():
        if re.search(kind.content, head, re.MULTILINE):
            return name
    plain = plain_name(file)
    for name, kind in FORMATS.items():
        if re.fullmatch(kind.name, plain):
            return name
    raise InputError(f"{file}: a kind of file that is not known", f"--format {'|'.join(FORMATS)} says what it is")


def known_format(name: str) -> str:
    """Return `name` if it is one of the formats, else raise InputError."""
    if name not in FORMATS:
        raise InputError(f"--format {name} is not known", nearest(name, FORMATS))
    return name


def read_records(file: Path, options: ImportOptions | None = None) -> Iterator[Record]:
    """Stream the records of a file; a damaged end is the last record, with its problem.

    Raises
    ------
    InputError
        The file is not there or of a kind that is not known.
    """
    options = options or ImportOptions()
    return FORMATS[format_of(file, options)].read(file, options)


def check_files(files: list[Path], options: ImportOptions | None = None) -> None:
    """Raise InputError for a file that is not there or cannot be read so, before anything of the others is read."""
    options = options or ImportOptions()
    for file in files:
        check = FORMATS[format_of(file, options)].check
        if check is not None:
            check(file, options)
