"""Find pacemaker and its tools."""

from __future__ import annotations

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.settings import Settings
from gst_jobflow.fitting.programs import PacemakerRunner


def pacemaker_runner(settings: Settings) -> PacemakerRunner:
    """Return pacemaker and its tools as the settings name them or as found.

    Raises
    ------
    MissingProgramError
        A program is missing.
    """
    wanted = settings.pacemaker
    threads = wanted.threads or cores()
    if wanted.bin_dir is None:
        return PacemakerRunner.discover(threads=threads)
    programs = {name: wanted.bin_dir / name for name in ("pacemaker", "pace_yaml2yace", "pace_activeset")}
    if missing := [str(path) for path in programs.values() if not path.is_file()]:
        raise MissingProgramError(f"{missing[0]} does not exist", "correct the setting pacemaker.bin_dir")
    return PacemakerRunner(**programs, threads=threads)
