"""Label by any ASE calculator, such as tblite."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.strict import UnfitValueError
from gst_jobflow.labelling.backend import BackendModel, Bounds, RawLabel, failed
from gst_jobflow.labelling.calculator_process import LOG, Spec, answer, ask
from gst_jobflow.labelling.method import Method
from gst_jobflow.labelling.weights import source_hash, weights_hash

# Energies of free, spin-unpolarised GFN1-xTB atoms at 300 K (tblite 0.8, one atom without a cell), eV.
GFN1_FREE_ATOM_EV = {
    "C": -47.3787,
    "N": -78.8827,
    "O": -118.4417,
    "Al": -29.3229,
    "Si": -44.2257,
    "P": -65.9893,
    "S": -96.2173,
    "Sc": -26.5026,
    "Ti": -31.2604,
    "Ga": -31.4553,
    "Ge": -41.2869,
    "As": -59.9474,
    "Se": -87.6946,
    "Ag": -102.4067,
    "In": -37.4983,
    "Sn": -63.7086,
    "Sb": -64.0078,
    "Te": -100.0026,
    "Bi": -56.7056,
}


class KnownCalculator(NamedTuple):
    """A calculator's import path, and the package that installs it."""

    path: str
    package: str


KNOWN = {
    "mace": KnownCalculator("mace.calculators:mace_mp", "mace-torch"),
    "grace": KnownCalculator("tensorpotential.calculator:TPCalculator", "tensorpotential"),
    "grace-fm": KnownCalculator("tensorpotential.calculator:grace_fm", "tensorpotential"),
    "chgnet": KnownCalculator("chgnet.model:CHGNetCalculator", "chgnet"),
}

_TBLITE = "tblite.ase:TBLite"
_WELL_KNOWN = {_TBLITE, *(known.path for known in KNOWN.values())}


