"""Link pages with the index that lies beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path

from gst_jobflow.base.atomic import write_text

INDEX = "index.html"
_KIND_OF_INDEX = "figures"
_HEADER = '<header><div class="in">'
_LINK = f'\n  <p class="up"><a href="{INDEX}">← all figures and pages</a></p>'
# of a study that runs: its next writing brings the link, and must not be undone here
_WRITTEN_AGAIN = '<meta http-equiv="refresh"'


def title_of(file: Path) -> tuple[str, str]:
    """Return the title of a page and its kind."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        found = re.search(r"<title>(.*?)</title>", stream.read(4000))
    title, _, kind = (unescape(found[1]) if found else file.stem).rpartition(" · ")
    return (title, kind) if title else (kind, "")


def linked(html: str, target: Path) -> str:
    """Return a page that links to the index in the folder of `target`, where `gst report all` wrote one."""
    index = target.parent / INDEX
    html = stand_alone(html)
    if target.name == INDEX or not index.is_file() or title_of(index)[1] != _KIND_OF_INDEX:
        return html
    return html.replace(_HEADER, _HEADER + _LINK, 1)


def stand_alone(html: str) -> str:
    """Return a page without a link to an index."""
    return html.replace(_LINK, "", 1)


def link_pages(pages: Iterable[Path]) -> None:
    """Add the link to pages that are older than the index; files of others and pages of running studies stay."""
    for page in pages:
        try:
            html = page.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        with_link = linked(html, page)
        if with_link != html and "gst_jobflow" in html and _WRITTEN_AGAIN not in html:
            write_text(page, with_link, mode=0o644)
