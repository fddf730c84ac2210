"""The members of a dataset as columns: a million of them are a few hundred megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Words:
    """A column of few different words: `codes` point into `known`."""

    codes: np.ndarray
    known: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> Words:
        """The column of these words."""
        known: dict[str, int] = {}
        codes = np.fromiter((known.setdefault(word, len(known)) for word in words), np.int32)
        return cls(codes, tuple(known))

    def take(self, which: np.ndarray) -> Words:
        """These rows, by index or mask."""
        return Words(self.codes[which], self.known)

    def isin(self, words: Iterable[str]) -> np.ndarray:
        """Mask of the rows with one of these words."""
        wanted = set(words)
        return np.array([word in wanted for word in self.known], bool)[self.codes]

    def counts(self) -> dict[str, int]:
        """How many rows have each word, in the order of the words; words without a row are left out."""
        numbers = np.bincount(self.codes, minlength=len(self.known))
        return {word: int(n) for word, n in sorted(zip(self.known, numbers, strict=True)) if n}

    def list(self) -> list[str]:
        """The words, row by row."""
        return [self.known[code] for code in self.codes.tolist()]


@dataclass(frozen=True)
class Members:
    """Labels and what a dataset needs of them, one row each, in the order of the label ids.

    Attributes
    ----------
    label_ids, structure_ids
        Ids as bytes, shape (n,).
    groups
        Name of the group that a split must not part, as bytes, shape (n,).
    config_types, formulas
        Columns of words; formulas are reduced.
    n_atoms
        Shape (n,).
    energies_eV
        Energy per atom, eV, shape (n,).
    max_forces_eV_A
        Largest force on an atom, eV/Å, shape (n,); not a number where the label does not say.
    test
        Whether the member is in the test set, shape (n,).
    """

    label_ids: np.ndarray
    structure_ids: np.ndarray
    groups: np.ndarray
    config_types: Words
    formulas: Words
    n_atoms: np.ndarray
    energies_eV: np.ndarray
    max_forces_eV_A: np.ndarray
    test: np.ndarray

    def __len__(self) -> int:
        return len(self.label_ids)

    def take(self, which: np.ndarray) -> Members:
        """These rows, by index or mask."""
        columns: Any = ((column.name, getattr(self, column.name)) for column in fields(self))
        taken: dict[str, Any] = {
            name: values.take(which) if isinstance(values, Words) else values[which] for name, values in columns
        }
        return Members(**taken)

    def with_test(self, test: np.ndarray) -> Members:
        """The same members, split so."""
        return replace(self, test=test)

    def elements(self) -> list[str]:
        """All elements of the members, sorted."""
        from gst_jobflow.structures.composition import parse_formula

        return sorted({element for formula in self.formulas.counts() for element in parse_formula(formula)})

    def counts(self) -> dict[str, int]:
        """Members of train and test."""
        n_test = int(self.test.sum())
        return {"train": len(self) - n_test, "test": n_test}

    def counts_by_config_type(self) -> dict[str, dict[str, int]]:
        """{train,test}{TYPE: members}; types without a member are left out."""
        sides = {"train": ~self.test, "test": self.test}
        return {split: self.config_types.take(side).counts() for split, side in sides.items()}


def joined(parts: Sequence[Members]) -> Members:
    """One table of several, below each other; `parts` is not empty."""
    columns: dict[str, Any] = {}
    for column in fields(Members):
        values = [getattr(part, column.name) for part in parts]
        columns[column.name] = _joined_words(values) if isinstance(values[0], Words) else np.concatenate(values)
    return Members(**columns)


def _joined_words(parts: Sequence[Words]) -> Words:
    known: dict[str, int] = {}
    codes = []
    for part in parts:
        new = np.array([known.setdefault(word, len(known)) for word in part.known], np.int32)
        codes.append(new[part.codes] if len(part.codes) else part.codes)
    return Words(np.concatenate(codes), tuple(known))


def ids_of(texts: Iterable[str]) -> np.ndarray:
    """Ids as an array of bytes, as wide as the longest."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def texts_of(ids: np.ndarray) -> list[str]:
    """The ids of an array as texts."""
    return [id.decode() for id in ids.tolist()]


def places_in(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Row of each wanted id in the sorted `ids`, -1 where it is not there."""
    if not len(ids):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1)
