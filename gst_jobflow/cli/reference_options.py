"""Options that name frames from first principles, for commands that compare with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.base.strict import checked


@dataclass(frozen=True)
class ReferenceOptions:
    """Options of `ReferenceSource`."""

    trajectory: Annotated[
        list[str] | None, typer.Option("--trajectory", help="Reference: a first-principles run (repeatable).")
    ] = None
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Reference: a dataset's frames of config type aimd (repeatable)."),
    ] = None
    where: Annotated[
        list[str] | None, typer.Option("--where", "-w", help="Reference: structures as in gst query structures.")
    ] = None
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", "-f", help="Method of the reference labels, or its beginning.")
    ] = None
    after_ps: Annotated[float | None, typer.Option(help="Skip this time at the start of reference runs.")] = None

    def over(self, source: ReferenceSource) -> ReferenceSource:
        """Return a source with what these options name."""
        given = {"trajectories": self.trajectory, "datasets": self.dataset, "where": self.where,
                 "fingerprint": self.fingerprint, "after_ps": self.after_ps}  # fmt: skip
        named = {key: value for key, value in given.items() if value is not None}
        return checked(type(source), {**dict(source), **named}) if named else source
