"""`gst submit ablation`: fit every combination of a few values and shares of random structures."""

from __future__ import annotations

from pathlib import Path

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import open_project, parse_assignments
from gst_jobflow.cli.fit_options import fit_config, varied
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.options import ConfigFile, FitOption, read_config
from gst_jobflow.cli.submit.submission import Estimate, Yes, check_flow, submit_flow
from gst_jobflow.datasets.change import check_fractions, fraction_datasets
from gst_jobflow.datasets.spec import RANDOM_TYPES
from gst_jobflow.documents import Dataset
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.flows.ablation import AblationMaker
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located


def command(
    dataset_id: str = argument("Id or name of the dataset.", default=...),
    vary: list[str] | None = option("A field and its values, e.g. embedding.n_densities=1,2,3 (repeatable)."),
    share: str | None = option(
        "Shares of the random training structures, e.g. random=1,0.5,0.25,0: nested, one test set."
    ),
    random_types: str = option("Config types that count as random.", default=",".join(RANDOM_TYPES)),
    one_at_a_time: bool = flag("Fit the first of all values, then change one in each fit.", "--one-at-a-time"),
    share_seed: int = option("Seed of the draw of random structures.", default=0, min=0),
    robustness: bool = flag("Also count the hot melts that each potential survives.", "--robustness"),
    robustness_config: Path | None = option(
        "YAML file for --robustness; gst submit robustness --show-config prints one."
    ),
    name: str = option("Name of the study.", default="ablation"),
    preset: str | None = option("Preset of all fits: gst-ace-24, small or linear."),
    config: ConfigFile = None,
    option: FitOption = None,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Fit every combination of a few values; a table compares their errors, speed and robustness.

    All fits share test set, split, reference energies, weights and seed but for what is varied; a study that differs in
    more is refused. For a table like the paper's Table 1, take --one-at-a-time. Examples: gst submit ablation 4f0c…
    --vary embedding.n_densities=1,2,3; gst submit ablation 4f0c… --share random=1,0.5,0.25,0 --robustness
    """
    shares, kinds = _shares(share), [each.strip() for each in random_types.split(",")]
    project = open_project()
    results = Results.open(project)
    found = get_located(results, Dataset, dataset_id)
    options = parse_assignments(option or [], "--option")
    base = fit_config(tuple(found.elements), preset, None, read_config(config), options)
    melts = _robustness(robustness, robustness_config, found)
    maker = AblationMaker("ablation", name, base, varied(vary or []), melts, one_at_a_time)
    # what cannot be, costs too much or is only estimated stores no dataset
    if shares:
        check_fractions(results, found.id, shares, kinds, share_seed)
    check_flow(maker.make(found.id, [(each, found.id) for each in shares]), project, show=estimate, yes=yes)
    if not estimate:
        made = fraction_datasets(results, found.id, shares, kinds, share_seed) if shares else []
        flow = maker.make(found.id, [(share, one.dataset.id) for share, one in zip(shares, made, strict=True)])
        fits = sum(each.name.startswith("fit ") for each in flow.jobs)
        submit_flow(flow, project, f"{counted(fits, 'fit')} to dataset {found.name}")


def _shares(text: str | None) -> list[float]:
    if text is None:
        return []
    what, _, values = text.partition("=")
    try:
        shares = [float(value) for value in values.split(",")]
    except ValueError:
        shares = []
    if what != "random" or not shares or not all(0 <= value <= 1 for value in shares):
        raise InputError(f"--share {text}: not random=SHARES from 0 to 1", "for example --share random=1,0.5,0.25,0")
    return list(dict.fromkeys(shares))


def _robustness(wanted: bool, file: Path | None, dataset: Dataset) -> RobustnessPlan | None:
    if file is None and not wanted:
        return None
    plan = checked(RobustnessPlan, *read_config(file))
    if missing := set(plan.elements) - set(dataset.elements):
        raise InputError(
            f"the hot melts have {', '.join(sorted(missing))}, which dataset {dataset.name} has not",
            "choose compositions of its elements in a file: --robustness-config FILE",
        )
    return plan
