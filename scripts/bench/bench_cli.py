"""Measure the time of `gst --help`."""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import subprocess
import sys
from collections.abc import Iterator

from _common import Row, main, seconds

GOAL_S = 0.3


def measure(size: str) -> Iterator[Row]:
    """Return the median time of fresh processes."""
    repeats = 5 if size == "small" else 20
    command = [sys.executable, "-c", "from gst_jobflow.cli.main import main; main()", "--help"]
    bare = [sys.executable, "-c", "import typer, typer.main"]

    def run(words: list[str]) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    yield Row(
        name="gst --help",
        value=seconds(lambda: run(command), repeats),
        unit="s",
        baseline="python with typer imported",
        baseline_value=seconds(lambda: run(bare), repeats),
        limit=GOAL_S,
    )


if __name__ == "__main__":
    main(__doc__ or "", measure, ["typer"])
