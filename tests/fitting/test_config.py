"""The typed fit and the input.yaml made of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.fitting.config import (
    BackendConfig,
    EmbeddingConfig,
    FitConfig,
    FunctionsConfig,
    OptimizerConfig,
    RadialConfig,
    render_input,
    to_yaml,
)

REFERENCE = {"Ge": -0.5, "Sb": -0.6, "Te": -0.7}


def rendered(config: FitConfig) -> dict:
    return render_input(config, "train.pckl.gzip", "test.pckl.gzip", REFERENCE)


def every_key(content: object) -> set[str]:
    if not isinstance(content, dict):
        return set()
    return set(content).union(*(every_key(value) for value in content.values()))


def everything_on() -> FitConfig:
    return FitConfig(
        radial=RadialConfig(repulsion="auto"),
        optimizer=OptimizerConfig(
            ladder_step=100, min_relative_train_loss_per_iter=1e-5, min_relative_test_loss_per_iter=1e-5
        ),
        backend=BackendConfig(gpu=0),
    )


@pytest.mark.pacemaker
def test_every_key_we_write_is_one_that_pacemaker_reads():
    """pacemaker ignores unknown keys silently, so each must stand as a quoted word or an argument in its source."""
    import pyace
    import tensorpotential

    sources = [*Path(pyace.__file__).parent.rglob("*.py")]
    sources += Path(tensorpotential.__file__).parent.joinpath("compat", "pace").rglob("*.py")
    text = "\n".join(path.read_text() for path in sources)

    def is_read(key: str) -> bool:
        return any(form in text for form in (f'"{key}"', f"'{key}'", f"{key}=0"))

    # elements are values of the dataset, not keys that pacemaker looks up
    unread = [key for key in every_key(rendered(everything_on())) - set(REFERENCE) if not is_read(key)]
    assert unread == []
    # keys that have been written in good faith elsewhere and do nothing: the check must see that
    assert not any(map(is_read, ("w_stress", "energy_key", "NameofCutoffFunction")))


def test_paper_preset_has_the_papers_numbers():
    content = rendered(FitConfig.gst_ace_24())
    embedding = content["potential"]["embeddings"]["ALL"]
    assert embedding["ndensity"] == 3
    assert embedding["fs_parameters"] == [1, 1, 1, 0.5, 1, 0.75]
    assert content["potential"]["bonds"]["ALL"]["rcut"] == 8.0
    assert content["potential"]["functions"]["number_of_functions_per_element"] == 1000
    assert content["potential"]["functions"]["ALL"] == {
        "nradmax_by_orders": [16, 12, 8, 5, 2],
        "lmax_by_orders": [0, 8, 6, 3, 1],
    }
    assert content["fit"]["loss"]["kappa"] == 0.4
    assert {content["fit"]["loss"][name] for name in content["fit"]["loss"] if name != "kappa"} == {1e-8}
    assert "repulsion" not in content["fit"]


def test_reference_energies_are_pinned_and_the_cutoff_belongs_to_the_bonds():
    content = rendered(FitConfig.small())
    assert content["data"]["reference_energy"] == REFERENCE
    assert "cutoff" not in content
    assert content["potential"]["bonds"]["ALL"]["rcut"] == 6.0


def test_missing_reference_energy_is_refused():
    with pytest.raises(InputError, match="Sb"):
        render_input(FitConfig.small(), "a.pckl.gzip", None, {"Ge": 0.0, "Te": 0.0})


def test_options_that_are_off_are_left_out():
    content = render_input(FitConfig.small(), "a.pckl.gzip", None, REFERENCE)
    assert "test_filename" not in content["data"]
    assert not {"ladder_step", "repulsion", "early_stopping_patience"} & set(content["fit"])
    assert "gpu_config" not in content["backend"]
    no_gpu = render_input(FitConfig(backend=BackendConfig(gpu=None)), "a.pckl.gzip", None, REFERENCE)
    assert no_gpu["backend"]["gpu_config"] == {"gpu_ind": -1}


def test_the_yaml_reads_the_same_in_yaml_1_2():
    """pacemaker reads with ruamel (YAML 1.2), where an unquoted 1e-8 or a bare Y would be something else."""
    ruamel = pytest.importorskip("ruamel.yaml")
    content = render_input(FitConfig.gst_ace_24(("Y", "Te")), "a.pckl.gzip", None, {"Y": -1.0, "Te": -2.0})
    text = to_yaml(content)
    assert ruamel.YAML(typ="safe", pure=True).load(text) == content == yaml.safe_load(text)


def test_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'kappa'"):
        FitConfig.model_validate({"loss": {"kapa": 0.3}})
    with pytest.raises(ValidationError, match="did you mean 'radial'"):
        FitConfig.model_validate({"radials": {}})


def test_config_survives_json():
    for config in (FitConfig.small(), FitConfig.gst_ace_24(), FitConfig.linear(), everything_on()):
        assert FitConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("n_densities", [1, 2, 3, 4])
def test_every_number_of_densities_has_its_pairs(n_densities):
    assert len(EmbeddingConfig(n_densities=n_densities).fs_parameters) == 2 * n_densities


def test_null_exponents_are_those_of_earlier_versions_and_left_out_ones_are_the_default():
    assert EmbeddingConfig(n_densities=3).fs_parameters == (1, 1, 1, 0.5, 1, 0.75)
    stored = {"n_densities": 3, "fs_parameters": None, "npot": "FinnisSinclairShiftedScaled"}
    assert EmbeddingConfig.model_validate(stored).fs_parameters == (1, 1, 1, 0.5, 1, 2)
    assert FitConfig().model_dump()["embedding"]["fs_parameters"] == (1, 1, 1, 0.5, 1, 0.75)


def test_default_exponents_follow_the_number_of_densities_and_chosen_ones_do_not():
    content = FitConfig.small().editable()
    content["embedding"]["n_densities"] = 2
    assert FitConfig.model_validate(content).embedding.fs_parameters == (1, 1, 1, 0.5)
    chosen = FitConfig(embedding=EmbeddingConfig(fs_parameters=(1, 1, 1, 0.5, 1, 0.3))).editable()
    chosen["embedding"]["n_densities"] = 2
    with pytest.raises(ValidationError, match="needs 4"):
        FitConfig.model_validate(chosen)


def fewer_of_the_paper() -> FitConfig:
    """Return the paper's fit with fewer radial functions and angles, which only take away from what is to choose from.

    Every coupling of up to five neighbours is left, since pacemaker knows a limited number. All would take minutes.
    """
    paper = FitConfig.gst_ace_24()
    fewer = FunctionsConfig(
        number_of_functions_per_element=paper.functions.number_of_functions_per_element,
        nradmax_by_orders=(16, 8, 1, 2, 2),
        lmax_by_orders=(0, 6, 0, 0, 0),
    )
    for mine, all_ in (
        (fewer.nradmax_by_orders, paper.functions.nradmax_by_orders),
        (fewer.lmax_by_orders, paper.functions.lmax_by_orders),
    ):
        assert all(few <= many for few, many in zip(mine, all_, strict=True))
    return paper.model_copy(update={"functions": fewer})


@pytest.mark.pacemaker
@pytest.mark.parametrize(
    ("config", "counted"),
    [
        (FitConfig.small(), 120),
        # 25 functions a group, but a group of one element has no more than 19
        (
            FitConfig(
                functions=FunctionsConfig(
                    number_of_functions_per_element=100, nradmax_by_orders=(6, 3, 1), lmax_by_orders=(0, 1, 0)
                )
            ),
            None,
        ),
        (fewer_of_the_paper(), 3000),
    ],
)
def test_pacemaker_makes_as_many_functions_as_asked_for_where_the_orders_allow_it(config, counted):
    pyace = pytest.importorskip("pyace")
    shape = pyace.create_multispecies_basis_config(render_input(config, "a.pckl.gzip", None, REFERENCE)["potential"])
    functions = [len(block.funcspecs) for block in shape.funcspecs_blocks]
    asked = 3 * config.functions.number_of_functions_per_element
    assert len(functions) == 12 and max(functions) <= asked / 12
    assert sum(functions) == counted if counted else sum(functions) < asked


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: EmbeddingConfig(n_densities=3, fs_parameters=(1, 1, 1, 0.5)), "needs 6"),
        (lambda: EmbeddingConfig(n_densities=5), "less than or equal to 4"),
        (lambda: FunctionsConfig(nradmax_by_orders=(4, 2), lmax_by_orders=(0, 1, 1)), "one number for each order"),
        (lambda: FunctionsConfig(nradmax_by_orders=(4, 2), lmax_by_orders=(1, 1)), "begin with 0"),
        (lambda: FunctionsConfig(nradmax_by_orders=(4, 0), lmax_by_orders=(0, 1)), "1 or more"),
        (lambda: RadialConfig(rcut_A=4.0, dcut_A=4.5), "must be smaller"),
        (lambda: RadialConfig(repulsion="on"), "auto"),
        (lambda: BackendConfig(gpu=-1), "None for none"),
        (lambda: FitConfig(elements=("Ge", "Tee")), "unknown element 'Tee'"),
        (lambda: FitConfig(elements=("Ge", "Ge")), "once each"),
        (lambda: FitConfig(functions=FunctionsConfig(number_of_functions_per_element=3)), "too small"),
    ],
)
def test_contradictions_are_refused(build, says):
    with pytest.raises(ValidationError, match=says):
        build()


def test_elements_have_one_order():
    assert FitConfig(elements=("Te", "Ge", "Sb")) == FitConfig(elements=("Sb", "Te", "Ge"))


def test_upfit_puts_more_weight_on_energy_and_changes_nothing_else():
    config = FitConfig.gst_ace_24()
    upfit = config.upfit(0.05)
    assert upfit.loss.kappa == 0.05
    assert upfit.model_dump(exclude={"loss"}) == config.model_dump(exclude={"loss"})
    with pytest.raises(InputError, match="more weight on energies"):
        config.upfit(0.9)
    with pytest.raises(InputError, match=r"kappa: .* greater than or equal to 0"):
        config.upfit(-0.1)
