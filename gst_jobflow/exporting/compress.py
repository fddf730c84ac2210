"""Gzip in a thread of its own, with the same bytes for the same data."""

from __future__ import annotations

import io
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any

_CHUNK_BYTES = 1 << 20
_WAITING_CHUNKS = 8
_GZIP_HEADER = 31  # wbits: zlib writes the gzip header, without name and time


class ThreadedGzip(io.RawIOBase):
    """A writer that compresses beside the program that makes the data, since zlib releases the interpreter.

    zlib gets chunks of one size, so the bytes depend on the data only, not on how it was written. They go to `raw`,
    which stays open. The level is from 1 (fast) to 9 (small). If the data is packed floating-point `numbers`, their
    digits do not repeat: using only runs and frequencies of bytes is twice as fast as level 1, and the result a tenth
    larger.
    """

    def __init__(self, raw: IO[bytes], level: int, *, numbers: bool = False) -> None:
        super().__init__()
        strategy = zlib.Z_RLE if numbers else zlib.Z_DEFAULT_STRATEGY
        self._raw = raw
        self._packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP_HEADER, zlib.DEF_MEM_LEVEL, strategy)
        self._buffer = bytearray()
        self._thread = ThreadPoolExecutor(1, "gzip")
        self._waiting: deque[Future[None]] = deque()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Take bytes; an error of the thread (a full disk) is raised here or by `close`."""
        self._buffer += data
        whole = len(self._buffer) // _CHUNK_BYTES * _CHUNK_BYTES
        for start in range(0, whole, _CHUNK_BYTES):
            self._compress(bytes(memoryview(self._buffer)[start : start + _CHUNK_BYTES]))
        del self._buffer[:whole]
        return len(data)

    def close(self) -> None:
        """Write the rest; everything is compressed when this returns."""
        if self.closed:
            return
        super().close()
        try:
            self._compress(bytes(self._buffer), last=True)
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _compress(self, chunk: bytes, last: bool = False) -> None:
        def work() -> None:
            self._raw.write(self._packer.compress(chunk) + (self._packer.flush() if last else b""))

        self._waiting.append(self._thread.submit(work))
        if len(self._waiting) > _WAITING_CHUNKS:
            self._waiting.popleft().result()
