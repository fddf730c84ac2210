"""Custodian for labels: only handlers that change how a calculation converges, never what it computes.

This module imports custodian and pymatgen; import it inside functions.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from pathlib import Path

from custodian import Custodian
from custodian.custodian import CustodianError, ErrorHandler
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    NonConvergingErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
)
from custodian.vasp.jobs import VaspJob
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator

from gst_jobflow.errors import InputError
from gst_jobflow.processes import die_with_parent, end_group

logger = logging.getLogger(__name__)

# Handlers of custodian that may run. What each may change of a single point: ALGO and mixing (Unconverged,
# NonConverging, Frozen), NCORE and KPAR (StdErr), and what `ALLOWED_ERRORS` says (VaspError).
ALLOWED_HANDLERS = frozenset(
    {
        "FrozenJobErrorHandler",
        "NonConvergingErrorHandler",
        "RefusedErrorHandler",
        "StdErrHandler",
        "UnconvergedErrorHandler",
        "VaspErrorHandler",
        "WallLimitHandler",
    }
)

# Handlers that never run on a label, each with what it would change.
REFUSED_HANDLERS = {
    "LargeSigmaHandler": "the smearing width",
    "IncorrectSmearingHandler": "the smearing",
    "KspacingMetalHandler": "the k-points",
    "ScanMetalHandler": "the k-points",
    "MeshSymmetryErrorHandler": "the k-points",
    "AliasingErrorHandler": "the grids",
    "DriftErrorHandler": "the precision",
    "LrfCommutatorHandler": "the response",
    "PositiveEnergyErrorHandler": "which structures get a label: dense random ones have positive energies",
    "PotimErrorHandler": "the motion of ions",
    "CheckpointHandler": "the number of steps",
    "StoppedRunHandler": "the number of steps",
    "WalltimeHandler": "the number of steps",
}

# Errors whose correction touches ALGO, mixing, symmetry detection, bands or parallelisation only.
ALLOWED_ERRORS = frozenset(
    {
        *("edddav", "eddrmm", "pssyevx", "pdsyevx", "zheev", "eddiag", "grad_not_orth", "brmix", "amin", "coef"),
        *("posmap", "pricel", "pricelv", "point_group", "inv_rot_mat", "rot_matrix", "symprec_noise", "bravais"),
        *("ksymm", "ibzkpt", "rhosyg", "hnform", "zpotrf", "too_few_bands", "nbands_not_sufficient", "elf_kpar"),
        "dfpt_ncore",
    }
)

# Warnings that do not end a calculation; convergence and bounds decide.
IGNORED_ERRORS = frozenset({"auto_nbands", "subspacematrix"})


class RefusedErrorHandler(VaspErrorHandler):
    """Ends a label on errors whose correction would change what is computed (smearing, k-points, cell, ...)."""

    def __init__(self, output_filename: str = "vasp.out", **kwargs) -> None:
        refused = sorted(set(VaspErrorHandler.error_msgs) - ALLOWED_ERRORS - IGNORED_ERRORS)
        super().__init__(output_filename, errors_subset_to_catch=refused)

    def correct(self, directory="./"):
        """Correct nothing: the label fails."""
        return {"errors": sorted(self.errors), "actions": None}


class WallLimitHandler(ErrorHandler):
    """Ends a label at its wall limit, restarts by other handlers included."""

    is_monitor = True

    def __init__(self, wall_limit_s: float) -> None:
        self.wall_limit_s = wall_limit_s
        self._start = time.monotonic()

    def check(self, directory="./") -> bool:
        """Return whether the limit is reached."""
        return time.monotonic() - self._start > self.wall_limit_s

    def correct(self, directory="./"):
        """Correct nothing: the label fails."""
        return {"errors": ["wall limit"], "actions": None}


class LabelVaspJob(VaspJob):
    """A VaspJob whose processes die with us."""

    def run(self, directory="./"):
        """Start VASP in its own process group inside `directory`."""
        folder = Path(directory)
        with (folder / self.output_file).open("w") as output, (folder / self.stderr_file).open("w") as errors:
            self._vasp_process = subprocess.Popen(
                list(self.vasp_cmd),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                # SIGTERM: launchers pass it to their ranks
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        return self._vasp_process

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run."""
        process = getattr(self, "_vasp_process", None)
        return None if process is None else process.returncode

    def end(self) -> None:
        """End what is left of the last run."""
        process = getattr(self, "_vasp_process", None)
        if process is not None:
            end_group(process.pid)
            process.wait()


