"""`gst figure` on documents of a real database."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli import figure
from gst_jobflow.report.catalogue.registry import FIGURES
from gst_jobflow.store import Results

from ..report import synthetic


@pytest.fixture
def with_study(project, monkeypatch: pytest.MonkeyPatch):
    results = Results.open(project)
    synthetic.add_ablation(results)
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    yield project
    results.database.client.close()


def invoke(*arguments: str):
    app = typer.Typer()
    app.command()(figure.command)
    return CliRunner().invoke(app, arguments)


def test_without_a_name_all_figures_are_listed() -> None:
    listed = invoke().output
    assert all(kind.name in listed and kind.needs in listed for kind in FIGURES)


@pytest.mark.mongo
def test_a_figure_of_the_newest_document_lands_in_reports(with_study) -> None:
    result = invoke("2b", "--paper")
    assert result.exit_code == 0, result.output
    stem = with_study.root / "reports" / "figures" / "success-by-share-syntheti"
    assert all(stem.with_suffix(f".{ending}").stat().st_size > 0 for ending in ("png", "svg", "pdf", "csv"))
    assert "newest finished ablation of random structures: shares (synthetic-ablation)" in result.output
    assert "95 % Wilson" in result.output and "doi 10.1038/s41467-025-63732-4" in result.output


@pytest.mark.mongo
def test_the_ending_of_the_output_sets_the_format(with_study, tmp_path: Path) -> None:
    assert invoke("2b", "shares", "-o", str(tmp_path / "a" / "success.pdf")).exit_code == 0
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["success.csv", "success.pdf"]


@pytest.mark.mongo
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2b", "shares", "--format", "jpg"), "--format jpg"),
        (("2d",), "no figure '2d'"),
        (("2b", "shares", "-o", "."), "is a folder"),
        (("2b", "nothing"), "no study 'nothing'"),
        (("2b", "shares", "--dataset", "d"), "shows no frames from first principles"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(with_study, words: tuple[str, ...], said: str) -> None:
    refused = invoke(*words).exception
    assert isinstance(refused, InputError) and said in refused.message and refused.fix
    assert not (with_study.root / "reports").exists()
