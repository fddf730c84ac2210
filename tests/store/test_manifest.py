"""Manifests: what was appended is read again, whatever a kill or a full disk left in between."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gst_jobflow.store import manifest
from tests.documents.test_documents import label, structure

ENTRIES = [manifest.Insert(structure()), manifest.Insert(label()), manifest.Update("studies", "s", {"state": "x"})]


def texts(file: Path) -> list[str]:
    return [line.entry.to_json() for line in manifest.lines(file)]


def test_entries_come_back(tmp_path: Path) -> None:
    for entry in ENTRIES:
        manifest.append(tmp_path, entry)
    assert texts(tmp_path / manifest.MANIFEST_NAME) == [entry.to_json() for entry in ENTRIES]


@given(cut=st.integers(0, 5000))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_entry_after_a_torn_one_is_whole(tmp_path: Path, cut: int) -> None:
    file = tmp_path / manifest.MANIFEST_NAME
    file.unlink(missing_ok=True)
    manifest.append(tmp_path, ENTRIES[0])
    manifest.append(tmp_path, ENTRIES[1])
    content = file.read_bytes()
    file.write_bytes(content[: cut % len(content)])
    whole = content[: cut % len(content)].count(b"\n")
    manifest.append(tmp_path, ENTRIES[2])
    assert texts(file) == [ENTRIES[index].to_json() for index in (*range(whole), 2)]


def test_an_entry_that_is_durable_brings_earlier_ones_and_a_new_name_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink()))
    file = tmp_path / manifest.MANIFEST_NAME
    manifest.append(tmp_path, ENTRIES[0], durable=False)
    assert synced == []
    manifest.append(tmp_path, ENTRIES[1])
    assert synced == [file, tmp_path]
    manifest.append(tmp_path, ENTRIES[2])
    assert synced == [file, tmp_path, file]
    assert len(texts(file)) == 3


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: manifest.append(tmp_path, ENTRIES[number % 3]), range(60)))
    assert len(texts(tmp_path / manifest.MANIFEST_NAME)) == 60


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "{}", '{"insert":"labels"}', '{"insert":"labels","document":{}}', '{"update":"labels"}']
)
def test_what_is_no_entry_says_where(tmp_path: Path, text: str) -> None:
    file = tmp_path / manifest.MANIFEST_NAME
    file.write_text(ENTRIES[0].to_json() + f"\n{text}\n" + ENTRIES[1].to_json() + "\n")
    first, bad, last = manifest.lines(file)
    assert bad.entry is None and bad.problem.startswith(f"{file}:2 is not a manifest entry: ")
    assert first.entry is not None and last.entry is not None and last.number == 3
