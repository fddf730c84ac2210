"""Keep what was built last, so that many readers cost no more than one."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    until: float = 0.0


class Memory:
    """Values by key, each built by one thread while the others wait for it; the `most` last wanted are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, build: Callable[[], Any], keep_s: Callable[[Any], float]) -> Any:
        """Return the value of a key, built anew if it is older than `keep_s` of it; an error is not kept."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        with entry.lock:
            if time.monotonic() >= entry.until:
                entry.value = build()
                entry.until = time.monotonic() + keep_s(entry.value)
            return entry.value
