"""The same data gives the same bytes however it was written, and errors of the thread reach the writer."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gst_jobflow.exporting.compress import ThreadedGzip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 700_000), max_size=8), st.booleans())
def test_bytes_depend_on_the_data_only(sizes: list[int], numbers: bool) -> None:
    data = bytes(range(251)) * (sum(sizes) // 251 + 1)
    whole, parts = io.BytesIO(), io.BytesIO()
    with ThreadedGzip(whole, 1, numbers=numbers) as packed:
        packed.write(data[: sum(sizes)])
    with ThreadedGzip(parts, 1, numbers=numbers) as packed:
        start = 0
        for size in sizes:
            assert packed.write(memoryview(data)[start : start + size]) == size
            start += size
    assert whole.getvalue() == parts.getvalue() and gzip.decompress(whole.getvalue()) == data[: sum(sizes)]


def test_a_full_disk_is_told() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), ThreadedGzip(Full(), 1) as packed:
        for _ in range(40):
            packed.write(bytes(1 << 20))
