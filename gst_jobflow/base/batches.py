"""Split streams into lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def batches_by_weight(items: Iterable[T], size: int, weigh: Callable[[T], int], heaviest: int) -> Iterator[list[T]]:
    """Yield lists of at most `size` items that weigh at most `heaviest` together, or of one heavier item."""
    batch: list[T] = []
    total = 0
    for item in items:
        weight = weigh(item)
        if batch and (len(batch) >= size or total + weight > heaviest):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += weight
    if batch:
        yield batch
