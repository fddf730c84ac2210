"""A process that parses and checks frames of extended XYZ for an import: `python -m gst_jobflow.importing.worker`.

It reads pickles from its parent on standard input (first the options, then one `Chunk` after the other) and answers
each chunk with the list of its outcomes. It ends when the input ends.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
import traceback
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from gst_jobflow.importing.extxyz import parse_frame
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.outcome import Outcome, outcome_of

_GC_THRESHOLD = 50_000
"""Objects; Python's own is 700."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames of one file that follow each other; `first` is the index of the first, which begins at byte `start`."""

    file: Path
    first: int
    frames: list[bytes]
    start: int = 0

    def outcomes(self, options: ImportOptions) -> list[Outcome]:
        """Parse and check them. None is so large that its coordinates need an artifact store."""
        ends = accumulate((len(frame) for frame in self.frames), initial=self.start)
        next(ends)
        return [
            outcome_of(parse_frame(self.file, self.first + place, frame, end), options, None)
            for place, (frame, end) in enumerate(zip(self.frames, ends, strict=True))
        ]


def serve(source: BinaryIO, answers: BinaryIO) -> None:
    """Answer chunks until there are no more; what fails is answered with its traceback as text."""
    options: ImportOptions = pickle.load(source)
    while True:
        try:
            chunk: Chunk = pickle.load(source)
        except EOFError:
            return
        answer: list[Outcome] | str
        try:
            answer = chunk.outcomes(options)
        except Exception:  # whatever it is, the parent can tell it, and where; a worker that ends cannot
            answer = traceback.format_exc()
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


def main() -> None:
    """Serve the parent; whatever libraries print goes to standard error, not among the answers."""
    # what was imported stays; of records only errors make cycles, and to look for them often takes a tenth of the time
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    # pickles name the classes of the module by its own name, not by __main__
    from gst_jobflow.importing.worker import main as served

    served()
