"""`gst submit ablation`: fit every combination of a few values."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.cli.common import open_project, parse_assignments
from gst_jobflow.cli.fit_options import fit_config, varied
from gst_jobflow.cli.submit.options import ConfigFile, FitOption, Preset, read_config
from gst_jobflow.cli.submit.submission import submit_flow
from gst_jobflow.documents import Dataset
from gst_jobflow.flows.ablation import AblationMaker
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import locate


def command(
    dataset_id: Annotated[str, typer.Argument(help="Id of the dataset, or its beginning.")],
    vary: Annotated[
        list[str], typer.Option("--vary", help="A field and its values, e.g. embedding.n_densities=1,2,3 (repeatable).")
    ],
    name: Annotated[str, typer.Option(help="Name of the study.")] = "ablation",
    preset: Preset = None,
    config: ConfigFile = None,
    option: FitOption = None,
) -> None:
    """Fit every combination of a few values; a table compares them.

    Example: gst submit ablation 4f0c… --vary embedding.n_densities=1,2,3 --vary
    functions.number_of_functions_per_element=100,300,1000
    """
    project = open_project()
    results = Results.open(project)
    found = results.get(Dataset, locate(results.database, dataset_id, "datasets")[1])
    values = read_config(config)
    base = fit_config(tuple(found.elements), preset, None, values, parse_assignments(option or [], "--option"))
    flow = AblationMaker(study_name=name, config=base, vary=varied(vary)).make(found.id)
    submit_flow(flow, project, f"{len(flow.jobs) - 1} fits to dataset {found.name}")
