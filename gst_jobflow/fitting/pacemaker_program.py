"""Run pacemaker so that its potentials are replaced in one step: `python pacemaker_program.py PACEMAKER ARGUMENT ...`.

pacemaker overwrites its interim potential at each iteration, and a kill meanwhile would lose all iterations. The
process ends as soon as all is written. Runs in the Python that has pacemaker's package; imports nothing of this
project.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main(program: str, *arguments: str) -> None:
    """Run pacemaker's script with potentials that are written beside the old ones, then renamed."""
    # the modules beside this file must not stand in for others of their names
    sys.path[0] = str(Path(program).parent)
    from pyace.basis import BBasisConfiguration

    write = BBasisConfiguration.save

    def save(potential: Any, name: str) -> None:
        part = f"{name}.part"
        write(potential, part)
        Path(part).replace(name)

    BBasisConfiguration.save = save
    sys.argv = [program, *arguments]
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    # everything is written; to take TensorFlow's graphs apart would cost seconds
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
