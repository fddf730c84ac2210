"""Packed files of every kind are read as what is in them, by every reader that takes a stream."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from pathlib import Path

import pytest

from gst_jobflow.importing.files import CANNOT_READ_ON, first_bytes, is_packed, open_bytes, open_text, plain_name
from gst_jobflow.importing.formats import SourceFile, read_records, source_files
from gst_jobflow.importing.options import ImportOptions
from tests.importing.test_lammps import data_text, dump_text, structure

DATA = Path(__file__).with_name("data")
OPTIONS = ImportOptions(default_config_type="aimd")
PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pytest.importorskip("backports.zstd").compress(content),
}


@pytest.mark.parametrize("ending", PACKERS)
def test_a_packed_file_is_read_as_what_is_in_it(tmp_path, ending):
    (tmp_path / "data.gete").write_text(data_text(structure(), comments=True))
    (tmp_path / "run.dump").write_text(dump_text(structure()))
    pickled = gzip.decompress((DATA / "pacemaker" / "calculators.pckl.gzip").read_bytes())
    (tmp_path / "calc.pckl").write_bytes(pickled)
    for source, kind, number in (
        (DATA / "vasp" / "static.xml", "vasprun", 1),
        (DATA / "vasp" / "OUTCAR.nelm", "outcar", 3),
        (DATA / "extxyz" / "nep.xyz", "extxyz", 2),
        (tmp_path / "data.gete", "lammps-data", 1),
        (tmp_path / "run.dump", "lammps-dump", 1),
        (tmp_path / "calc.pckl", "pacemaker", 2),
    ):
        file = tmp_path / (source.name + ending)
        file.write_bytes(PACKERS[ending](source.read_bytes()))
        assert plain_name(file) == source.name and is_packed(file) and not is_packed(source)
        assert SourceFile.of(file).format == kind
        whole = list(read_records(source, OPTIONS))
        packed = list(read_records(file, OPTIONS))
        assert [record.problem for record in packed] == [record.problem for record in whole]
        assert len(packed) == number and packed[0].atoms == whole[0].atoms


@pytest.mark.parametrize("ending", PACKERS)
def test_the_packed_files_of_a_run_find_each_other(tmp_path, ending):
    for file in (DATA / "cp2k").glob("gete*"):
        (tmp_path / (file.name + ending)).write_bytes(PACKERS[ending](file.read_bytes()))
    for name in ("gete-pos-1.xyz", "gete.out"):
        source_files([tmp_path / (name + ending)], OPTIONS)
        records = list(read_records(tmp_path / (name + ending), OPTIONS))
        assert len(records) == 5 and records[0].method is not None and not any(record.problem for record in records)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_cut_packed_file_gives_what_is_before_the_cut(tmp_path, ending):
    text = "".join(f"line {number} {number**3}\n" for number in range(200_000)).encode()
    packed = PACKERS[ending](text)
    (tmp_path / "lines").write_bytes(packed[: len(packed) // 2])
    assert first_bytes(tmp_path / "lines", 8) == b"line 0 0"
    read = []
    with pytest.raises(CANNOT_READ_ON), open_text(tmp_path / "lines") as stream:
        read.extend(stream)
    with pytest.raises(CANNOT_READ_ON), open_bytes(tmp_path / "lines") as stream:
        stream.read()


def test_a_plain_file_is_plain_whatever_its_name(tmp_path):
    shutil.copy(DATA / "vasp" / "static.xml", tmp_path / "static.xml.bz2")
    assert not next(read_records(tmp_path / "static.xml.bz2", OPTIONS)).problem
