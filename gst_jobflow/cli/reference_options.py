"""Options that name frames from first principles, for commands that compare with them."""

from __future__ import annotations

from dataclasses import dataclass

from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.option_group import option


@dataclass(frozen=True)
class ReferenceOptions:
    """Options of `ReferenceSource`."""

    trajectory: list[str] | None = option("Reference: a first-principles run (repeatable).")
    dataset: list[str] | None = option("Reference: a dataset's frames of config type aimd (repeatable).")
    where: list[str] | None = option("Reference: structures as in gst query structures.", "--where", "-w")
    fingerprint: str | None = option("Method of the reference labels, or its beginning.", "--fingerprint", "-f")
    after_ps: float | None = option("Skip this time at the start of reference runs.")

    def over(self, source: ReferenceSource) -> ReferenceSource:
        """Return a source with what these options name."""
        given = {"trajectories": self.trajectory, "datasets": self.dataset, "where": self.where,
                 "fingerprint": self.fingerprint, "after_ps": self.after_ps}  # fmt: skip
        named = {key: value for key, value in given.items() if value is not None}
        return checked(type(source), {**dict(source), **named}) if named else source
