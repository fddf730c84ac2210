"""Derive datasets from a dataset: other splits, other weights, fewer random structures. The original stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.create import SPLIT_RULE, CreatedDataset, checked_weights, store_dataset
from gst_jobflow.datasets.fractions import thin
from gst_jobflow.datasets.members import load_members
from gst_jobflow.datasets.select import matching
from gst_jobflow.datasets.spec import RANDOM_TYPES, positive_weights
from gst_jobflow.datasets.split import SplitSpec, draw_split, folds, given_split
from gst_jobflow.datasets.table import Members
from gst_jobflow.documents import Dataset
from gst_jobflow.store import Results


def split_dataset(results: Results, dataset_id: str, spec: SplitSpec, *, name: str | None = None) -> CreatedDataset:
    """Split the same labels anew, by drawing groups.

    Raises DataError if the dataset does not exist, or one side would be empty.
    """
    dataset, members = _read(results, dataset_id)
    members = members.with_test(draw_split(members, spec))
    split = {"rule": SPLIT_RULE, **spec.model_dump()}
    return _store(results, dataset, members, name or f"{dataset.name} split", split=split)


def split_by_query(
    results: Results, dataset_id: str, test_where: Sequence[str], *, name: str | None = None
) -> CreatedDataset:
    """Test the members that meet conditions, and the rest of their groups.

    Raises InputError if a condition cannot be read, or one side would be empty.
    """
    dataset, members = _read(results, dataset_id)
    chosen = matching(results.database, members, test_where)
    test, followed = given_split(members, chosen)
    split = {"rule": "given", "test_where": list(test_where), "followed_their_group": followed}
    return _store(results, dataset, members.with_test(test), name or f"{dataset.name} split", split=split)


def split_in_folds(
    results: Results, dataset_id: str, n_folds: int, seed: int = 0, *, name: str | None = None
) -> list[CreatedDataset]:
    """Make a dataset for each fold; every group is tested in one of them.

    Raises InputError if there are fewer groups than folds.
    """
    dataset, members = _read(results, dataset_id)
    made = []
    for number, test in enumerate(folds(members, n_folds, seed), 1):
        split = {"rule": SPLIT_RULE, "folds": n_folds, "fold": number, "seed": seed}
        label = f"{name or dataset.name} fold {number}/{n_folds}"
        made.append(_store(results, dataset, members.with_test(test), label, split=split))
    return made


def reweight(
    results: Results, dataset_id: str, weights: dict[str, float], *, name: str | None = None
) -> CreatedDataset:
    """Change the weights of config types; those not named stay.

    Raises InputError if a weight is not a positive number, and DataError if no member has the config_type.
    """
    dataset, members = _read(results, dataset_id)
    try:
        both = dataset.config_type_weights | positive_weights(weights)
    except ValueError as err:
        raise InputError(str(err), "for example aimd=2") from err
    label = name or f"{dataset.name} weights"
    return _store(results, dataset, members, label, config_type_weights=checked_weights(members, both))


def fraction_datasets(
    results: Results,
    dataset_id: str,
    keep: Sequence[float],
    kinds: Sequence[str] = RANDOM_TYPES,
    seed: int = 0,
    *,
    name: str | None = None,
) -> list[CreatedDataset]:
    """Make datasets with nested shares of the training structures of some config types, for ablations.

    Test set, weights and reference energies stay, so potentials differ only by their training structures. `keep` has
    shares from 0 to 1, one dataset each, and `kinds` the config types to thin. Raises as `check_fractions`.
    """
    check_fractions(results, dataset_id, keep, kinds, seed)
    dataset, members = _read(results, dataset_id)
    made = []
    for share in keep:
        kept, gone = thin(members, kinds, share, seed)
        selection = {"fraction_of": list(kinds), "keep": share, "seed": seed, "left_out": gone}
        label = f"{name or dataset.name} {100 * share:g} %"
        made.append(_store(results, dataset, kept, label, selection=dataset.selection | selection))
    return made


def check_fractions(
    results: Results, dataset_id: str, keep: Sequence[float], kinds: Sequence[str] = RANDOM_TYPES, seed: int = 0
) -> None:
    """Refuse shares that `fraction_datasets` cannot make; nothing is stored.

    Raises InputError if a share is not between 0 and 1, no training structure has such a config type, or the training
    set would be empty.
    """
    _, members = _read(results, dataset_id)
    trained = members.counts_by_config_type()["train"]
    if not set(kinds) & set(trained):
        raise InputError(f"no training structure is of {', '.join(kinds)}", f"choose of {', '.join(sorted(trained))}")
    for share in keep:
        if not 0 <= share <= 1:
            raise InputError(f"{share:g} is no share", "give numbers between 0 and 1, e.g. 1,0.5,0.25,0")
    # the smallest share is part of all others: check it before any is stored
    if len(keep) and thin(members, kinds, min(keep), seed)[0].test.all():
        raise InputError("the training set would be empty", f"keep some of {', '.join(kinds)}: it has nothing else")


def _read(results: Results, dataset_id: str) -> tuple[Dataset, Members]:
    dataset = results.get(Dataset, dataset_id)
    return dataset, load_members(results, dataset)


def _store(results: Results, dataset: Dataset, members: Members, name: str, **changes: Any) -> CreatedDataset:
    """Store a changed dataset with the reference energies of its parent."""
    kept = ("fingerprint", "config_type_weights", "reference_energies_eV", "reference_energies_source", "selection")
    fields = {field: getattr(dataset, field) for field in (*kept, "split", "iteration")}
    return store_dataset(results, members, **{**fields, "name": name, "parent_id": dataset.id, **changes})
