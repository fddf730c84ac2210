"""Labels from any ASE calculator; `tblite_backend` is the one that every installation has."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from gst_jobflow.errors import InputError, MissingProgramError
from gst_jobflow.labelling.backend import BackendModel, Bounds, RawLabel, failed
from gst_jobflow.labelling.method import Method
from gst_jobflow.processes import run_program

if TYPE_CHECKING:
    from ase import Atoms

REQUEST, ANSWER, OUTPUT = "request.json", "answer.json", "calculator.log"

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


class AseBackend(BackendModel):
    """Any ASE calculator, found by its import path.

    Parameters
    ----------
    name
        Code name in the method.
    calculator
        "package.module:Class".
    package
        The distribution whose version is part of the method.
    parameters
        Keyword arguments that change the physics: part of the method.
    options
        Keyword arguments that only change the way (iteration limits, mixing, verbosity): not part of it.
    isolate
        Run every calculation in a child process: a segfault or a hang is a failed label, not a dead worker.
        It costs a start of Python and an import of the calculator (tblite: 0.3 to 0.5 s a label). Without it
        the wall limit does not hold.
    wall_limit_s
        Limit of an isolated calculation.
    threads
        OMP_NUM_THREADS of an isolated calculation. In this process the variable must be set before the
        calculator is imported: OpenMP reads it once.
    elements
        Supported elements; empty: any.
    not_converged
        Pattern of error messages that mean "the self-consistency did not converge".
    """

    name: str
    calculator: str = Field(pattern=r"^[\w.]+:\w+$")
    package: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    isolate: bool = True
    wall_limit_s: float = Field(600.0, gt=0)
    threads: int = Field(1, ge=1)
    elements: list[str] = Field(default_factory=list)
    not_converged: str = r"not converge|no convergence|failed to converge"

    @model_validator(mode="after")
    def _one_place_for_each_keyword(self) -> AseBackend:
        both = sorted(set(self.parameters) & set(self.options))
        if both:
            raise ValueError(f"'{both[0]}' is both in parameters and in options of {self.name}")
        return self

    def known_elements(self) -> list[str]:
        return self.elements

    @property
    def cores(self) -> int | None:
        # calculators in this process share its state, so there is one at a time
        return self.threads if self.isolate else None

    def method(self) -> Method:
        """Return name, version of the package, calculator class and parameters.

        Raises
        ------
        MissingProgramError
            The package is not installed.
        """
        try:
            version = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise self._missing() from error
        return Method(
            code=self.name,
            version=version,
            parameters={"calculator": self.calculator.partition(":")[2], **self.parameters},
        )

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Return the label of `atoms`; files of an isolated run go into `directory`.

        Raises
        ------
        MissingProgramError
            The calculator cannot be imported.
        """
        method = self.method()
        start = time.monotonic()
        request = self._request(atoms)
        label = self._isolated(request, Path(directory)) if self.isolate else self._label(answer(request))
        label.wall_s = time.monotonic() - start
        label.method_seen = method
        return label

    def _request(self, atoms: Atoms) -> dict[str, Any]:
        return {
            "calculator": self.calculator,
            "keywords": {**self.parameters, **self.options},
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
        }

    def _isolated(self, request: dict[str, Any], directory: Path) -> RawLabel:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ANSWER).unlink(missing_ok=True)
        (directory / REQUEST).write_text(json.dumps(request))
        ended = run_program(
            [sys.executable, "-m", "gst_jobflow.labelling.ase_calculator", REQUEST, ANSWER],
            directory,
            output=OUTPUT,
            wall_limit_s=self.wall_limit_s,
            environment={**os.environ, "OMP_NUM_THREADS": str(self.threads), "OMP_MAX_ACTIVE_LEVELS": "1"},
        )
        files = {"log": directory / OUTPUT}
        if ended.timed_out:
            return failed("timeout", f"{self.name} did not end within {self.wall_limit_s:g} s", files=files)
        if ended.returncode != 0 or not (directory / ANSWER).exists():
            return failed("crash", f"{self.name} ended with {_how(ended.returncode, files['log'])}", files=files)
        label = self._label(json.loads((directory / ANSWER).read_text()))
        label.files = files
        return label

    def _label(self, content: dict[str, Any]) -> RawLabel:
        if "missing" in content:
            raise self._missing(content["missing"])
        if "error" in content:
            unconverged = re.search(self.not_converged, content["error"], re.IGNORECASE)
            return failed("not_converged" if unconverged else "crash", f"{self.name}: {content['error']}")
        import numpy as np

        stress = content["stress"]
        return RawLabel(
            converged=True,
            energy_eV=content["energy"],
            forces_eV_A=np.array(content["forces"], dtype=float).reshape(-1, 3),
            stress_eV_A3=None if stress is None else np.array(stress, dtype=float),
        )

    def _missing(self, why: str = "not installed") -> MissingProgramError:
        extra = "gst_jobflow[labels]" if self.package == "tblite" else self.package
        return MissingProgramError(f"calculator {self.calculator}: {why}", f"pip install '{extra}'")


