"""Find pacemaker and its tools, and set the environment that they run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.settings import Settings
from gst_jobflow.base.strict import StrictModel

CPU = "CPU"
"""Device of a fit without a GPU."""
_PROGRAMS = ("pacemaker", "pace_yaml2yace", "pace_activeset")
_DEVICES, _GPU_FILES = Path("/dev"), ("nvidia[0-9]*", "kfd")
_NAME_GPUS = """
from tensorflow import config
for gpu in config.list_physical_devices("GPU"):
    print(config.experimental.get_device_details(gpu).get("device_name", "GPU"))
"""


class PacemakerRunner(StrictModel):
    """The programs of pacemaker, their threads and their time limit."""

    pacemaker: Path
    pace_yaml2yace: Path
    pace_activeset: Path
    threads: int = Field(1, ge=1)
    gpu: int | None = Field(None, ge=0, description="GPU of fits that name none; default: the first")
    timeout_s: float | None = Field(None, gt=0, description="Limit of a fit, s; default: none")

    @classmethod
    def discover(cls, threads: int = 1, timeout_s: float | None = None, gpu: int | None = None) -> PacemakerRunner:
        """Return a runner with the programs next to this Python, else on PATH; MissingProgramError without one."""
        found = {name: _find_program(name) for name in _PROGRAMS}
        return cls(**found, threads=threads, timeout_s=timeout_s, gpu=gpu)

    @property
    def python(self) -> Path:
        """The Python of pacemaker's environment."""
        beside = self.pacemaker.parent / "python"
        return beside if beside.is_file() else Path(sys.executable)

    def environment(self, gpu: str | int | None = "auto") -> dict[str, str]:
        """Return the environment of the programs: thread counts, quiet TensorFlow, no variables that redirect data."""
        count = str(self.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "TF_NUM_INTRAOP_THREADS": count,
            "TF_NUM_INTEROP_THREADS": count,
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_USE_LEGACY_KERAS": "1",
            "MPLBACKEND": "Agg",
        }
        # pacemaker would look for the dataset in this folder
        environment.pop("PACEMAKERDATAPATH", None)
        if gpu is None:
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        elif gpu == "auto" and self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = str(self.gpu)
        return environment

    def device(self, gpu: str | int | None = "auto") -> str:
        """Return what TensorFlow fits on: `CPU`, or the name of the GPU."""
        if gpu is None or not any(file for files in _GPU_FILES for file in _DEVICES.glob(files)):
            return CPU
        names = _gpus(self.python, self.environment(gpu).get("CUDA_VISIBLE_DEVICES"))
        index = gpu if isinstance(gpu, int) else 0
        return names[index] if index < len(names) else CPU


@lru_cache(maxsize=8)
def _gpus(python: Path, visible: str | None) -> list[str]:
    """Return the names of the GPUs that TensorFlow sees."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"} | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {})
    done = subprocess.run(
        [python, "-c", _NAME_GPUS], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    return done.stdout.splitlines()


def pacemaker_runner(settings: Settings) -> PacemakerRunner:
    """Return pacemaker and its tools as the settings name them or as found; raises as `PacemakerRunner.discover`."""
    wanted = settings.pacemaker
    threads = wanted.threads or cores()
    if wanted.bin_dir is None:
        return PacemakerRunner.discover(threads=threads, gpu=wanted.gpu)
    programs = {name: wanted.bin_dir / name for name in _PROGRAMS}
    if missing := [str(path) for path in programs.values() if shutil.which(path) is None]:
        raise MissingProgramError(
            f"{missing[0]} is not there or not executable", "correct the setting pacemaker.bin_dir"
        )
    return PacemakerRunner(**programs, threads=threads, gpu=wanted.gpu)


def _find_program(name: str) -> Path:
    beside = Path(sys.executable).parent / name
    found = beside if beside.is_file() else shutil.which(name)
    if not found:
        raise MissingProgramError(f"{name} is not installed", "run scripts/install_pacemaker")
    return Path(found)
