"""The same file again: not read as long as the database holds all of it, with the same report."""

from __future__ import annotations

from pathlib import Path

import pytest

from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.run import ImportReport, import_files
from gst_jobflow.store import Results
from tests.importing.test_importing import counts, gap_frame, options

pytestmark = pytest.mark.mongo


@pytest.fixture
def results(project) -> Results:
    return Results.open(project)


@pytest.fixture
def file(tmp_path) -> Path:
    file = tmp_path / "frames.extxyz"
    file.write_text("".join(gap_frame(seed) for seed in range(5)))
    return file


def imported(file: Path, results: Results, values: ImportOptions | None = None) -> tuple[ImportReport, int]:
    """Return the report, and how many records were read for it."""
    read: list[int] = []
    report = import_files(
        [file], results, values or options(), lambda *_: read.append(1), receipts=file.parent / "receipts"
    )
    return report, len(read)


def test_a_file_is_read_once_and_reported_as_if_it_were_read_again(results, file):
    first, read = imported(file, results)
    assert read == 5 and first.structures == {"new": 5, "known": 0}
    again, read = imported(file, results)
    assert read == 0
    assert again == import_files([file], results, options()) and again.labels == {"new": 0, "known": 5}
    assert counts(results) == (5, 5)


@pytest.mark.parametrize("collection", ["structures", "labels"])
def test_what_the_database_lost_is_imported_again(results, file, collection):
    imported(file, results)
    results.database[collection].delete_one({})
    report, read = imported(file, results)
    assert read == 5 and getattr(report, collection) == {"new": 1, "known": 4}
    assert counts(results) == (5, 5)
    assert imported(file, results)[1] == 0


def test_a_label_with_another_energy_is_found(results, file):
    imported(file, results)
    results.database["labels"].update_one({}, {"$inc": {"energy_eV": 1.0}})
    report, read = imported(file, results)
    assert read == 5 and report.n_bad == 1 and "differs" in report.bad[0].reason
    # a refused record leaves no receipt
    assert imported(file, results)[1] == 5


def test_a_changed_file_other_options_and_lost_tags_are_read(results, file):
    tagged = options(tags=["a"])
    assert imported(file, results)[1] == 5
    assert imported(file, results, tagged)[1] == 5
    assert imported(file, results, tagged)[1] == 0
    results.database["structures"].update_one({}, {"$pull": {"tags": "a"}})
    assert imported(file, results, tagged)[1] == 5
    assert results.database["structures"].count_documents({"tags": "a"}) == 5
    text = file.read_text()
    file.write_text(text.replace("0.1", "0.2", 1))
    assert imported(file, results)[1] == 5


def test_a_damaged_receipt_is_ignored(results, file):
    imported(file, results)
    [records] = (file.parent / "receipts").glob("*.records")
    records.write_bytes(records.read_bytes()[:-7])
    assert imported(file, results)[1] == 5
    assert imported(file, results)[1] == 0
