"""Settings of a fit as typed sections, and the `input.yaml` that pacemaker reads.

pacemaker silently ignores unknown keys; these models name every key once and refuse typing errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import comb, isfinite
from pathlib import PurePath
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.strict import StrictModel, UnfitValueError, checked
from gst_jobflow.documents.base import ConfigType
from gst_jobflow.structures.material import default_material

FS_PARAMETERS: dict[int, tuple[float, ...]] = {
    1: (1, 1),
    2: (1, 1, 1, 0.5),
    3: (1, 1, 1, 0.5, 1, 0.75),
    4: (1, 1, 1, 0.5, 1, 0.75, 1, 0.875),
}
"""Prefactor and exponent of each density, by number of densities: this project's choice.

The paper of GST-ACE-24 prints no exponents, the closest published search (XPOT-ACE) only their range, 0.025 to 0.975.
Melts at 3,000 K decided for 0.75 in the third density (docs/fitting.md, "Exponents"): with 2, pacemaker's usual square,
and with 0.25, atoms collapsed onto each other. The fourth exponent is untested.
"""

EARLIER_FS_PARAMETERS = {**FS_PARAMETERS, 3: (1, 1, 1, 0.5, 1, 2), 4: (1, 1, 1, 0.5, 1, 2, 1, 0.75)}
"""Exponents of earlier versions, which stored `fs_parameters: null`."""

ActiveSetAtoms = Literal["well_fitted", "all"]

# beyond this range pacemaker silently fits reference energies of its own
ENERGY_CORRECTED_RANGE_EV = (-20.0, 250.0)


class EmbeddingConfig(StrictModel):
    """Embedding: the energy of an atom is the sum over its densities of prefactor * density ** exponent."""

    n_densities: int = Field(3, ge=1, le=4, description="P; 1 with exponent 1 is a linear potential")
    fs_parameters: tuple[float, ...] = Field(
        FS_PARAMETERS[3],
        description="prefactor, exponent of each density in turn; default: exponents 1, 0.5, 0.75, 0.875 up to "
        "n_densities, this project's choice (null: 1, 0.5, 2, 0.75, those of earlier versions)",
    )
    npot: Literal["FinnisSinclairShiftedScaled", "FinnisSinclair"] = "FinnisSinclairShiftedScaled"

    @model_validator(mode="before")
    @classmethod
    def _exponents_of_so_many_densities(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("fs_parameters", None) is not None:
            return data
        table = EARLIER_FS_PARAMETERS if "fs_parameters" in data else FS_PARAMETERS
        number = data.get("n_densities", 3)
        return {**data, "fs_parameters": table[number]} if number in table else data

    @model_validator(mode="after")
    def _pairs_fit_densities(self) -> EmbeddingConfig:
        if len(self.fs_parameters) != 2 * self.n_densities:
            raise ValueError(
                f"fs_parameters holds {len(self.fs_parameters)} numbers, but n_densities = {self.n_densities} "
                f"needs {2 * self.n_densities}: a prefactor and an exponent for each density"
            )
        return self

    @property
    def has_default_exponents(self) -> bool:
        """Whether the exponents are those of FS_PARAMETERS."""
        return self.fs_parameters == FS_PARAMETERS[self.n_densities]


class CoreRepulsion(StrictModel):
    """A ZBL core of chosen size, put into the potential after the fit.

    pacemaker's `auto` starts the core below the shortest distance of each pair in the training set and switches it on
    over 0.1 Å. A hot melt with a 2 fs timestep runs into that wall, and falls through where a pair never came close.
    Here the core of every pair starts between `r_in_min_A` and `r_in_max_A` and takes over within `width_A`. It
    replaces the fit at shorter distances, and errors of the fit do not include it.
    """

    r_in_min_A: float = Field(2.4, gt=0)
    r_in_max_A: float = Field(2.8, gt=0)
    width_A: float = Field(0.8, gt=0)

    @model_validator(mode="after")
    def _a_range(self) -> CoreRepulsion:
        if not self.width_A < self.r_in_min_A <= self.r_in_max_A:
            raise ValueError("a core needs width_A < r_in_min_A <= r_in_max_A")
        return self


class RadialConfig(StrictModel):
    """Radial functions and cutoff, the same for every pair of elements.

    `radparameters` shapes `ChebExpCos` and `ChebPow`; with `SBessel` it has no effect, though pacemaker requires one.
    `dcut_A` reaches the files, but the evaluator of fits does not read it.
    """

    radbase: Literal["SBessel", "ChebExpCos", "ChebPow"] = "SBessel"
    radparameters: tuple[float, ...] = Field(
        (5.25,), min_length=1, description="shape of ChebExpCos and ChebPow; has no effect with SBessel"
    )
    rcut_A: float = Field(8.0, gt=0.5, le=20, description="cutoff, Å")
    dcut_A: float = Field(
        0.01, gt=0, le=5, description="width of the smooth end of the cutoff, Å; the fit does not read it"
    )
    repulsion: Literal["auto"] | CoreRepulsion | None = Field(
        None,
        description="'auto' adds a ZBL core below the shortest distances of the training set; CoreRepulsion sets its "
        "size. It is added after the fit, whose errors do not include it. The paper's potential has none.",
    )

    @model_validator(mode="after")
    def _end_lies_inside_the_cutoff(self) -> RadialConfig:
        if self.dcut_A >= self.rcut_A:
            raise ValueError(f"dcut_A = {self.dcut_A} must be smaller than rcut_A = {self.rcut_A}")
        return self


class FunctionsConfig(StrictModel):
    """Number of basis functions, and their resolution by correlation order.

    Entry k of the two lists is for functions of k + 1 neighbours (k + 2 bodies).
    """

    number_of_functions_per_element: int = Field(1000, ge=1)
    nradmax_by_orders: tuple[int, ...] = Field((16, 12, 8, 5, 2), min_length=1, max_length=6)
    lmax_by_orders: tuple[int, ...] = Field((0, 8, 6, 3, 1), min_length=1, max_length=6)

    @model_validator(mode="after")
    def _lists_agree(self) -> FunctionsConfig:
        radial, angular = self.nradmax_by_orders, self.lmax_by_orders
        if len(radial) != len(angular):
            raise ValueError(
                f"nradmax_by_orders has {len(radial)} orders and lmax_by_orders {len(angular)}: "
                "give one number for each order in both"
            )
        if min(radial) < 1 or min(angular) < 0:
            raise ValueError("nradmax_by_orders must be 1 or more and lmax_by_orders 0 or more in every order")
        if angular[0] != 0:
            raise ValueError(
                f"lmax_by_orders starts with {angular[0]}: functions of one neighbour have no angle, begin with 0"
            )
        return self

    def most_per_element(self, n_elements: int) -> int | None:
        """Return an upper bound of the functions of one element; None (no bound) beyond three neighbours.

        Functions of one neighbour: an element and a radial function. Of two: an unordered pair of these for each l.
        Of three: at most an unordered triple of element, radial function and l.
        """
        if len(self.nradmax_by_orders) > 3:
            return None
        most = 0
        for order, (n_radial, l_max) in enumerate(zip(self.nradmax_by_orders, self.lmax_by_orders, strict=True), 1):
            kinds = n_elements * n_radial
            if order == 2:
                most += comb(kinds + 1, 2) * (l_max + 1)
            else:
                most += comb(kinds * (l_max + 1) + order - 1, order)
        return most


class LossConfig(StrictModel):
    """Loss: (1 - kappa) * energy error + kappa * force error, per atom, plus penalties on coefficients.

    The penalties on radial functions are small beside the errors, but TensorFlow builds their derivatives for every
    pair of elements, for the test set, too. Set all three to 0, and a fit starts in half the time.
    """

    kappa: float = Field(0.4, ge=0, le=1, description="share of the forces in the loss")
    L1_coeffs: float = Field(1e-8, ge=0)
    L2_coeffs: float = Field(1e-8, ge=0)
    w0_rad: float = Field(1e-8, ge=0, description="penalty on the radial functions")
    w1_rad: float = Field(1e-8, ge=0, description="penalty on their first derivative")
    w2_rad: float = Field(1e-8, ge=0, description="penalty on their second derivative")


class WeightsConfig(StrictModel):
    """Weights of structures in the loss by config_type; other types keep the weight of the dataset.

    pacemaker normalises the weights of energies and of forces, so only ratios matter.
    """

    config_types: dict[str, float] = Field(
        default_factory=dict, description="replaces the weight of the dataset; 0 leaves a type out of the training set"
    )
    bootstrap: bool = Field(
        False,
        description="multiply each training structure's weight by an exponential random number of mean 1 drawn with "
        "the seed (Bayesian bootstrap, Rubin 1981), as members of an ensemble do",
    )

    @field_validator("config_types")
    @classmethod
    def _types_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        known = get_args(ConfigType)
        for name, weight in value.items():
            if name not in known:
                raise UnfitValueError(f"no config_type '{name}'", nearest(name, known))
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of {name} is {weight}: give a number of 0 or more")
        return value


class OptimizerConfig(StrictModel):
    """Minimiser of the loss, and when it stops."""

    optimizer: Literal["BFGS", "L-BFGS-B"] = "BFGS"
    maxiter: int = Field(2000, ge=1)
    ladder_step: int | None = Field(
        None,
        ge=1,
        description="grow the basis by this many functions of each group of elements at a time (n elements have "
        "n * 2^(n - 1) groups); default: all at once",
    )
    ladder_type: Literal["power_order", "body_order"] = "power_order"
    min_relative_train_loss_per_iter: float | None = Field(
        None, gt=0, description="stop when the training loss falls by less than this share in an iteration"
    )
    min_relative_test_loss_per_iter: float | None = Field(None, gt=0, description="the same for the test loss")
    early_stopping_patience: int = Field(200, ge=2, description="iterations over which the two above are judged")


class BackendConfig(StrictModel):
    """Evaluator of the potential during the fit."""

    evaluator: Literal["tensorpot"] = Field(
        "tensorpot", description="pacemaker's other evaluator lacks analytic gradients and does not converge"
    )
    batch_size: int = Field(100, ge=1, description="structures at a time; pacemaker shrinks it when memory runs out")
    display_step: int = Field(20, ge=1, description="iterations between two evaluations of the test set")
    gpu: Literal["auto"] | int | None = Field(
        "auto", description="'auto': the first GPU if there is one; a number: that GPU; None: no GPU"
    )

    @field_validator("gpu")
    @classmethod
    def _gpu_is_an_index(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 0:
            raise ValueError("gpu is 'auto', the index of a GPU (0, 1, ...) or None for none")
        return value


class FitConfig(StrictModel):
    """All settings of a fit; training data and reference energies come from the dataset.

    Examples
    --------
    >>> fit = FitConfig.small(("Ge", "Te"))
    >>> fit.embedding.fs_parameters
    (1.0, 1.0, 1.0, 0.5, 1.0, 0.75)
    """

    elements: tuple[str, ...] = Field(default_factory=lambda: default_material().elements)
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)
    radial: RadialConfig = Field(default_factory=RadialConfig)
    functions: FunctionsConfig = Field(default_factory=FunctionsConfig)
    loss: LossConfig = Field(default_factory=LossConfig)
    weights: WeightsConfig = Field(default_factory=WeightsConfig)
    solver: Literal["pacemaker", "linear"] = Field(
        "pacemaker",
        description="pacemaker: optimise all parameters with TensorFlow; linear: P = 1 only, least squares for the "
        "coefficients of the functions in seconds, radial functions fixed",
    )
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    backend: BackendConfig = Field(default_factory=BackendConfig)
    active_set: ActiveSetAtoms = Field(
        "well_fitted",
        description="reference atoms of the extrapolation grade; well_fitted leaves out atoms whose force error is an "
        "outlier of their element (above Q3 + 1.5 IQR, pacemaker's default), so grades in the training set itself may "
        "be far above 1; all takes every atom of the training set",
    )
    seed: int = Field(
        42,
        ge=0,
        description="of little effect without weights.bootstrap: pacemaker starts with all coefficients at zero",
    )

    @field_validator("elements")
    @classmethod
    def _elements_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from ase.data import atomic_numbers

        known = [symbol for symbol, number in atomic_numbers.items() if number > 0]
        for symbol in value:
            if symbol not in known:
                raise UnfitValueError(f"unknown element '{symbol}'", nearest(symbol, known))
        if not value or len(set(value)) != len(value):
            raise ValueError(f"elements must be named once each, got {list(value)}")
        # pacemaker sorts them too; one order makes equal configurations equal
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _orders_give_so_many(self) -> FitConfig:
        asked = self.functions.number_of_functions_per_element
        most = self.functions.most_per_element(len(self.elements))
        if most is not None and asked > most:
            raise ValueError(
                f"number_of_functions_per_element = {asked}, but nradmax_by_orders and lmax_by_orders give at most "
                f"{most} for {len(self.elements)} elements: ask for fewer, or raise these"
            )
        return self

    @model_validator(mode="after")
    def _linear_is_linear(self) -> FitConfig:
        if self.solver != "linear":
            return self
        if self.embedding.n_densities != 1 or self.embedding.fs_parameters[1] != 1:
            raise ValueError(
                f"the linear solver is for one density with exponent 1, not n_densities = {self.embedding.n_densities} "
                f"with {list(self.embedding.fs_parameters)}: set n_densities to 1 and fs_parameters to [1, 1], or "
                "solver to pacemaker"
            )
        if self.optimizer.ladder_step is not None:
            raise ValueError("the linear solver has no ladder: leave ladder_step out, or set solver to pacemaker")
        if self.radial.repulsion is not None:
            raise ValueError("the linear solver adds no core repulsion: leave it out, or set solver to pacemaker")
        return self

    @model_validator(mode="after")
    def _every_block_gets_a_function(self) -> FitConfig:
        per_element = 2 ** (len(self.elements) - 1)
        if self.functions.number_of_functions_per_element < per_element:
            raise ValueError(
                f"number_of_functions_per_element = {self.functions.number_of_functions_per_element} is too small: "
                f"{len(self.elements)} elements make {per_element} groups of functions for each, give at least so many"
            )
        return self

    def editable(self) -> dict[str, Any]:
        """Return the settings as a dictionary to edit, without default exponents."""
        return without_default_exponents(self.model_dump())

    @classmethod
    def gst_ace_24(cls, elements: tuple[str, ...] = ()) -> FitConfig:
        """Return a fit of the size of GST-ACE-24: P = 3, 8 Å, no core repulsion, 3,000 functions for three elements.

        These numbers are from the paper (Nat. Commun. 2025, doi 10.1038/s41467-025-63732-4). pacemaker divides the
        functions evenly among the twelve groups of three elements, 250 each. Shape, kappa and penalties are from the
        closest published setting (XPOT-ACE, Sb2Te3, JCTC 2024). The paper does not print the exponents that it
        searched; these are ours (`FS_PARAMETERS`).
        """
        return cls(elements=elements or default_material().elements)

    @classmethod
    def small(cls, elements: tuple[str, ...] = (), n_densities: int = 3) -> FitConfig:
        """Return settings that fit some tens of small structures on two cores in a few minutes."""
        return cls(
            elements=elements or default_material().elements,
            embedding=EmbeddingConfig(n_densities=n_densities),
            radial=RadialConfig(rcut_A=6.0),
            functions=FunctionsConfig(
                number_of_functions_per_element=40, nradmax_by_orders=(6, 3, 2), lmax_by_orders=(0, 2, 1)
            ),
            loss=LossConfig(w0_rad=0, w1_rad=0, w2_rad=0),
            optimizer=OptimizerConfig(maxiter=150),
            backend=BackendConfig(batch_size=20),
        )

    @classmethod
    def linear(cls, elements: tuple[str, ...] = ()) -> FitConfig:
        """Return GST-ACE-24 with P = 1, as in the paper's ablation, for the linear solver.

        The paper fitted its radial functions, too: use `solver` pacemaker for that.
        """
        linear = EmbeddingConfig(n_densities=1)
        return cls(elements=elements or default_material().elements, embedding=linear, solver="linear")

    def as_linear(self) -> FitConfig:
        """Return the linear fit (P = 1) with the same functions, as a quick test or first guess."""
        values = {**self.model_dump(), "embedding": EmbeddingConfig(n_densities=1).model_dump(), "solver": "linear"}
        values["radial"]["repulsion"] = None
        values["optimizer"]["ladder_step"] = None
        return FitConfig.model_validate(values)

    def upfit(self, kappa: float = 0.1) -> FitConfig:
        """Return the same fit with more weight on energies, to continue from a finished potential.

        Raises
        ------
        InputError
            `kappa` is not smaller than that of this fit, or is negative.
        """
        if kappa >= self.loss.kappa:
            raise InputError(
                f"an upfit with kappa = {kappa} would not put more weight on energies than kappa = {self.loss.kappa}",
                "give a smaller kappa",
            )
        loss = checked(LossConfig, {**self.loss.model_dump(), "kappa": kappa}, "upfit")
        return self.model_copy(update={"loss": loss})


def without_default_exponents(content: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a fit without default exponents, which then follow `n_densities`."""
    embedding = content.get("embedding") or {}
    if tuple(embedding.get("fs_parameters") or ()) != FS_PARAMETERS.get(embedding.get("n_densities", 3)):
        return content
    return {**content, "embedding": {key: value for key, value in embedding.items() if key != "fs_parameters"}}


