"""Tell the format of a file and choose its reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.importing.ase_db import read_ase_db
from gst_jobflow.importing.cp2k import check_cp2k, read_cp2k
from gst_jobflow.importing.extxyz import read_extxyz
from gst_jobflow.importing.files import first_bytes, plain_name
from gst_jobflow.importing.lammps import check_dump, check_lammps_data, read_dump, read_lammps_data
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.pacemaker import read_pacemaker
from gst_jobflow.importing.records import Record
from gst_jobflow.importing.vasp import read_vasprun

Reader = Callable[[Path, ImportOptions], Iterator[Record]]


def _read_outcar(path: Path, options: ImportOptions) -> Iterator[Record]:
    # the parsers of ASE load scipy, which would double the start of an import and of its workers
    from gst_jobflow.importing.outcar import read_outcar

    return read_outcar(path, options)


@dataclass(frozen=True)
class Format:
    """A file format.

    Parameters
    ----------
    content
        Pattern of the first bytes, if they tell it from all others.
    name
        Pattern of the name without the ending of a compression, for files whose content does not tell.
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
    "outcar": Format(r"\A\s*vasp\.\d|\A.{0,400}executed on .*date \d", r"OUTCAR.*|.*[._-]OUTCAR", _read_outcar),
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
        r"\A.*\n(\s*\n)*\s*\d+\s+atoms\b",
        r".*\.lmp|.*\.data|.*\.lammps-data|data\..*",
        read_lammps_data,
        check_lammps_data,
    ),
    "ase-db": Format(r"\ASQLite format 3", r".*\.db", read_ase_db),
    "pacemaker": Format(r"\A\x80[\x02-\x05]", r".*\.(pckl|pkl|pickle)(\.gzip)?", read_pacemaker),
    "extxyz": Format(r"\A\s*\d+\s*\n.*(Lattice|Properties)=", r".*\.(xyz|extxyz)", read_extxyz),
}


@dataclass(frozen=True)
class SourceFile:
    """A file whose format is known."""

    path: Path
    format: str

    @classmethod
    def of(cls, path: Path, options: ImportOptions | None = None) -> SourceFile:
        """Tell the format of a file: the one that the options name, else by its first bytes, else by its name.

        Raises
        ------
        InputError
            The file is not there or of a kind that is not known.
        """
        if not path.is_file():
            raise InputError(f"{path} is not a file", "name the files that hold the structures")
        if options is not None and options.format is not None:
            return cls(path, known_format(options.format))
        head = first_bytes(path).decode("latin-1")
        for name, kind in FORMATS.items():
            if re.search(kind.content, head, re.MULTILINE):
                return cls(path, name)
        plain = plain_name(path)
        for name, kind in FORMATS.items():
            if re.fullmatch(kind.name, plain):
                return cls(path, name)
        raise InputError(f"{path}: unknown kind of file", f"name its format: --format {'|'.join(FORMATS)}")

    def records(self, options: ImportOptions) -> Iterator[Record]:
        """Stream the records; a damaged end is the last record, with its problem."""
        return FORMATS[self.format].read(self.path, options)


def known_format(name: str) -> str:
    """Return `name` if it is one of the formats, else raise InputError."""
    if name not in FORMATS:
        raise InputError(f"--format {name} is not known", nearest(name, FORMATS))
    return name


def source_files(paths: Iterable[Path], options: ImportOptions) -> list[SourceFile]:
    """Tell the format of every file and check that it can be read, before any is read.

    Raises
    ------
    InputError
        A file is not there, of an unknown kind, or cannot be read with these options.
    """
    files = [SourceFile.of(path, options) for path in paths]
    for file in files:
        if check := FORMATS[file.format].check:
            check(file.path, options)
    return files


def read_records(path: Path, options: ImportOptions | None = None) -> Iterator[Record]:
    """Stream the records of one file.

    Raises
    ------
    InputError
        The file is not there or of a kind that is not known.
    """
    options = options or ImportOptions()
    return SourceFile.of(path, options).records(options)
