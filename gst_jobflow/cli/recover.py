"""`gst recover`: rerun jobs that were cut off."""

from __future__ import annotations

import typer

from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table
from gst_jobflow.cli.option_group import flag
from gst_jobflow.launch.recover import recover


def command(
    failed: bool = flag("Also rerun failed jobs.", "--failed"),
    dry_run: bool = flag("Only show what would be done.", "--dry-run"),
    as_json: JsonOption = False,
) -> None:
    """Put lost jobs (their process died) back in the queue; running jobs are left alone.

    Safe to run twice and beside running workers.
    """
    found = recover(open_project(), failed=failed, dry_run=dry_run)
    if as_json:
        print_json(
            [
                {"firework_id": item.fw_id, "name": item.name, "reason": item.reason, "again": item.again}
                for item in found
            ]
        )
    elif found:
        print_table([[item.fw_id, item.name, item.reason] for item in found], ["id", "name", "reason"])
        again = sum(item.again for item in found)
        said = f"{again} ready to run again: gst launch" if again else "nothing runs again: gst recover --failed"
        typer.echo("nothing was changed (--dry-run)" if dry_run else said)
    else:
        typer.echo("nothing to recover")
