"""Label the frames of a file by tblite, a process a core, for comparison with `gst submit label`."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

KEYWORDS = {"method": "GFN1-xTB", "accuracy": 1.0, "electronic_temperature": 2000.0, "verbosity": 0}


def label(atoms: Any) -> dict[str, Any]:
    """Return energy, forces and stress of a structure, or the error."""
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


def main(frames: str, cores: int, results: Path) -> None:
    """Label the frames of a file and write their results as JSON."""
    from ase.io import read

    # the largest first, so that no core waits long for the last one
    structures = sorted(read(frames, ":"), key=len, reverse=True)
    # a session each, as our calculators have: Linux shares processors between sessions, not processes
    with multiprocessing.get_context("spawn").Pool(cores, os.setsid) as pool:
        done = list(pool.imap(label, structures, chunksize=1))
    results.write_text(json.dumps(done))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", help="file that ASE reads")
    parser.add_argument("cores", type=int)
    parser.add_argument("results", type=Path, help="JSON file to write")
    main(**vars(parser.parse_args()))
