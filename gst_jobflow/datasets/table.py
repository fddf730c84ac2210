"""The members of a dataset as columns: a million of them are a few hundred megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from gst_jobflow.structures.composition import parse_formula


@dataclass(frozen=True)
class CategoricalColumn:
    """A column with few distinct words: `codes` point into `known`."""

    codes: np.ndarray
    known: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str]) -> CategoricalColumn:
        """Make a column of words."""
        known: dict[str, int] = {}
        codes = np.fromiter((known.setdefault(word, len(known)) for word in words), np.int32)
        return cls(codes, tuple(known))

    @classmethod
    def joined(cls, parts: Sequence[CategoricalColumn]) -> CategoricalColumn:
        """Join columns below each other."""
        known: dict[str, int] = {}
        codes = [np.empty(0, np.int32)]
        for part in parts:
            new = np.array([known.setdefault(word, len(known)) for word in part.known], np.int32)
            codes += [new[part.codes]] if len(part.codes) else []
        return cls(np.concatenate(codes), tuple(known))

    def __getitem__(self, which: np.ndarray) -> CategoricalColumn:
        """Return rows by index or mask."""
        return CategoricalColumn(self.codes[which], self.known)

    def isin(self, words: Iterable[str]) -> np.ndarray:
        """Return the mask of the rows with one of these words."""
        wanted = set(words)
        return np.array([word in wanted for word in self.known], bool)[self.codes]

    def counts(self) -> dict[str, int]:
        """Count the rows of each word that has any, sorted by word."""
        numbers = np.bincount(self.codes, minlength=len(self.known))
        return {word: int(n) for word, n in sorted(zip(self.known, numbers, strict=True)) if n}

    def list(self) -> list[str]:
        """Return the word of each row."""
        return [self.known[code] for code in self.codes.tolist()]


@dataclass(frozen=True)
class Members:
    """Labels and what a dataset needs of them, one row each, in the order of the label ids; columns of shape (n,).

    Ids and groups are bytes; a split keeps each group on one side. Formulas are reduced. `energies_eV` are per atom.
    `max_forces_eV_A` are the largest on an atom; NaN if unknown. `test` marks the members of the test set.
    """

    label_ids: np.ndarray
    structure_ids: np.ndarray
    groups: np.ndarray
    config_types: CategoricalColumn
    formulas: CategoricalColumn
    n_atoms: np.ndarray
    energies_eV: np.ndarray
    max_forces_eV_A: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]]) -> Members:
        """Make a table of rows with the keys of a member file."""
        forces = [row["max_force_eV_A"] for row in rows]
        return cls(
            label_ids=ids_of(row["label_id"] for row in rows),
            structure_ids=ids_of(row["structure_id"] for row in rows),
            groups=ids_of(row["group"] for row in rows),
            config_types=CategoricalColumn.of(row["config_type"] for row in rows),
            formulas=CategoricalColumn.of(row["formula"] for row in rows),
            n_atoms=np.array([row["n_atoms"] for row in rows], np.int32),
            energies_eV=np.array([row["energy_per_atom_eV"] for row in rows], float),
            max_forces_eV_A=np.array([np.nan if force is None else force for force in forces], float),
            test=np.array([row["split"] == "test" for row in rows], bool),
        )

    @classmethod
    def of_labels(cls, labels: Iterable[dict[str, Any]]) -> Members:
        """Make a table of stored labels, all in train; each is the group of its structure."""
        return Members.of(
            [
                {
                    **label,
                    "label_id": label["_id"],
                    "group": label["structure_id"],
                    "energy_per_atom_eV": label["energy_eV"] / label["n_atoms"],
                    "split": "train",
                }
                for label in labels
            ]
        )

    @classmethod
    def joined(cls, parts: Sequence[Members]) -> Members:
        """Join tables below each other; `parts` is not empty."""
        columns: dict[str, Any] = {}
        for column in fields(cls):
            values = [getattr(part, column.name) for part in parts]
            join: Any = CategoricalColumn.joined if isinstance(values[0], CategoricalColumn) else np.concatenate
            columns[column.name] = join(values)
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.label_ids)

    def take(self, which: np.ndarray) -> Self:
        """Return rows by index or mask."""
        return replace(self, **{column.name: getattr(self, column.name)[which] for column in fields(self)})

    def with_test(self, test: np.ndarray) -> Members:
        """Return the members with another test set, a mask of shape (n,)."""
        return replace(self, test=test)

    def elements(self) -> list[str]:
        """Return all elements, sorted."""
        return sorted({element for formula in self.formulas.counts() for element in parse_formula(formula)})

    def counts(self) -> dict[str, int]:
        """Count the members of train and test."""
        n_test = int(self.test.sum())
        return {"train": len(self) - n_test, "test": n_test}

    def counts_by_config_type(self) -> dict[str, dict[str, int]]:
        """Count the members as {train,test}{TYPE: members}; types without a member are left out."""
        sides = {"train": ~self.test, "test": self.test}
        return {split: self.config_types[side].counts() for split, side in sides.items()}


def ids_of(texts: Iterable[str]) -> np.ndarray:
    """Return ids as an array of bytes, as wide as the longest."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def texts_of(ids: np.ndarray) -> list[str]:
    """Return the ids of an array as texts."""
    return [id.decode() for id in ids.tolist()]


def places_in(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of each wanted id in the sorted `ids`, -1 if absent."""
    if not len(ids):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[places] == wanted, places, -1)
