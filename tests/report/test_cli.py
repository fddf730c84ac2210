from __future__ import annotations

import importlib

import pytest
import typer
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.flows.study import close_study
from gst_jobflow.report.pages import study as page
from gst_jobflow.report.words import file_name
from gst_jobflow.store import Results

from . import synthetic

report = importlib.import_module("gst_jobflow.cli.report")


@pytest.fixture
def with_study(project, monkeypatch: pytest.MonkeyPatch):
    results = Results.open(project)
    synthetic.add_study(results, parts=())
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    yield project
    results.database.client.close()


def invoke(*arguments: str):
    return CliRunner().invoke(report.app, arguments)


@pytest.mark.mongo
@pytest.mark.parametrize("which", [synthetic.STUDY_ID, "Demo: Ge-Sb-Te in miniature"])
def test_study_by_id_or_name_lands_in_reports(with_study, which: str) -> None:
    result = invoke("study", which)
    assert result.exit_code == 0, result.output
    expected = with_study.root / "reports" / f"Demo-Ge-Sb-Te-in-miniature-{synthetic.STUDY_ID[:8]}.html"
    assert result.output.strip() == str(expected)
    assert expected.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.mongo
def test_the_command_replaces_the_page_that_the_job_of_a_study_wrote(with_study) -> None:
    results = Results.open(with_study)
    of_the_job = close_study(results, synthetic.STUDY_ID, {"state": "finished"})
    assert invoke("study", synthetic.STUDY_ID).output.strip() == str(of_the_job)
    results.database.client.close()


@pytest.mark.mongo
def test_a_page_of_an_earlier_version_gives_way_to_that_of_today(with_study) -> None:
    """Earlier versions named pages without the id; what is another's or was asked for by name stays."""
    results = Results.open(with_study)
    close_study(results, synthetic.STUDY_ID, {"state": "finished"})
    results.database.client.close()
    reports = with_study.root / "reports"
    old = reports / "Demo-Ge-Sb-Te-in-miniature.html"
    chosen = ("study", synthetic.STUDY_ID, "--output", str(old))
    assert invoke(*chosen).exit_code == 0 and invoke("study", synthetic.STUDY_ID).exit_code == 0
    assert old.is_file(), "a page that was asked for under this name"
    of_today = old.read_text()
    as_before = of_today.replace('<meta name="generator" content="gst_jobflow">', "")
    of_another = as_before.replace(f"<footer>study {synthetic.STUDY_ID} ", "<footer>study another ")
    assert of_today != as_before != of_another
    old.write_text(of_another)
    assert invoke("study", synthetic.STUDY_ID).exit_code == 0 and old.read_text() == of_another
    old.write_text(as_before)
    of_id = reports / f"Demo-Ge-Sb-Te-in-miniature-{synthetic.STUDY_ID[:8]}.html"
    of_id.unlink()
    for file in (old, None):
        assert invoke("all", "--format", "png").exit_code == 0
        is_named_gone = f"gst report study {synthetic.STUDY_ID}" in (reports / "index.html").read_text()
        assert is_named_gone == (file is None)
        old.unlink(missing_ok=True)
    old.write_text(as_before)
    assert invoke("study", synthetic.STUDY_ID).exit_code == 0
    assert of_id.is_file() and not old.exists()


@pytest.mark.mongo
def test_output_is_taken(with_study, tmp_path) -> None:
    assert invoke("study", synthetic.STUDY_ID, "--output", str(tmp_path / "a" / "b.html")).exit_code == 0
    assert (tmp_path / "a" / "b.html").is_file()


@pytest.mark.mongo
@pytest.mark.parametrize("place", ["", "file/page.html"])
def test_impossible_target_of_a_page_is_refused_and_left_alone(with_study, tmp_path, place: str) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "file").write_text("mine")
    result = invoke("study", synthetic.STUDY_ID, "--output", str(folder / place))
    assert isinstance(result.exception, InputError), result.exception
    assert [path.name for path in folder.iterdir()] == ["file"] and (folder / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page.os, "access", lambda folder, wanted: folder != tmp_path / "locked")
    page.check_place(tmp_path / "a" / "b.html")
    with pytest.raises(InputError, match="locked is not writable"):
        page.check_place(tmp_path / "locked" / "b.html")


@pytest.mark.mongo
def test_all_draws_what_it_can_and_writes_an_index(with_study) -> None:
    results = Results.open(with_study)
    synthetic.add_ablation(results)
    result = invoke("all", "--paper", "--format", "png")
    assert result.exit_code == 0, result.output
    index = with_study.root / "reports" / "index.html"
    assert result.output.strip().endswith(str(index))
    assert sorted(file.name for file in (with_study.root / "reports" / "figures").iterdir()) == [
        "ablation-syntheti.csv", "ablation-syntheti.png", "success-by-share-syntheti.csv",
        "success-by-share-syntheti.png",
    ]  # fmt: skip
    assert "Zhou, Thomas du Toit" in index.read_text()
    results.database.client.close()


def test_a_page_above_its_limit_loses_its_largest_pictures_and_says_so() -> None:
    small, large = (f'<img src="data:image/png;base64,{"A" * size}" alt="x">' for size in (400, 3000))
    html = f"<p>text</p>{small}<p>more</p>{large}"
    assert page.thin_page(html, 10_000) == html
    kept = page.thin_page(html, 1000)
    assert small in kept and large not in kept and len(kept) <= 1000 and "gst figure draws it alone" in kept
    with pytest.raises(InputError, match="larger than 1 kB without its pictures"):
        page.thin_page("a" * 2000, 1000)


@pytest.mark.mongo
def test_unknown_id_lists_known_ones(with_study) -> None:
    result = invoke("study", "nothing")
    assert isinstance(result.exception, InputError)
    assert "Demo: Ge-Sb-Te in miniature" in str(result.exception)
    missing = invoke("cycle", "nothing").exception
    assert isinstance(missing, InputError)
    assert "gst query cycles" in str(missing)


@pytest.mark.parametrize(
    ("name", "expected"), [("../../etc/passwd", "etc-passwd"), ("日本", "an-id"), ("GST, iter-5", "GST-iter-5")]
)
def test_file_names_stay_in_their_folder(name: str, expected: str) -> None:
    assert file_name(name, "an-id") == expected


def test_every_command_has_a_page() -> None:
    names = {command.name for command in report.app.registered_commands}
    assert names - {"all"} == set(page.COLLECTORS) == set(report._MODELS)
    assert isinstance(report.app, typer.Typer)
