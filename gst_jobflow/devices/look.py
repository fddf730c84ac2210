"""Compute the crystal-like fraction of a running run, in a process of its own: OVITO needs a main thread."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gst_jobflow.analysis.crystallinity import crystallinity
from gst_jobflow.base.errors import DataError
from gst_jobflow.dynamics.watch import newest_frame

_TIMEOUT_S = 1800.0


def crystalline_now(
    folder: Path, after: int, mobile: tuple[int, int], elements: Sequence[str], anion: str
) -> tuple[int, float] | None:
    """Return step and crystal-like fraction of the newest frame later than step `after`; None if there is none.

    `folder` is that of a running segment; `mobile` are first and last id of the atoms to count, from 1; `elements` are
    in the order of LAMMPS types; `anion` is the close-packed one. Raises DataError if the process fails.
    """
    asked = {"folder": str(folder), "after": after, "mobile": list(mobile), "elements": list(elements), "anion": anion}
    command = [sys.executable, "-P", "-m", "gst_jobflow.devices.look", json.dumps(asked)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{folder}: analysing a frame took longer than {_TIMEOUT_S:g} s", "raise dump_every") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise DataError(f"{folder}: analysing a frame failed: {last}", "gst doctor checks OVITO") from error
    found = json.loads(done.stdout.splitlines()[-1])
    return None if found is None else (int(found["step"]), float(found["fraction"]))


def main(asked: str) -> None:
    """Print what `crystalline_now` returns, as JSON."""
    given = json.loads(asked)
    found = newest_frame(Path(given["folder"]), given["after"])
    if found is None:
        print("null")
        return
    _, frame = found
    group = np.arange(given["mobile"][0] - 1, given["mobile"][1])
    fraction = crystallinity(frame.to_atoms(given["elements"]), group, anion=given["anion"]).fraction
    print(json.dumps({"step": frame.step, "fraction": fraction}))


if __name__ == "__main__":
    main(sys.argv[1])