PRESETS: dict[str, Callable[[tuple[str, ...]], FitConfig]] = {
    "gst-ace-24": FitConfig.gst_ace_24,
    "small": FitConfig.small,
    "linear": FitConfig.linear,
}
"""Presets by name."""


def render_input(
    config: FitConfig,
    train_file: str | PurePath,
    test_file: str | PurePath | None,
    reference_energies: Mapping[str, float],
) -> dict[str, Any]:
    """Return the content of pacemaker's `input.yaml`.

    Parameters
    ----------
    train_file, test_file
        Dataframes written by :func:`gst_jobflow.fitting.frame.write_pckl`.
    reference_energies
        Energy of one atom of each element, eV. Fits with pacemaker's `auto`, which depends on the data, would not be
        comparable.

    Raises
    ------
    InputError
        An element has no reference energy.
    """
    missing = [symbol for symbol in config.elements if symbol not in reference_energies]
    if missing:
        raise InputError(
            f"no reference energy for {', '.join(missing)}",
            "the dataset must hold one for each element of the potential",
        )
    data: dict[str, Any] = {"filename": str(train_file)}
    if test_file is not None:
        data["test_filename"] = str(test_file)
    data["reference_energy"] = {symbol: float(reference_energies[symbol]) for symbol in config.elements}
    return {
        "seed": config.seed,
        "potential": _potential_section(config),
        "data": data,
        "fit": _fit_section(config),
        "backend": _backend_section(config.backend),
    }


