"""Files by content: stored once, whole, found again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gst_jobflow.documents import ArtifactRef
from gst_jobflow.errors import DataError
from gst_jobflow.store import ArtifactStore
from gst_jobflow.store.artifacts import sha256_of


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def test_the_same_bytes_are_one_file(store: ArtifactStore, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("same")
    first, second = store.put(tmp_path / "a.txt"), store.put(tmp_path / "b.txt")
    assert first.sha256 == second.sha256 and (first.name, second.name) == ("a.txt", "b.txt")
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.path(first)]
    assert sha256_of(store.path(first)) == (first.sha256, first.size_bytes)


def test_many_writers_of_one_file_leave_one_whole_file(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda _: store.put(tmp_path / "big"), range(16)))
    assert len({ref.sha256 for ref in refs}) == 1
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [refs[0].sha256[2:]]


def test_fetched_files_carry_their_name(store: ArtifactStore, tmp_path: Path) -> None:
    ref = store.put_bytes(b"potential", "gst.yace")
    for _ in range(2):
        fetched = store.fetch(ref, tmp_path)
        assert fetched.name == "gst.yace" and fetched.read_bytes() == b"potential"
        assert fetched.resolve().suffix == ".yace"


def test_a_missing_file_says_so(store: ArtifactStore) -> None:
    with pytest.raises(DataError, match=r"'gone\.txt'"):
        store.path(ArtifactRef(sha256="0" * 64, size_bytes=1, name="gone.txt"))
