"""`gst approve`: let a training protocol go on with a step that waits for a person."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import JsonOption, open_project, say
from gst_jobflow.cli.control import show_changed
from gst_jobflow.documents import Study
from gst_jobflow.launch import control
from gst_jobflow.launch.keys import STUDY_KEY
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


def command(
    study: Annotated[str, typer.Argument(help="Id or name of the study of gst submit iterate.")],
    as_json: JsonOption = False,
) -> None:
    """Let a study go on with the step that gst submit iterate --pause-before made wait.

    Later steps that wait, too, go on waiting until their turn. Example: gst approve gst-ace-24
    """
    project = open_project()
    found = get_located(Results.open(project), Study, study)
    ready, later = control.waiting_for_approval(project, {STUDY_KEY: found.id})
    if not ready:
        raise InputError(
            f"no step of study {found.name} waits for an approval",
            f"{len(later)} paused jobs are not reached yet: gst launch" if later else "gst status shows its jobs",
        )
    show_changed(control.resume(project, ready), as_json)
    if not as_json:
        say("next: gst launch")
