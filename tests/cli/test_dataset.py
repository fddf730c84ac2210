"""`gst dataset`: what it prints, and one line for what cannot be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.datasets import load_members
from gst_jobflow.documents import Dataset
from gst_jobflow.store import Results
from tests.datasets.conftest import add_labels

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
Gst = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gst_dataset(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gst:
    """`gst_dataset(*words)` gives exit code, stdout and stderr of `gst dataset`, run in this process."""
    from gst_jobflow.cli.main import main

    monkeypatch.setenv("GST_PROJECT", str(project.root))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gst", "-p", str(project.root), "dataset", *words])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_datasets_are_made_changed_shown_and_compared(project: Project, gst_dataset: Gst) -> None:
    add_labels(Results.open(project), 20, config_type="rss")
    add_labels(Results.open(project), 10, start=20)
    code, out, err = gst_dataset("create", "iter-0", "-w", "n_atoms=2", "--weights", "rss=2", "--seed", "4")
    assert code == 0 and "labels of tblite:1" in err
    id = out.split()[0]
    _, out, err = gst_dataset("create", "again", "--weights", "rss=2", "--seed", "4")
    assert out.split()[0] == id and "known before as 'iter-0'" in err
    shown = json.loads(gst_dataset("show", "iter-0", "--json")[1])
    assert (shown["id"], shown["counts"]) == (id, {"train": 27, "test": 3})
    row = {"config_type": "rss", "train": 18, "test": 2, "atoms": 40, "weight": 2.0}
    assert shown["config_types"][1].items() >= row.items()
    assert shown["compositions"] == [{"formula": "GeTe", "train": 27, "test": 3}]
    text = gst_dataset("show", id[:8])[1]
    assert "30 labels, 60 atoms: 27 train in 27 groups, 3 test in 3 groups" in text
    members = gst_dataset("show", id[:8], "--members")[1].splitlines()
    assert len(members) == 30 and members == sorted(members)
    one, half = json.loads(gst_dataset("fractions", "iter-0", "--keep", "1,0.5", "--json")[1])
    assert (one["new"], half["new"], half["parent_id"]) == (False, True, id)
    lines = gst_dataset("diff", id, half["id"], "--members")[1].splitlines()
    assert len(lines) == 9 and all(line.startswith("- ") for line in lines)
    compared = json.loads(gst_dataset("diff", id, half["id"], "--json")[1])
    assert compared["members"]["only in the first"] == {"rss": 9} and compared["same"] is False
    assert "a fit sees the same" in gst_dataset("diff", id, id)[2]
    assert (
        "split: rule given"
        in gst_dataset("show", gst_dataset("split", id, "--test-where", "config_type=rss")[1].split()[0])[1]
    )
    assert "nothing changes" in gst_dataset("weights", id, "rss=2")[2]
    # all structures of this test are one arrangement
    assert len(json.loads(gst_dataset("duplicates", id, "--json")[1])) == 29


def test_settings_come_from_a_file_and_options_replace_them(project: Project, gst_dataset: Gst, tmp_path: Path) -> None:
    results = Results.open(project)
    add_labels(results, 20, config_type="rss")
    add_labels(results, 10, start=20, max_force_eV_A=30.0)
    shown = gst_dataset("create", "--show-config", "--seed", "4", "--weights", "rss=2,crystal=3", "--max-force", "20")
    assert shown[0] == 0 and not list(results.database["datasets"].find())
    file = tmp_path / "dataset.yaml"
    file.write_text(shown[1])
    assert gst_dataset("create", "--show-config", "--config", str(file))[1] == shown[1]
    code, _, err = gst_dataset("create", "d", "--config", str(file))
    assert code == 1 and "weights name config_type ['crystal']" in err
    code, out, err = gst_dataset("create", "d", "--config", str(file), "--weights", "rss=2", "--test-fraction", "0.2")
    assert code == 0 and "left out: 10 labels with larger forces" in err
    made = results.get(Dataset, out.split()[0])
    assert made.config_type_weights == {"rss": 2.0} and made.counts == {"train": 16, "test": 4}
    assert made.split["seed"] == 4 and made.selection["max_force_eV_A"] == 20.0
    file.write_text("split: {sed: 3}\n")
    assert "did you mean 'seed'" in gst_dataset("create", "d", "--config", str(file))[2]
    assert "gst dataset create NAME" in gst_dataset("create")[2]


def test_the_test_set_of_another_dataset_is_named_like_any_dataset(
    project: Project, gst_dataset: Gst, tmp_path: Path
) -> None:
    results = Results.open(project)
    add_labels(results, 20)
    first = gst_dataset("create", "first")[1].split()[0]
    add_labels(results, 20, start=20, config_type="rss")

    def tested(dataset_id: str) -> set[bytes]:
        members = load_members(results, results.get(Dataset, dataset_id))
        return set(members.label_ids[members.test])

    for words in (("--test-set", "first"), ("--test-set", first[:8])):
        made = gst_dataset("create", "second", *words)[1].split()[0]
        assert tested(made) == tested(first) != set()
    file = tmp_path / "dataset.yaml"
    file.write_text("test_dataset_id: first\n")
    assert gst_dataset("create", "third", "--config", str(file))[1].split()[0] == made


def test_free_atoms_among_the_members_are_a_warning(project: Project, gst_dataset: Gst) -> None:
    add_labels(Results.open(project), 20, config_type="rss")
    add_labels(Results.open(project), 2, start=20, config_type="isolated_atom")
    code, out, err = gst_dataset("create", "all")
    assert code == 0 and out and "warning: 2 free atoms among the members" in err and '-w "n_atoms>1"' in err
    code, _, err = gst_dataset("create", "without", "-w", "config_type!=isolated_atom")
    assert code == 0 and "warning" not in err


def test_errors_are_one_line(project: Project, gst_dataset: Gst) -> None:
    assert "there are no labels" in gst_dataset("create", "d")[2]
    add_labels(Results.open(project), 6)
    add_labels(Results.open(project), 6, fingerprint="cp2k:1")
    cp2k = ("create", "d", "--fingerprint", "cp2k:1")
    for words, says in (
        (("create", "d"), "labels of 2 methods, which never mix: cp2k:1, tblite:1"),
        (("create", "d", "--fingerprint", "x"), "there are labels of cp2k:1, tblite:1"),
        (("create", "d", "--method-name", "PBE"), "there are labels of cp2k:1, tblite:1"),
        ((*cp2k, "--method-name", "y"), "the same thing twice"),
        (("create", "", "--fingerprint", "cp2k:1"), "the name is empty"),
        ((*cp2k, "--weights", "crystl=1"), "did you mean 'crystal'?"),
        ((*cp2k, "--weights", "crystal"), "write each name once"),
        ((*cp2k, "--weights", "crystal=-1"), "not a positive number"),
        ((*cp2k, "--test-fraction", "1"), "test_fraction"),
        ((*cp2k, "--random-fraction", "2"), "random_fraction"),
        ((*cp2k, "--reference-energies", "auto"), "least-squares, free-atoms"),
        ((*cp2k, "--reference-energies", "Ge=1,Te=1,te=2"), "unknown element 'te'"),
        ((*cp2k, "--seed", str(10**30)), "larger than MongoDB can store"),
        ((*cp2k, "--parent", "unknown"), "no dataset 'unknown'"),
        ((*cp2k, "--test-set", "unknown"), "no dataset 'unknown'"),
        (("split", "nothing", "--kfold", "2"), "no dataset 'nothing'"),
        (("split", "nothing"), "give one of --test-fraction, --test-where and --kfold"),
        (("fractions", "nothing", "--of", "rs"), "did you mean 'rss'?"),
    ):
        code, _, err = gst_dataset(*words)
        assert code == 1 and says in err, (words, err)
    assert Results.open(project).database["datasets"].count_documents({}) == 0
