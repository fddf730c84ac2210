"""What pages say of the methods behind their labels."""

from __future__ import annotations

from typing import Any

import pytest

from gst_jobflow.report.words import notice_of

DFT = {"code": "vasp", "version": "6.4", "parameters": {"GGA": "PE"}}
XTB = {"code": "tblite", "version": "0.8", "parameters": {"calculator": "TBLite", "method": "GFN1-xTB"}}
MODEL = {"code": "ase", "version": "1", "parameters": {"calculator": "PyACECalculator"}}
NAMED = {"code": "imported", "version": "", "parameters": {"name": "cr_sb2te3"}}
OTHER_PROGRAM = {"code": "quantum espresso", "version": "7.3", "parameters": {"xc": "PBE"}}


@pytest.mark.parametrize(
    ("methods", "title", "said"),
    [
        ([XTB], "Plumbing, not physics", "semi-empirical"),
        ([MODEL], "Plumbing, not physics", "not from first principles"),
        ([NAMED, MODEL], "Plumbing, not physics", "not from first principles"),
        ([NAMED], "Labels from elsewhere", "The labels were imported: cr_sb2te3."),
        ([OTHER_PROGRAM], "Labels from elsewhere", "PBE (quantum espresso 7.3)"),
    ],
)
def test_a_page_warns_of_models_and_does_not_judge_methods_that_it_does_not_know(
    methods: list[dict[str, Any]], title: str, said: str
) -> None:
    notice = notice_of(methods)
    assert notice is not None and notice[0] == title and said in notice[1]


def test_first_principles_need_no_warning() -> None:
    assert notice_of([DFT]) is None and notice_of([]) is None