def label_handlers(wall_limit_s: float | None = None) -> list[ErrorHandler]:
    """Return fresh handlers of the allow list; they keep counts, so every label needs its own."""
    handlers = [
        RefusedErrorHandler(),
        VaspErrorHandler(errors_subset_to_catch=sorted(ALLOWED_ERRORS & set(VaspErrorHandler.error_msgs))),
        UnconvergedErrorHandler(),
        NonConvergingErrorHandler(),
        FrozenJobErrorHandler(),
        StdErrHandler(),
    ]
    if wall_limit_s is not None:
        handlers.insert(0, WallLimitHandler(wall_limit_s))
    return handlers


def refuse_handlers(handlers: list[ErrorHandler]) -> None:
    """Raise InputError when a handler may change what is computed.

    Raises
    ------
    InputError
        A handler outside the allow list, or a VaspErrorHandler that catches errors outside `ALLOWED_ERRORS`.
    """
    for handler in handlers:
        name = type(handler).__name__
        if name not in ALLOWED_HANDLERS:
            why = REFUSED_HANDLERS.get(name, "unknown things")
            raise InputError(f"{name} may change {why}", "labels run with the handlers of label_handlers() only")
        if name == "VaspErrorHandler":
            extra = set(handler.errors_subset_to_catch) - ALLOWED_ERRORS
            if extra:
                raise InputError(
                    f"VaspErrorHandler corrects {', '.join(sorted(extra))}", "give it errors of ALLOWED_ERRORS only"
                )


def run_custodian(
    command: list[str], directory: Path, *, wall_limit_s: float, max_errors: int, polling_s: float
) -> tuple[str, str] | None:
    """Run VASP in `directory` under custodian; return (failure class, reason), or None when it ended well.

    The current directory of this process is not changed.
    """
    handlers = label_handlers(wall_limit_s)
    refuse_handlers(handlers)
    job = LabelVaspJob(command, auto_npar=False, auto_gamma=False)
    custodian = Custodian(
        handlers,
        [job],
        validators=[VasprunXMLValidator(), VaspFilesValidator()],
        max_errors=max_errors,
        polling_time_step=polling_s,
        # handlers look about every half minute
        monitor_freq=max(1, round(min(30.0, wall_limit_s) / polling_s)),
        directory=str(directory),
    )
    try:
        custodian.run()
    except CustodianError as error:
        return _why(custodian, error.message, job)
    finally:
        job.end()
    unsolved = [entry for entry in custodian.run_log[-1]["corrections"] if not entry["actions"]]
    return _why(custodian, "custodian could not correct an error", job) if unsolved else None


def _why(custodian: Custodian, message: str, job: LabelVaspJob) -> tuple[str, str]:
    """Return failure class and reason from what custodian logged last."""
    log = custodian.run_log[-1]
    corrections = log["corrections"]
    names = [type(entry["handler"]).__name__ for entry in corrections]
    errors = ", ".join(error for entry in corrections for error in entry["errors"])
    reason = f"VASP: {message}" + (f" ({errors})" if errors else "")
    if "WallLimitHandler" in names:
        return "timeout", f"VASP did not end within its wall limit ({errors})"
    if log["validator"] is not None:
        status = job.returncode
        return ("crash", f"{reason}, exit status {status}") if status else ("missing_output", reason)
    if names and names[-1] in ("UnconvergedErrorHandler", "NonConvergingErrorHandler"):
        return "not_converged", reason
    return "crash", reason
