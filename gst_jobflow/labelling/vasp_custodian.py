"""Run VASP under custodian with only those handlers that change how a calculation converges, never what it computes.

This module imports custodian and pymatgen; import it inside functions.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
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
from pymatgen.io.vasp.inputs import Incar, Poscar

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.processes import die_with_parent, end_group
from gst_jobflow.labelling.vasp_settings import PATH_KEYS

logger = logging.getLogger(__name__)

_TAIL_BYTES = 4096

# handlers that may run, with what each may change in a single point
ALLOWED_HANDLERS = {
    "FrozenJobErrorHandler": "ALGO",
    "NonConvergingErrorHandler": "ALGO and mixing",
    "StdErrHandler": "KPAR, symmetry, bands",
    "UnconvergedErrorHandler": "ALGO and mixing",
    "VaspErrorHandler": "what `ALLOWED_ERRORS` says",
    # ours
    "RefusedErrorHandler": "nothing: it ends the label",
    "WallLimitHandler": "nothing: it ends the label",
}

# handlers that never run on a label, with what each would change
REFUSED_HANDLERS = {
    "LargeSigmaHandler": "the smearing width",
    "IncorrectSmearingHandler": "the smearing",
    "KspacingMetalHandler": "the k-points",
    "ScanMetalHandler": "the k-points",
    "MeshSymmetryErrorHandler": "the k-points",
    "AliasingErrorHandler": "the grids",
    "DriftErrorHandler": "the precision",
    "LrfCommutatorHandler": "the response",
    "PositiveEnergyErrorHandler": "the choice of structures: dense random ones have positive energies",
    "PotimErrorHandler": "the motion of ions",
    "CheckpointHandler": "the number of steps",
    "StoppedRunHandler": "the number of steps",
    "WalltimeHandler": "the number of steps",
}

# errors of VaspErrorHandler whose correction does not change the result, with what it changes
ALLOWED_ERRORS = {
    **dict.fromkeys(("edddav", "eddrmm", "pssyevx", "pdsyevx", "zheev", "eddiag", "grad_not_orth"), "ALGO, bands"),
    **dict.fromkeys(("brmix", "amin"), "mixing, symmetry"),
    "coef": "an old WAVECAR",
    **dict.fromkeys(("posmap", "pricel", "pricelv", "point_group", "inv_rot_mat", "rot_matrix"), "symmetry detection"),
    **dict.fromkeys(("symprec_noise", "bravais", "ksymm", "ibzkpt", "rhosyg", "hnform"), "symmetry detection"),
    "zpotrf": "symmetry, parallelisation",
    **dict.fromkeys(("too_few_bands", "nbands_not_sufficient"), "bands"),
    **dict.fromkeys(("elf_kpar", "dfpt_ncore"), "parallelisation"),
}

# errors that end a label, with what custodian's correction would change
REFUSED_ERRORS = {
    **dict.fromkeys(("tet", "algo_tet", "dentet"), "the smearing or the k-points"),
    **dict.fromkeys(("tetirr", "incorrect_shift"), "the k-points"),
    **dict.fromkeys(("real_optlay", "rspher", "nicht_konv"), "the projection"),
    "triple_product": "the cell",
    **dict.fromkeys(("brions", "zbrent", "fexcf"), "the positions"),
    **dict.fromkeys(("set_core_wf", "read_error", "elf_ncl", "spin_polarized_harris"), "nothing: it has no correction"),
}

# warnings that do not end a calculation; convergence and bounds decide
IGNORED_ERRORS = frozenset({"auto_nbands", "subspacematrix"})

# errors of StdErrHandler, which always catches all, with what its correction changes
STDERR_ERRORS = {"kpoints_trans": "symmetry", "out_of_memory": "KPAR", "grad_not_orth": "ALGO, bands"}


class RefusedErrorHandler(VaspErrorHandler):
    """End a label on errors whose correction would change what is computed (smearing, k-points, cell, ...)."""

    def __init__(self, output_filename: str = "vasp.out", **kwargs) -> None:
        # errors that a later custodian adds are refused until somebody has judged them
        refused = sorted(set(VaspErrorHandler.error_msgs) - set(ALLOWED_ERRORS) - IGNORED_ERRORS)
        super().__init__(output_filename, errors_subset_to_catch=refused)

    def correct(self, directory="./"):
        """Correct nothing: the label fails."""
        return {"errors": sorted(self.errors), "actions": None}


class WallLimitHandler(ErrorHandler):
    """End a label at its wall limit, restarts by other handlers included."""

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


class ChangedInputError(Exception):
    """A correction changed what is computed; VASP was not started with it."""


class LabelVaspJob(VaspJob):
    """A VaspJob whose processes die with us, and that never restarts with other physics."""

    def run(self, directory="./"):
        """Start VASP in its own process group inside `directory`.

        Raises
        ------
        ChangedInputError
            INCAR keys of the method, cell, positions, POTCAR or k-points changed since the first start.
        """
        folder = Path(directory)
        now = _inputs(folder)
        first = self.__dict__.setdefault("_first_inputs", now)
        changed = sorted(key for key in {*first, *now} if first.get(key) != now.get(key))
        if changed:
            words = (f"{key}: {first.get(key, '(none)')} -> {now.get(key, '(none)')}" for key in changed)
            raise ChangedInputError(", ".join(words))
        with (folder / self.output_file).open("w") as output, (folder / self.stderr_file).open("w") as errors:
            self._vasp_process = subprocess.Popen(
                list(self.vasp_cmd),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                # launchers pass SIGTERM to their ranks
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        return self._vasp_process

    @property
    def returncode(self) -> int | None:
        """Exit status of the last run."""
        process = getattr(self, "_vasp_process", None)
        return None if process is None else process.returncode

    def end(self) -> None:
        """End the processes that the last run left."""
        process = getattr(self, "_vasp_process", None)
        if process is not None:
            end_group(process.pid)
            process.wait()


def _inputs(folder: Path) -> dict[str, Any]:
    """Return what determines the result in the input files: INCAR keys of the physics, hashes of other files."""
    incar = Incar.from_file(folder / "INCAR")
    found: dict[str, Any] = {key: value for key, value in incar.items() if key not in PATH_KEYS}
    for name in ("POSCAR", "POTCAR", "KPOINTS"):
        if (folder / name).is_file():
            found[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]
    if "POSCAR" in found:
        # handlers rewrite the same structure with other digits: compare numbers
        structure = Poscar.from_file(folder / "POSCAR", check_for_potcar=False).structure
        found["POSCAR"] = [
            *np.round(structure.lattice.matrix, 6).ravel().tolist(),
            *np.round(structure.frac_coords % 1.0, 6).ravel().tolist(),
        ]
    return found


def label_handlers(wall_limit_s: float | None = None, frozen_s: float = 3600.0) -> list[ErrorHandler]:
    """Make the allowed handlers; they keep counts, so every label needs its own."""
    handlers = [
        RefusedErrorHandler(),
        VaspErrorHandler(errors_subset_to_catch=sorted(set(ALLOWED_ERRORS) & set(VaspErrorHandler.error_msgs))),
        UnconvergedErrorHandler(),
        NonConvergingErrorHandler(),
        FrozenJobErrorHandler(timeout=frozen_s),
        StdErrHandler(),
    ]
    if wall_limit_s is not None:
        handlers.insert(0, WallLimitHandler(wall_limit_s))
    return handlers


def refuse_handlers(handlers: list[ErrorHandler]) -> None:
    """Raise InputError for a handler that is not allowed, or one of errors that are not."""
    for handler in handlers:
        name = type(handler).__name__
        if name not in ALLOWED_HANDLERS:
            why = REFUSED_HANDLERS.get(name, "unknown things")
            raise InputError(f"{name} may change {why}", "use the handlers of label_handlers() only")
        if name == "VaspErrorHandler":
            extra = set(handler.errors_subset_to_catch) - set(ALLOWED_ERRORS)  # type: ignore[attr-defined]
            if extra:
                worst = sorted(extra & set(REFUSED_ERRORS) or extra)
                why = REFUSED_ERRORS.get(worst[0], "unknown things")
                raise InputError(
                    f"VaspErrorHandler corrects {', '.join(worst)}, which may change {why}",
                    "give it errors of ALLOWED_ERRORS only",
                )


def run_custodian(
    command: list[str],
    directory: Path,
    *,
    wall_limit_s: float,
    max_errors: int,
    polling_s: float,
    frozen_s: float,
    handlers: list[ErrorHandler] | None = None,
) -> tuple[str, str] | None:
    """Run VASP in `directory` under custodian; return (failure class, reason), or None if it ended well.

    Parameters
    ----------
    handlers
        None: those of `label_handlers`.

    Raises
    ------
    InputError
        A handler may change what is computed.
    """
    handlers = label_handlers(wall_limit_s, frozen_s) if handlers is None else handlers
    refuse_handlers(handlers)
    job = LabelVaspJob(command, auto_npar=False, auto_gamma=False)
    custodian = Custodian(
        handlers,
        [job],
        validators=[VasprunXMLValidator(), VaspFilesValidator()],
        max_errors=max_errors,
        polling_time_step=polling_s,
        # handlers check about every half minute
        monitor_freq=max(1, round(min(30.0, wall_limit_s, frozen_s) / polling_s)),
        directory=str(directory),
    )
    try:
        custodian.run()
    except ChangedInputError as error:
        return "wrong_method", f"a correction would have changed {error}"
    except CustodianError as error:
        return _why(custodian, error.message, job, directory)
    finally:
        job.end()
    unsolved = [entry for entry in custodian.run_log[-1]["corrections"] if not entry["actions"]]
    return _why(custodian, "custodian could not correct an error", job, directory) if unsolved else None


def _why(custodian: Custodian, message: str, job: LabelVaspJob, directory: Path) -> tuple[str, str]:
    """Return failure class and reason from custodian's last log and VASP's output."""
    log = custodian.run_log[-1]
    corrections = log["corrections"]
    names = [type(entry["handler"]).__name__ for entry in corrections]
    errors = ", ".join(error for entry in corrections for error in entry["errors"])
    said = _last_words(directory, job)
    if "No space left on device" in said:
        return "disk_full", f"VASP: {said}"
    if "WallLimitHandler" in names:
        return "timeout", f"VASP did not end within its wall limit ({errors})"
    if names and names[-1] == "FrozenJobErrorHandler":
        return "timeout", "VASP printed nothing for too long (frozen_s)"
    reason = f"VASP: {message}" + (f" ({errors})" if errors else "")
    if log["validator"] is not None:
        status = job.returncode
        if not status:
            return "missing_output", f"{reason}{said and f': {said}'}"
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        return "crash", f"VASP ended with {how}{said and f': {said}'}"
    if names and names[-1] in ("UnconvergedErrorHandler", "NonConvergingErrorHandler"):
        return "not_converged", reason
    return "crash", reason


def _last_words(directory: Path, job: LabelVaspJob) -> str:
    """Return the last line of stderr, else of stdout, but prefer a line on a full disk."""
    lines: list[str] = []
    for name in (job.output_file, job.stderr_file):
        file = directory / name
        if file.is_file():
            with file.open("rb") as stream:
                stream.seek(max(0, file.stat().st_size - _TAIL_BYTES))
                lines += [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    full = [line for line in lines if "No space left on device" in line]
    return (full or lines or [""])[-1][:200]
