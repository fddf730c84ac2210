"""A potential's folder has its files under names that people know, and a README that says what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.exporting.potential import export_potential, read_potential
from gst_jobflow.exporting.targets import move_to_target, part_of
from gst_jobflow.store import Results
from tests.report import synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


def test_folder_and_readme(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    synthetic.add_study(results)
    potential = results.get(Potential, synthetic.POTENTIAL_ID).model_copy(update={"name": "GST 1"})
    names = export_potential(results, potential, tmp_path / "p")
    assert {"GST_1.yace", "GST_1.yaml", "README.md"} <= set(names) == {f.name for f in (tmp_path / "p").iterdir()}
    stored = results.artifacts.path(potential.artifacts.yace).read_bytes()
    assert (tmp_path / "p" / "GST_1.yace").read_bytes() == stored
    text = (tmp_path / "p" / "README.md").read_text()
    dataset = next(results.find(Dataset, {}))
    assert "pair_coeff   * * GST_1.yace " + " ".join(potential.elements) in text
    for said in (dataset.id, dataset.fingerprint, f"{potential.cutoff_A:g} Å", potential.id):
        assert said in text
    assert f"{potential.rmse['test'].force_meV_per_A:.4g}" in text
    with pytest.raises(InputError, match="exists already"):
        export_potential(results, potential, tmp_path / "p")
    export_potential(results, potential, tmp_path / "p", force=True)
    results.artifacts.discard(potential.artifacts.yace.sha256)
    with pytest.raises(DataError, match="missing"):
        export_potential(results, potential, tmp_path / "q")
    assert not (tmp_path / "q").exists() and (tmp_path / "p" / "GST_1.yace").read_bytes() == stored
    results.database.client.close()


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "p"
    target.mkdir()
    (target / "old").write_text("old")
    rename = type(target).rename

    def fails(self: Path, to: Path) -> Path:
        if self.name == "made":
            raise OSError("the disk is gone")
        return rename(self, to)

    monkeypatch.setattr(type(target), "rename", fails)
    with pytest.raises(OSError, match="gone"), part_of(target) as scratch:
        (scratch / "made").mkdir()
        move_to_target(scratch / "made", target)
    assert (target / "old").read_text() == "old" and list(tmp_path.iterdir()) == [target]
    monkeypatch.undo()
    with part_of(target) as scratch:
        (scratch / "made" / "ab").mkdir(parents=True)
        (scratch / "made" / "ab" / "new").write_text("new")
        move_to_target(scratch / "made", target)
    assert (target / "ab" / "new").read_text() == "new" and list(tmp_path.rglob("*old*")) == []
    assert list(tmp_path.iterdir()) == [target]


def test_names_of_files_stay_in_the_folder(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    synthetic.add_study(results)
    potential = results.get(Potential, synthetic.POTENTIAL_ID)
    ref = potential.artifacts.yace.model_copy(update={"name": "../outside"})
    with pytest.raises(DataError, match="outside"):
        export_potential(results, potential.model_copy(update={"files": [ref]}), tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    named = potential.model_copy(update={"name": "../../evil; rm", "files": []})
    assert all("/" not in name and " " not in name for name in export_potential(results, named, tmp_path / "p"))
    results.database.client.close()


def test_a_folder_is_read_without_a_database(tmp_path: Path) -> None:
    (tmp_path / "GST_1.yace").write_text("elements: [Ge, Te]\n")
    for name in ("GST_1.yaml", "input.yaml", "other.asi"):
        (tmp_path / name).write_text("")
    found = read_potential(tmp_path)
    assert (found.yace, found.elements) == (str(tmp_path / "GST_1.yace"), ["Ge", "Te"])
    # files of other names are not the potential's
    assert (found.yaml, found.asi) == (str(tmp_path / "GST_1.yaml"), None)
    assert read_potential(tmp_path / "GST_1.yace") == found
    (tmp_path / "b.yace").write_text("elements: [Ge, Te]\n")
    with pytest.raises(InputError, match=r"one \.yace file: GST_1\.yace, b\.yace"):
        read_potential(tmp_path)
    with pytest.raises(InputError, match="cannot read the potential"):
        read_potential(tmp_path / "no.yace")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"one \.yace file: none"):
        read_potential(tmp_path / "empty")
