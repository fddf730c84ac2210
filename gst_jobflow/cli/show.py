"""`gst show`: show one document, its origins and what was made from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import lineage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gst_jobflow.store.lineage import Lineage, Link


def command(
    id: Annotated[
        str,
        typer.Argument(
            help="Id of any document, or at least its first 6 characters, or the name of a dataset, potential or study."
        ),
    ],
    collection: Annotated[str | None, typer.Option("--collection", "-c", help="Search only this collection.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a document was made from and what was made from it, with attempts, files and cost.

    Example: gst show 3f9a01
    """
    from dataclasses import asdict

    found = lineage(Results.open(open_project()), id, collection)
    if as_json:
        print_json(asdict(found))
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: Lineage) -> Iterator[str]:
    yield f"{found.collection} {found.id}"
    for name, value in found.summary.items():
        if name != "id":
            yield f"  {name}: {_text(value)}"
    for title, links in (("where it came from", found.origins), ("what was made from it", found.made)):
        yield title
        yield from (f"  {_link_text(link)}" for link in links)
        if not links:
            yield "  nothing in the database"
    if found.attempts:
        yield "attempts of its job"
    for attempt in found.attempts:
        reason = f": {attempt['reason']}" if "reason" in attempt else ""
        yield f"  {attempt['number']} {attempt['state']} on {attempt['host']}, {attempt['directory']}{reason}"
    if found.files:
        yield "files"
    for file in found.files:
        yield f"  {file['name']}  {file['size_bytes']} bytes  {file['state']}  {file['path']}"
    if found.cost:
        yield "cost"
        yield "  " + ", ".join(f"{name} {value:.4g}" for name, value in found.cost.items())


def _link_text(link: Link) -> str:
    more = " …" if link.count > len(link.ids) and link.ids else ""
    ids = " ".join(f"{id} (not in the database)" if id in link.missing else id for id in link.ids)
    detail = f"  {_text(link.detail)}" if link.detail else ""
    return f"{link.relation}: {link.count} {link.collection}  {ids}{more}".rstrip() + detail


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "isoformat"):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)
