"""Build the index: all figures, what is missing with the command that makes it, and all pages of a project."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from gst_jobflow import __version__
from gst_jobflow.documents import Cycle, Study, now
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.everything import Everything
from gst_jobflow.report.catalogue.registry import FIGURES
from gst_jobflow.report.pages.elements import Table
from gst_jobflow.report.pages.links import INDEX, link_pages, title_of
from gst_jobflow.report.pages.study import earlier_page, page_of, page_template, write_page
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.store import Results

_LISTED = 200


def build_index(results: Results, root: Path, everything: Everything, *, paper: bool) -> Path:
    """Write the index into the folder of reports, and link the pages there to it; return its path."""
    target = root / "reports" / INDEX
    by_kind = [(kind, [each for each in everything.drawn if each.kind is kind]) for kind in FIGURES]
    pages, gone = _pages(results, root)
    html = page_template("index.html").render(
        title=root.name,
        kinds=[(kind, each) for kind, each in by_kind if each],
        relative=lambda file: file.relative_to(target.parent).as_posix(),
        left_out=everything.left_out,
        missing=Table(
            ["figure", "of", "what is missing", "what adds it"],
            [[each.kind.name, each.of, each.reason, each.fix] for each in everything.missing],
        ),
        pages=pages,
        gone=Table(["page of", "kind", "what makes it again"], gone),
        paper=paper_numbers()["source"] if paper else "",
        drawn=len(everything.drawn),
        made=words.moment(now()),
        version=__version__,
    )
    write_page(html, target)
    link_pages(target.with_name(name) for name, *_ in pages)
    return target


def _pages(results: Results, root: Path) -> tuple[list[tuple[str, str, str]], list[list[str]]]:
    """Return the pages in the folder of reports (file, title, kind), and the rows of documents whose page is gone."""
    folder = root / "reports"
    there = {file.name: file for file in sorted(folder.glob("*.html")) if file.name != INDEX}

    def is_there(document: Study | Cycle) -> bool:
        page = page_of(root, document)
        return page.name in there or earlier_page(page, document.id) is not None

    gone = []
    for study in islice(results.find(Study, {}, [("created_at", -1)]), _LISTED):
        if study.report is not None and not is_there(study):
            gone.append([study.name, f"{study.kind} study", f"gst report study {study.id}"])
    for cycle in islice(results.find(Cycle, {}, [("created_at", -1)]), _LISTED):
        if not is_there(cycle):
            gone.append([cycle.name, "cycle", f"gst report cycle {cycle.id}"])
    return [(name, *title_of(file)) for name, file in there.items()], gone
