"""`gst evaluate`: measure errors and speed of potentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import argument, option
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.evaluation.evaluate import evaluate
from gst_jobflow.evaluation.labels import of_dataset, of_query
from gst_jobflow.report.pages.study import build_page, check_place, page_of
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

SPLITS = ("test", "train", "all")


def command(
    potentials: list[str] = argument("Ids or names (the newest of each).", default=..., metavar="POTENTIAL…"),
    dataset: str | None = option("Id or name of a dataset; default: that of the potentials."),
    split: str = option("Side of the dataset: test, train or all.", default="test"),
    where: list[str] | None = option(
        "Labels instead: conditions on them and their structures, as in gst query.", "--where", "-w"
    ),
    speed: bool = option("Time all of them on one rank.", "--speed/--no-speed", default=True),
    name: str = option("Name of the study that keeps the result.", default=""),
    output: Path | None = option("The page; default: reports/NAME-ID.html in the project.", "--output", "-o"),
    as_json: JsonOption = False,
) -> None:
    """Measure errors and speed of potentials: a table and a page, by config type, composition and more.

    Examples: gst evaluate GST-ACE; gst evaluate 81b2… 9f00… --dataset iter-1 --split all; gst evaluate XPOT-Sb2Te3 -w
    "tags=melt formula=Sb2Te3 fingerprint=cp2k:1f…"
    """
    check_known("no split", split, SPLITS)
    if where and dataset:
        raise InputError("--dataset and --where contradict each other", "give one of them")
    project = open_project()
    results = Results.open(project)
    chosen = [get_located(results, Potential, which) for which in potentials]
    labels = _labels(results, chosen, dataset, split, where)
    # an evaluation is stored even if its page fails, so refuse a bad place before
    check_place(output or project.root / "reports" / "evaluation.html")
    study = evaluate(results, project.settings, chosen, labels, name=name, with_speed=speed, cores=cores(), tell=say)
    target = output or page_of(project.root, study)
    build_page(results, "study", study.id, target)
    if as_json:
        print_json({"study_id": study.id, "page": str(target), "rows": study.table})
        return
    _print(study.table)
    typer.echo(target)


def _print(table: list[dict[str, Any]]) -> None:
    errors = {
        "energy_rmse_meV_per_atom": "E RMSE meV/atom",
        "energy_max_meV_per_atom": "E max",
        "force_rmse_meV_per_A": "F RMSE meV/Å",
        "force_max_meV_per_A": "F max",
    }
    rows = [
        [row["potential"], row["group"], row["value"], row["n_structures"], *(_short(row[key]) for key in errors),
         _short(row.get("us_per_atom_step")), row.get("timed_by", "")]
        for row in table
    ]  # fmt: skip
    print_table(rows, ["potential", "group", "", "structures", *errors.values(), "µs/atom/step", "by"])


def _labels(results: Any, potentials: list[Any], dataset: str | None, split: Any, where: list[str] | None) -> Any:
    if where:
        return of_query(results, where)
    if dataset is None:
        ids = {each.dataset_id for each in potentials}
        if len(ids) != 1 or None in ids:
            raise InputError("these potentials do not share a dataset", "choose labels by --dataset or --where")
        return of_dataset(results, results.get(Dataset, next(iter(ids))), split)
    return of_dataset(results, get_located(results, Dataset, dataset), split)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
