"""What `gst cancel`, `gst pause` and `gst resume` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.cli.common import print_json, print_table

if TYPE_CHECKING:
    from gst_jobflow.launch.control import Changed

JobIds = Annotated[list[int] | None, typer.Argument(metavar="ID…", help="Ids of jobs, as gst status shows them.")]


def show(changed: Sequence[Changed], as_json: bool) -> None:
    """Print what was changed."""
    if as_json:
        print_json([{"firework_id": item.fw_id, "name": item.name, "what": item.what} for item in changed])
    elif changed:
        print_table([[item.fw_id, item.name, item.what] for item in changed], ["id", "name", "what"])
    else:
        typer.echo("there is nothing that it could be done to")
