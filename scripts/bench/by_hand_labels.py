"""What a careful person runs instead of `gst submit label`: tblite over the frames of a file, a process a core.

Usage: by_hand_labels.py FRAMES CORES RESULTS.json
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

KEYWORDS = {"method": "GFN1-xTB", "accuracy": 1.0, "electronic_temperature": 2000.0, "verbosity": 0}


def label(atoms: Any) -> dict[str, Any]:
    """Energy, forces and stress of a structure, or why there are none."""
    from tblite.ase import TBLite

    atoms.calc = TBLite(**KEYWORDS)
    try:
        return {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces().tolist(),
            "stress": atoms.get_stress().tolist(),
        }
    except RuntimeError as error:
        return {"error": str(error)}


def main(frames: str, cores: str, results: str) -> None:
    from ase.io import read

    # the largest first, so that no core waits long for the last one
    structures = sorted(read(frames, ":"), key=len, reverse=True)
    # a session each, as our calculators have: Linux shares processors between sessions, not processes
    with multiprocessing.get_context("spawn").Pool(int(cores), os.setsid) as pool:
        done = list(pool.imap(label, structures, chunksize=1))
    Path(results).write_text(json.dumps(done))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(*sys.argv[1:4])