class AseBackend(BackendModel):
    """Any ASE calculator, found by its import path.

    Attributes
    ----------
    name
        Code name in the method.
    calculator
        "package.module:Name" of a class, or of a function that returns a calculator.
    package
        Distribution whose version is part of the method; empty: a loose module, identified by its source.
    parameters
        Keyword arguments that change the physics: part of the method.
    weights
        Keyword arguments that are files or folders (trained models): their content is part of the method.
    options
        Keyword arguments that do not change the physics (iteration limits, mixing, verbosity, device).
    isolate
        Compute in a child process, so that a segfault or hang is a failed label and not a dead worker. Without it,
        the wall limit has no effect.
    reuse
        Keep the calculator in that process, so that a model is loaded once. False for calculators that start from the
        state of their last calculation.
    wall_limit_s
        Limit of an isolated calculation.
    threads
        OMP_NUM_THREADS of an isolated calculation.
    elements
        Supported elements; empty: any.
    not_converged
        Pattern of the error messages of an unconverged self-consistency.
    """

    name: str
    calculator: str = Field(pattern=r"^[\w.]+:\w+$")
    package: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    isolate: bool = True
    reuse: bool = True
    wall_limit_s: float = Field(600.0, gt=0)
    threads: int = Field(1, ge=1)
    elements: list[str] = Field(default_factory=list)
    not_converged: str = r"not converge|no convergence|failed to converge"

    def check(self, atoms: Atoms) -> None:
        """Raise InputError as every backend does, and for tblite if the cell is periodic along some axes only."""
        super().check(atoms)
        # tblite 0.8 treats it as periodic along all three
        if self.calculator == _TBLITE and atoms.pbc.any() and not atoms.pbc.all():
            raise InputError(
                "tblite takes cells that are periodic in all directions or in none", "set pbc, with vacuum for a slab"
            )

    @model_validator(mode="after")
    def _one_place_for_each_keyword(self) -> AseBackend:
        places = {"parameters": self.parameters, "weights": self.weights, "options": self.options}
        for one, other in (("parameters", "options"), ("parameters", "weights"), ("weights", "options")):
            if both := sorted(set(places[one]) & set(places[other])):
                raise UnfitValueError(f"'{both[0]}' is both in {one} and in {other} of {self.name}", "leave one out")
        return self

    def known_elements(self) -> list[str]:
        return self.elements

    @property
    def cost_exponent(self) -> float:
        # local models scale linearly
        return 2.0 if self.package == "tblite" else 1.0

    @property
    def cores(self) -> int | None:
        # calculators in this process share its state: one at a time
        return self.threads if self.isolate else None

    @property
    def fewest_in_a_job(self) -> int:
        # they take seconds
        return 200 if self.calculator in _WELL_KNOWN else super().fewest_in_a_job

    def method(self) -> Method:
        """Return name, version of the package, calculator, parameters, and SHA-256 of the weights.

        Unknown calculators are named with their module, to tell them from others of the same name and version.

        Raises
        ------
        MissingProgramError
            The package or a file of weights is missing.
        """
        known = not self.package or self.calculator in _WELL_KNOWN
        calculator = self.calculator.partition(":")[2] if known else self.calculator
        parameters = {"calculator": calculator, **self.parameters}
        for keyword, path in self.weights.items():
            parameters[keyword] = {"sha256": weights_hash(Path(path))}
        if self.package:
            try:
                version = _version_of(self.package)
            except importlib.metadata.PackageNotFoundError as error:
                raise self._missing() from error
        else:
            version = source_hash(self.calculator.partition(":")[0])
        return Method(code=self.name, version=version, parameters=parameters)

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Label `atoms`; the output of an isolated run goes into `directory`.

        Raises
        ------
        InputError
            The keyword arguments do not fit the calculator.
        MissingProgramError
            It cannot be imported or made.
        """
        method = self.method()
        start = time.monotonic()
        request = self._request(atoms)
        if self.isolate:
            label = self._isolated(request, Path(directory), method.fingerprint())
        else:
            label = self._label(answer(request)[0])
        label.wall_s = time.monotonic() - start
        label.method_seen = method
        return label

    def _request(self, atoms: Atoms) -> dict[str, Any]:
        return {
            "calculator": self.calculator,
            "keywords": {**self.parameters, **self.weights, **self.options},
            "reuse": self.reuse,
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
        }

    def _isolated(self, request: dict[str, Any], directory: Path, fingerprint: str) -> RawLabel:
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        keywords = json.dumps(request["keywords"], sort_keys=True)
        spec = Spec(self.calculator, keywords, self.reuse, self.threads, fingerprint)
        reply = ask(spec, request, directory, self.wall_limit_s)
        log = directory / LOG
        files = {"log": log} if log.is_file() and log.stat().st_size else {}
        if reply.timed_out:
            return failed("timeout", f"{self.name} did not end within {self.wall_limit_s:g} s", files=files)
        if reply.content is None:
            return failed("crash", f"{self.name} ended with {_how(reply.returncode, log)}", files=files)
        label = self._label(reply.content)
        label.files = files
        return label

    def _label(self, content: dict[str, Any]) -> RawLabel:
        if "missing" in content:
            raise self._missing(content["missing"])
        if "keywords" in content:
            raise InputError(f"calculator {self.calculator}: {content['keywords']}", "correct --option parameters.…")
        if "unmade" in content:
            raise MissingProgramError(
                f"calculator {self.calculator} cannot be made here: {content['unmade']}",
                "put the files that it loads where all nodes see them; then gst recover --failed",
            )
        if "error" in content:
            unconverged = re.search(self.not_converged, content["error"], re.IGNORECASE)
            return failed("not_converged" if unconverged else "crash", f"{self.name}: {content['error']}")
        stress = content["stress"]
        return RawLabel(
            converged=True,
            energy_eV=content["energy"],
            forces_eV_A=np.array(content["forces"], dtype=float).reshape(-1, 3),
            stress_eV_A3=None if stress is None else np.array(stress, dtype=float),
        )

    def _missing(self, why: str = "not installed") -> MissingProgramError:
        extra = "gst_jobflow[labels]" if self.package == "tblite" else self.package
        fix = f"pip install '{extra}'" if extra else "put its folder on PYTHONPATH, and check the name after the colon"
        return MissingProgramError(f"calculator {self.calculator}: {why}", fix)


@cache
def _version_of(package: str) -> str:
    """Return the version of an installed package; the lookup takes a millisecond."""
    return importlib.metadata.version(package)


def tblite_backend(
    parametrisation: str = "GFN1-xTB",
    *,
    accuracy: float = 1.0,
    electronic_temperature_K: float = 300.0,
    max_iterations: int = 250,
    mixer_damping: float = 0.4,
    **fields: Any,
) -> AseBackend:
    """Make the backend of GFN1-xTB by tblite: fast, semi-empirical, Gamma only; for tests and demos, not physics.

    Its self-consistency fails for many dense or disordered cells, and sometimes "converges" far below any possible
    energy; hence the bounds relative to free atoms.

    Parameters
    ----------
    max_iterations, mixer_damping
        Not part of the method.
    fields
        Other fields of `AseBackend` (isolate, wall_limit_s, threads, floor_A, bounds).

    Raises
    ------
    InputError
        A parametrisation other than GFN1-xTB needs bounds.
    """
    if "bounds" not in fields:
        if parametrisation != "GFN1-xTB":
            raise InputError(f"no free-atom energies for {parametrisation}", "use GFN1-xTB, or give bounds")
        fields["bounds"] = Bounds(free_atom_eV=GFN1_FREE_ATOM_EV)
    return AseBackend(
        name="tblite",
        calculator=_TBLITE,
        package="tblite",
        parameters={
            "method": parametrisation,
            "accuracy": accuracy,
            "electronic_temperature": electronic_temperature_K,
        },
        options={"max_iterations": max_iterations, "mixer_damping": mixer_damping, "verbosity": 0},
        # it would start from the charges of the last structure
        reuse=False,
        **fields,
    )


def _how(returncode: int, log: Path) -> str:
    status = f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = [line.strip() for line in lines if line.strip()]
    return f"{status}: {last[-1]}" if last else status
