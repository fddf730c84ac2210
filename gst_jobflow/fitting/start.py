"""Check and prepare the potential that a fit starts from."""

from __future__ import annotations

import re
from pathlib import Path

from gst_jobflow.base.errors import InputError
from gst_jobflow.fitting.config import EmbeddingConfig, FitConfig
from gst_jobflow.fitting.parse import count_functions, load_yaml


def check_start(path: Path, config: FitConfig) -> None:
    """Refuse a start potential whose elements, densities or cutoff differ from the fit's.

    Raises
    ------
    InputError
        Something differs. A linear potential may start any number of densities whose first is linear.
    """
    if config.solver == "linear":
        raise InputError(
            "the linear solver cannot start from another potential", "leave out the parent, or set solver to pacemaker"
        )
    found = count_functions(path)
    wanted = {
        "elements": (found.elements, config.elements),
        "n_densities": (found.n_densities, _densities_of_start(found.n_densities, config)),
        "cutoff, Å": (found.cutoff_A, config.radial.rcut_A),
    }
    stated = _fs_parameters(path)
    if stated and found.n_densities == config.embedding.n_densities:
        wanted["prefactors and exponents"] = (stated, config.embedding.fs_parameters)
    for what, (is_, should) in wanted.items():
        if is_ != should:
            raise InputError(
                f"{path}: {what} of the start potential {is_} differ from the fit's {should}",
                "use the configuration that the potential was fitted with",
            )


def _fs_parameters(path: Path) -> tuple[float, ...]:
    """Return prefactor and exponent of each density; empty if the file does not state them."""
    return tuple(next((block["parameters"] for block in load_yaml(path)["species"] if "parameters" in block), ()))


def _densities_of_start(found: int, config: FitConfig) -> int:
    grows = found == 1 and config.embedding.fs_parameters[:2] == (1, 1)
    return 1 if grows else config.embedding.n_densities


def start_text(path: Path, config: FitConfig) -> str:
    """Return the YAML of a start potential: not marked as finished, and with all densities of the fit."""
    text = without_fit_cycles(Path(path).read_text())
    if count_functions(path).n_densities < config.embedding.n_densities:
        text = with_densities(text, config.embedding)
    return text


def without_fit_cycles(text: str) -> str:
    """Return a potential's YAML without the mark of a finished fit, which makes pacemaker skip the fit."""
    return re.sub(r"(?m)^\s+_fit_cycles:.*\n", "", text)


def with_densities(text: str, embedding: EmbeddingConfig) -> str:
    """Return a linear potential's YAML with more densities, to which no function contributes yet.

    Energies do not change; pacemaker also starts new coefficients at zero.
    """
    more = ", 0" * (embedding.n_densities - 1)
    pairs = ", ".join(f"{value:g}" for value in embedding.fs_parameters)
    text = re.sub(r"(?m)^(\s+)ndensityi: 1$", rf"\g<1>ndensityi: {embedding.n_densities}", text)
    text = re.sub(r"(?m)^(\s+)npoti: .*$", rf"\g<1>npoti: {embedding.npot}", text)
    text = re.sub(r"(?m)^(\s+)parameters: \[.*\]$", rf"\g<1>parameters: [{pairs}]", text)
    return re.sub(r"\bc: \[([^\],]+)\]", rf"c: [\g<1>{more}]", text)