def tblite_backend(
    parametrisation: str = "GFN1-xTB",
    *,
    accuracy: float = 1.0,
    electronic_temperature_K: float = 300.0,
    max_iterations: int = 250,
    mixer_damping: float = 0.4,
    **fields: Any,
) -> AseBackend:
    """Return GFN1-xTB by tblite: fast, semi-empirical, Gamma only. Plumbing and demos, not physics.

    Its self-consistency fails for many dense or disordered cells, and has been seen to "converge" far below
    any possible energy; hence the bounds relative to free atoms. Parametrisation, accuracy and electronic
    temperature are the method; the iteration limit and the damping are not.

    Parameters
    ----------
    fields
        Other fields of `AseBackend` (isolate, wall_limit_s, threads, floor_A, bounds).

    Raises
    ------
    InputError
        A parametrisation that has no bounds here and is given none.
    """
    if "bounds" not in fields:
        if parametrisation != "GFN1-xTB":
            raise InputError(f"no free-atom energies for {parametrisation}", "use GFN1-xTB, or give bounds")
        fields["bounds"] = Bounds(free_atom_eV=GFN1_FREE_ATOM_EV)
    return AseBackend(
        name="tblite",
        calculator="tblite.ase:TBLite",
        package="tblite",
        parameters={
            "method": parametrisation,
            "accuracy": accuracy,
            "electronic_temperature": electronic_temperature_K,
        },
        options={"max_iterations": max_iterations, "mixer_damping": mixer_damping, "verbosity": 0},
        **fields,
    )


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return energy, forces and stress of a request, or the error of the calculator in one line.

    Only what calculators raise for a failed calculation is caught; anything else is a fault of ours (or, in a
    child process, a crash that the parent reports).
    """
    from ase import Atoms

    module, _, name = request["calculator"].partition(":")
    try:
        calculator = getattr(importlib.import_module(module), name)(**request["keywords"])
    except (ImportError, AttributeError) as error:
        return {"missing": f"{type(error).__name__}: {error}"}
    atoms = Atoms(numbers=request["numbers"], positions=request["positions"], cell=request["cell"], pbc=request["pbc"])
    atoms.calc = calculator
    try:
        energy = atoms.get_potential_energy(force_consistent=_has_free_energy(calculator))
        forces = atoms.get_forces().tolist()
        stress = atoms.get_stress().tolist() if _has_stress(atoms) else None
    except (RuntimeError, ValueError, ArithmeticError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"energy": float(energy), "forces": forces, "stress": stress}


def _has_free_energy(calculator: Any) -> bool:
    return "free_energy" in getattr(calculator, "implemented_properties", [])


def _has_stress(atoms: Atoms) -> bool:
    return bool(atoms.pbc.all()) and "stress" in getattr(atoms.calc, "implemented_properties", [])


def _how(returncode: int, log: Path) -> str:
    status = f"signal {-returncode}" if returncode < 0 else f"exit status {returncode}"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = [line.strip() for line in lines if line.strip()]
    return f"{status}: {last[-1]}" if last else status


def _main(request: str, reply: str) -> None:
    content = answer(json.loads(Path(request).read_text()))
    # renamed into place: a reply that exists is complete
    partial = Path(reply).with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(reply)


if __name__ == "__main__":
    _main(*sys.argv[1:3])
