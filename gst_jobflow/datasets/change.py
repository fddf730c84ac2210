"""New datasets from a dataset: other splits, other weights, fewer random structures. The old one stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.create import SPLIT_RULE, Made, checked_weights, store_dataset
from gst_jobflow.datasets.fractions import thin
from gst_jobflow.datasets.members import load_members
from gst_jobflow.datasets.select import matching
from gst_jobflow.datasets.spec import RANDOM_TYPES, positive_weights
from gst_jobflow.datasets.split import SplitSpec, draw_split, folds, given_split
from gst_jobflow.datasets.table import Members
from gst_jobflow.documents import Dataset

if TYPE_CHECKING:
    from gst_jobflow.store import Results


def split_dataset(results: Results, dataset_id: str, spec: SplitSpec, *, name: str | None = None) -> Made:
    """The same labels, split anew by a draw of groups.

    Raises
    ------
    DataError
        There is no such dataset, or one side would be empty.
    """
    dataset, members = _read(results, dataset_id)
    members = members.with_test(draw_split(members, spec))
    split = {"rule": SPLIT_RULE, **spec.model_dump()}
    return _store(results, dataset, members, name or f"{dataset.name} split", split=split)


def split_by_query(results: Results, dataset_id: str, test_where: Sequence[str], *, name: str | None = None) -> Made:
    """The same labels; those whose structures match are tested, with all that is of their groups.

    Raises
    ------
    InputError
        A condition cannot be read, nothing matches, or nothing is left to train on.
    """
    dataset, members = _read(results, dataset_id)
    chosen = matching(results.database, members, test_where)
    test, followed = given_split(members, chosen)
    split = {"rule": "given", "test_where": list(test_where), "followed_their_group": followed}
    return _store(results, dataset, members.with_test(test), name or f"{dataset.name} split", split=split)


def split_in_folds(
    results: Results, dataset_id: str, n_folds: int, seed: int = 0, *, name: str | None = None
) -> list[Made]:
    """One dataset a fold; every group is tested in one of them.

    Raises
    ------
    InputError
        There are fewer groups than folds.
    """
    dataset, members = _read(results, dataset_id)
    made = []
    for number, test in enumerate(folds(members, n_folds, seed), 1):
        split = {"rule": SPLIT_RULE, "folds": n_folds, "fold": number, "seed": seed}
        label = f"{name or dataset.name} fold {number}/{n_folds}"
        made.append(_store(results, dataset, members.with_test(test), label, split=split))
    return made


def reweight(results: Results, dataset_id: str, weights: dict[str, float], *, name: str | None = None) -> Made:
    """The same labels and split with other weights of config types; those that are not named stay.

    Raises
    ------
    InputError
        A weight is not a positive number.
    DataError
        No member has the config_type.
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
) -> list[Made]:
    """Datasets with shares of the training structures of some config types, for ablations.

    The shares are nested, and test set, weights and reference energies are those of the dataset: what differs between
    the potentials is what they were shown.

    Parameters
    ----------
    keep
        Shares from 0 to 1, one dataset each.
    kinds
        Config types.

    Raises
    ------
    InputError
        A share or a config type that cannot be, or nothing would be left to train on.
    """
    dataset, members = _read(results, dataset_id)
    trained = members.counts_by_config_type()["train"]
    if not set(kinds) & set(trained):
        raise InputError(f"no training structure is of {', '.join(kinds)}", f"there are {', '.join(sorted(trained))}")
    for share in keep:
        if not 0 <= share <= 1:
            raise InputError(f"a share of {share:g}", "shares are between 0 and 1, e.g. 1,0.5,0.25,0")
    # shares are nested: where the smallest leaves something, all do, and none is stored before that is known
    if len(keep) and thin(members, kinds, min(keep), seed)[0].test.all():
        raise InputError("nothing would be left to train on", f"{', '.join(kinds)} is all that there is")
    made = []
    for share in keep:
        kept, gone = thin(members, kinds, share, seed)
        selection = {"fraction_of": list(kinds), "keep": share, "seed": seed, "left_out": gone}
        label = f"{name or dataset.name} {100 * share:g} %"
        made.append(_store(results, dataset, kept, label, selection=dataset.selection | selection))
    return made


def find_dataset(results: Results, text: str) -> Dataset:
    """The dataset of an id, of a name that no other has, or of at least six characters that its id begins with.

    Raises
    ------
    InputError
        There is none, or several.
    """
    from gst_jobflow.store.lookup import get_located

    return get_located(results, Dataset, text)


def _read(results: Results, dataset_id: str) -> tuple[Dataset, Members]:
    dataset = results.get(Dataset, dataset_id)
    return dataset, load_members(results, dataset)


def _store(results: Results, dataset: Dataset, members: Members, name: str, **changes: Any) -> Made:
    """Store a changed dataset with the reference energies of the one that it is from.

    Its name is its own: under the old one's neither could be found any more.
    """
    kept = ("fingerprint", "config_type_weights", "reference_energies_eV", "reference_energies_source", "selection")
    fields = {field: getattr(dataset, field) for field in (*kept, "split", "iteration")}
    return store_dataset(results, members, **{**fields, "name": name, "parent_id": dataset.id, **changes})
