from __future__ import annotations

import re
from pathlib import Path

import pytest

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Cycle, Dataset, Member, Potential
from gst_jobflow.report import collect
from gst_jobflow.report.figures import snapshots
from gst_jobflow.report.figures.snapshots import Picture, Snapshots
from gst_jobflow.report.pages import study as page
from gst_jobflow.store import Results

from . import synthetic

pytestmark = pytest.mark.mongo


@pytest.fixture
def no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering has its own tests; here it would only take time."""

    def draw(cells) -> Snapshots:
        return Snapshots([Picture(cell.title, snapshots.drawing(cell)) for cell in cells], renderer="a plain drawing")

    monkeypatch.setattr(snapshots, "render_cells", draw)


def page_of(results: Results, folder: Path) -> str:
    return page.build_page(results, "study", synthetic.STUDY_ID, folder / "sub" / "page.html").read_text()


@pytest.mark.usefixtures("no_rendering")
def test_page_of_a_whole_study_holds_its_numbers_stands_alone_and_is_the_same_again(
    results: Results, tmp_path: Path
) -> None:
    synthetic.add_study(results)
    html = page_of(results, tmp_path / "a")
    assert page_of(results, tmp_path / "b") == html
    _needs_nothing_from_outside(html)
    text = " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S)).split())
    assert "66 structures of" in text
    assert "62 of 66 labels converged" in text
    assert "18.25 135.5" in text
    assert "GFN1-xTB (tblite 0.8.0)" in text
    assert "RESET 1 finished 20 320 320.032 2.5 5.127e-05 +0.0100" in text
    assert "SET finished 60 – – –" in text
    assert "Plumbing, not physics" in text
    assert "Ge₁Sb₂Te₄" in text
    assert "4 executions: 3 finished, 1 lost" in text
    assert "of another study" not in text
    assert "fit 2 1 60 s" in text
    assert "22 Jul 2025" in text
    for title in ("start", "after RESET 1", "after SET", "after RESET 2"):
        assert f"<figcaption>{title}</figcaption>" in html
    assert "not there yet" not in text


def _needs_nothing_from_outside(html: str) -> None:
    assert not re.search(r"https?://|<script|<link|@import|url\(", html)
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert len(sources) >= 10
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert set(re.findall(r'href="([^"]+)"', html)) == {"#data", "#fit", "#cycle", "#provenance", "#attempts"}
    # a mail attachment
    assert len(html) < 5_000_000


@pytest.mark.usefixtures("no_rendering")
def test_names_are_text_and_never_markup_or_formulas(results: Results, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> $\\frac{$"
    synthetic.add_study(results, name=evil)
    results.update("cycles", synthetic.CYCLE_ID, {"name": evil})
    html = page_of(results, tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    # the reason of a failed label holds markup, too
    assert "250 cycles &lt;b&gt;" in html


def test_page_of_a_new_study_says_what_is_missing(results: Results, tmp_path: Path) -> None:
    synthetic.add_study(results, parts=())
    html = page_of(results, tmp_path)
    for what in ("Structures", "Labels", "Potential", "Device cycle", "Attempts"):
        assert f"{what}: not there yet." in html
    assert "running" in html


def test_page_of_a_running_study_says_what_is_still_to_come_and_is_read_again(results: Results, tmp_path: Path) -> None:
    synthetic.add_study(results, parts=())
    results.update("studies", synthetic.STUDY_ID, {"state": "finished"})
    names = {1: "fit", 2: "label crystal 2", 3: "label crystal 1", 4: "of another study"}
    states = {1: "WAITING", 2: "RUNNING", 3: "COMPLETED", 4: "WAITING"}
    results.database["fireworks"].insert_many(
        [{"fw_id": id, "name": names[id], "state": states[id]} for id in sorted(names, reverse=True)]
    )
    assert "Still to come" not in page_of(results, tmp_path)
    results.update("studies", synthetic.STUDY_ID, {"state": "running"})
    html = page_of(results, tmp_path)
    assert "Still to come: label crystal, fit." in html and '<meta http-equiv="refresh"' in html
    results.database["fireworks"].update_one({"fw_id": 3}, {"$set": {"state": "RUNNING"}})
    assert "Still to come: label crystal (2 jobs), fit." in page_of(results, tmp_path)


@pytest.mark.usefixtures("no_rendering")
def test_lost_files_and_documents_become_remarks(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_study(results)
    dataset = results.get(Dataset, "synthetic-dataset")
    parity = results.get(Potential, synthetic.POTENTIAL_ID).files[0]
    results.artifacts.path(dataset.members).unlink()
    results.artifacts.path(parity).chmod(0o644)
    results.artifacts.path(parity).write_bytes(b"PK not a zip")
    results.database["trajectories"].delete_one({"_id": "synthetic-2"})
    gone = [member.model_dump() for member in (*study.members, Member(collection="potentials", id="gone"))]
    results.update("studies", study.id, {"members": gone})
    html = page_of(results, tmp_path)
    assert "potentials &#39;gone&#39; is not in the database" in html
    assert "members.jsonl.gz" in html
    assert "parity.npz is damaged" in html
    assert "Parity plots: not there yet." in html
    assert "trajectories &#39;synthetic-2&#39;" in html
    # structures carry the study's tag: they are found without the dataset
    assert "66 structures of" in html


@pytest.mark.usefixtures("no_rendering")
def test_page_of_a_cycle_before_its_second_operation(results: Results, tmp_path: Path) -> None:
    synthetic.add_study(results)
    operations = [operation.model_dump() for operation in results.get(Cycle, synthetic.CYCLE_ID).operations]
    for operation in operations[1:]:
        operation |= {"state": "waiting", "trajectory_id": None, "added_energy_eV": None, "max_temperature_K": None}
        operation |= {"final_temperature_K": None, "crystalline_fraction": None}
    results.update("cycles", synthetic.CYCLE_ID, {"operations": operations, "state": "running"})
    results.database["trajectories"].delete_many({"operation_index": {"$gte": 1}})
    html = page.build_page(results, "cycle", synthetic.CYCLE_ID, tmp_path / "cycle.html").read_text()
    assert "is running: 1 of 3 operations of RESET → SET → RESET" in html
    assert html.count("after RESET 1</figcaption>") >= 1
    assert "after SET" not in html
    assert 'id="data"' not in html
    # the method is known through the potential's dataset
    assert "Plumbing, not physics" in html


@pytest.mark.usefixtures("no_rendering")
def test_study_that_runs_finds_its_potential_and_cycle_without_members(results: Results, tmp_path: Path) -> None:
    synthetic.add_study(results)
    results.update("studies", synthetic.STUDY_ID, {"members": [], "state": "running"})
    html = page_of(results, tmp_path)
    assert "An ACE potential of 180 functions" in html
    assert "completed RESET → SET → RESET" in html


def test_page_of_a_potential(results: Results, tmp_path: Path) -> None:
    synthetic.add_study(results)
    html = page.build_page(results, "potential", synthetic.POTENTIAL_ID, tmp_path / "p.html").read_text()
    # its dataset: 62 members, no device cells
    assert "62 structures of" in html
    assert "Parity plot of energies" in html
    assert "180 of 210 requested" in html and "3, exponents 1, 0.5, 0.75" in html
    assert "gamma is at most 93.4 (1.2 % of its 5,000 atoms above 1)" in html
    assert 'id="cycle"' not in html


def test_unknown_study_is_an_error_and_writes_nothing(results: Results, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no document 'nothing' in studies"):
        page.build_page(results, "study", "nothing", tmp_path / "page.html")
    assert not list(tmp_path.glob("page*"))


def test_page_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        page.write_page("a lone surrogate cannot be written: \ud800", target)
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".html"] == ["page.html"]


def test_structures_are_read_without_their_arrays(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.add_study(results)
    monkeypatch.setattr(collect, "_CHUNK", 7)
    seen: list[dict] = []
    real = type(results.database["structures"]).find

    def find(self, where=None, projection=None, *args, **keywords):
        if self.name in ("structures", "labels"):
            seen.append(projection or {})
        return real(self, where, projection, *args, **keywords)

    monkeypatch.setattr(type(results.database["structures"]), "find", find)
    data = collect.collect_study(results, synthetic.STUDY_ID)
    # 66 for training and 4 cells, in chunks of 7; every read names its fields
    assert len(data.structures) == 70
    assert len(data.labels) == 66
    assert seen
    assert all(fields and not {"positions", "numbers", "forces"} & set(fields) for fields in seen)


@pytest.mark.mongo
def test_the_page_of_an_ablation_is_of_all_its_fits(results: Results, tmp_path: Path) -> None:
    study = synthetic.add_ablation(results)
    html = page.build_page(results, "study", study.id, tmp_path / "page.html").read_text()
    assert "3 fits compared; test RMSE 16.5 to 18.5 meV/atom and 133 to 135 meV/Å." in html
    links = re.findall(r'<a href="#(\w+)">', html.split("<main>")[0])
    assert links == ["results", "data", "provenance", "attempts"] and all(f'id="{name}"' in html for name in links)
    assert "Device cycle" not in html and "energy RMSE, test" not in html