def _potential_section(config: FitConfig) -> dict[str, Any]:
    """Return the shape of the potential, with the cutoff by bond: pacemaker ignores one at the top level."""
    return {
        "deltaSplineBins": 0.001,
        "elements": list(config.elements),
        "embeddings": {
            "ALL": {
                "npot": config.embedding.npot,
                "fs_parameters": list(config.embedding.fs_parameters),
                "ndensity": config.embedding.n_densities,
            }
        },
        "bonds": {
            "ALL": {
                "radbase": config.radial.radbase,
                "radparameters": list(config.radial.radparameters),
                "rcut": config.radial.rcut_A,
                "dcut": config.radial.dcut_A,
                "NameOfCutoffFunction": "cos",
            }
        },
        "functions": {
            "number_of_functions_per_element": config.functions.number_of_functions_per_element,
            "ALL": {
                "nradmax_by_orders": list(config.functions.nradmax_by_orders),
                "lmax_by_orders": list(config.functions.lmax_by_orders),
            },
        },
    }


def _fit_section(config: FitConfig) -> dict[str, Any]:
    """Return loss and optimiser."""
    optimizer = config.optimizer
    section: dict[str, Any] = {
        "loss": config.loss.model_dump(),
        "optimizer": optimizer.optimizer,
        "maxiter": optimizer.maxiter,
    }
    if optimizer.ladder_step is not None:
        section["ladder_step"] = optimizer.ladder_step
        section["ladder_type"] = optimizer.ladder_type
    stops = {
        name: getattr(optimizer, name)
        for name in ("min_relative_train_loss_per_iter", "min_relative_test_loss_per_iter")
        if getattr(optimizer, name) is not None
    }
    if stops:
        section.update(stops, early_stopping_patience=optimizer.early_stopping_patience)
    if config.radial.repulsion is not None:
        section["repulsion"] = "auto"
    return section


def _backend_section(backend: BackendConfig) -> dict[str, Any]:
    section: dict[str, Any] = {
        "evaluator": backend.evaluator,
        "batch_size": backend.batch_size,
        "display_step": backend.display_step,
    }
    if backend.gpu != "auto":
        section["gpu_config"] = {"gpu_ind": -1 if backend.gpu is None else backend.gpu}
    return section


def to_yaml(content: Mapping[str, Any]) -> str:
    """Return `content` as YAML text, in the given order."""
    import yaml

    return yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None)
