"""Figures of studies: ablation (Table 1), success by iteration and by random share (Fig. 2), searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Dataset, Potential, Study
from gst_jobflow.evaluation.robustness import interval
from gst_jobflow.hyperopt.plan import plan_of
from gst_jobflow.report import words
from gst_jobflow.report.catalogue.kinds import Drawn, FigureRequest, Numbers, named
from gst_jobflow.report.figures.ablation import AblationRow, ablation_chart
from gst_jobflow.report.figures.robustness import SuccessPoint, success_curve
from gst_jobflow.report.figures.search import convergence
from gst_jobflow.report.figures.tables import members_by_type, table_figure
from gst_jobflow.report.paper import paper_numbers
from gst_jobflow.report.style import ordered_types
from gst_jobflow.store import Results

ABLATION_COLUMNS = {
    "test_energy_meV_per_atom": "energy RMSE\n(meV/atom)",
    "test_force_meV_per_A": "force RMSE\n(meV/Å)",
    "relative_speed": "relative\nspeed",
    "success": "melts that\nsucceed",
}
_IN_PAPER = {
    "test_energy_meV_per_atom": "energy_meV_per_atom",
    "test_force_meV_per_A": "force_meV_per_A",
    "relative_speed": "relative_speed",
}
_PLAN_OF_MELTS = ("compositions", "n_atoms", "density_g_cm3", "temperature_K", "duration_ps", "floors_A", "halt_gamma")


def draw_ablation(request: FigureRequest) -> Drawn:
    """Draw Table 1: errors, relative speed and robustness of each fit of an ablation."""
    (study,) = request.documents
    columns = {
        key: name for key, name in ABLATION_COLUMNS.items() if any(row.get(key) is not None for row in study.table)
    }
    if not columns:
        raise DataError(f"no fit of study {study.name} has errors or a speed", "fit to a dataset with a test set")
    fits = [member.id for member in study.members if member.role == "fit"]
    known = {each.id: each for each in request.results.get_many(Potential, fits)}
    potentials = [known[id] for id in fits]
    rows = [
        _ablation_row(study, row, potential, request.paper)
        for row, potential in zip(study.table, potentials, strict=True)
    ]
    if request.paper:
        others = [_paper_row(each) for each in paper_numbers()["ablation"]["rows"]]
        rows += [each for each in others if not any(row.paper == each.paper for row in rows)]
    figure = ablation_chart(rows, columns)
    assert figure is not None  # the study has rows
    return Drawn(
        figure, named(study, *potentials), "Errors are those of the test set.", _ablation_numbers(rows, columns)
    )


def varied(study: Study) -> list[str]:
    """Return the columns of an ablation that hold what was varied."""
    return [*(["random_share"] if "random_shares" in study.plan else []), *study.plan["vary"]]


def _ablation_row(study: Study, row: dict[str, Any], potential: Potential, paper: bool) -> AblationRow:
    what = ", ".join(_said(key, row[key]) for key in varied(study))
    values = {key: row[key] for key in ABLATION_COLUMNS if row.get(key) is not None}
    intervals = {"success": (row["success_low"], row["success_high"])} if "success" in values else {}
    same = [float(row.get("random_share", 1.0)), potential.n_densities, potential.n_functions]
    inputs = ("random_share", "n_densities", "functions")
    theirs = [each for each in paper_numbers()["ablation"]["rows"] if paper and [each[key] for key in inputs] == same]
    return AblationRow(what, values, intervals, _paper_row(theirs[0]).paper if theirs else {})


def _paper_row(row: dict[str, Any]) -> AblationRow:
    return AblationRow(
        f"paper: {row['what'].partition(':')[0]}", paper={key: row[name] for key, name in _IN_PAPER.items()}
    )


def _said(key: str, value: Any) -> str:
    name = key.rpartition(".")[2]
    if name == "random_share":
        return f"{value:.0%} random"
    if name == "number_of_functions_per_element":
        return f"{value} functions per element"
    return f"{'P' if name == 'n_densities' else name.replace('_', ' ')} = {value}"


def _ablation_numbers(rows: Sequence[AblationRow], columns: dict[str, str]) -> Numbers:
    names = ["what", *columns, "success_low", "success_high", *(f"paper_{key}" for key in columns)]
    body = [
        [row.what, *(row.values.get(key) for key in columns), *row.intervals.get("success", (None, None)),
         *(row.paper.get(key) for key in columns)]
        for row in rows
    ]  # fmt: skip
    return Numbers(names, body)


def draw_success_by_share(request: FigureRequest) -> Drawn:
    """Draw Fig. 2b: success fraction against the share of random structures in the training set."""
    (study,) = request.documents
    if "random_shares" not in study.plan:
        raise DataError(
            f"ablation {study.name} does not vary the share of random structures", "--share random=1,0.5,0.25,0"
        )
    others = [key for key in study.plan["vary"] if len({str(row[key]) for row in study.table}) > 1]
    if others and not request.mixed:
        raise InputError(f"ablation {study.name} varies {', '.join(others)}, too: one curve would join them", "--mixed")
    rows = [row for row in study.table if row.get("success") is not None]
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} fits of ablation {study.name} were tested by hot melts", "submit it with --robustness"
        )
    points = [
        SuccessPoint(f"{share:g}", 100 * share, row["success"], row["success_low"], row["success_high"])
        for share, row in sorted(((row["random_share"], row) for row in rows), key=lambda pair: -pair[0])
    ]
    if request.paper:
        points += [
            _paper_point(f"{share:g}", 100 * share, each)
            for share, each in paper_numbers()["robustness"]["by_share"].items()
        ]
    figure = success_curve(points, "random structures kept (%)", by_name=False)
    assert figure is not None  # there are points
    made_of = [
        *named(study),
        *(f"{member.collection}/{member.id}" for member in study.members if member.role in ("fit", "robustness")),
    ]
    return Drawn(figure, made_of, _INTERVALS, _success_numbers(points, "random_share"))


_INTERVALS = "Bars are 95 % Wilson intervals."


def _paper_point(name: str, x: float, fraction: float) -> SuccessPoint:
    runs = paper_numbers()["robustness"]["runs"]
    low, high = interval(round(fraction * runs), runs)
    return SuccessPoint(name, x, fraction, low, high, from_paper=True)


def _success_numbers(points: Sequence[SuccessPoint], name: str) -> Numbers:
    rows = [
        ["reference paper" if each.from_paper else "this study", each.name, each.fraction, each.low, each.high]
        for each in points
    ]
    return Numbers(["of", name, "success_fraction", "low", "high"], rows)


def draw_success_by_iteration(request: FigureRequest) -> Drawn:
    """Draw Fig. 2a: success fraction of the potential of each iteration."""
    studies: Sequence[Study] = request.documents
    if not request.mixed:
        _check_one_protocol(studies)
    tested = [each for study in studies for each in _tested(request.results, study)]
    if not tested:
        raise DataError(f"study {studies[0].name} has no iteration with hot melts", "add robustness: {} to its plan")
    ids = [potential_id for potential_id, _ in tested]
    if len(set(ids)) < len(ids) and not request.mixed:
        twice = next(point.name for id, point in tested if ids.count(id) > 1)
        raise InputError(
            f"potential {twice} was tested by several of these studies", "name one of them, or add --mixed"
        )
    points = [point for _, point in tested]
    points = _by_iteration(points, request.paper)
    figure = success_curve(
        points, "iteration" if all(point.name.startswith("iter-") for point in points) else "potential", by_name=True
    )
    assert figure is not None  # studies have rows
    made_of = [*named(*studies), *dict.fromkeys(f"potentials/{id}" for id in ids)]
    return Drawn(figure, made_of, _INTERVALS, _success_numbers(points, "potential"))


def _tested(results: Results, study: Study) -> list[tuple[str, SuccessPoint]]:
    """Return id and point of each potential that a robustness study or the iterations of a protocol tested."""
    if study.kind == "iteration":
        rows = [row for row in study.table if row.get("success") is not None]
        return [
            (row["potential_id"],
             SuccessPoint(row["potential"], row["iteration"], row["success"], row["success_low"], row["success_high"]))
            for row in rows
        ]  # fmt: skip
    rows = [row for row in study.table if row["composition"] == "all"]
    known = {each.id: each for each in results.get_many(Potential, [row["potential_id"] for row in rows])}
    return [
        (id, SuccessPoint(row["potential"], _iteration(results, known[id]), row["fraction"], row["low"], row["high"]))
        for id, row in ((row["potential_id"], row) for row in rows)
    ]


def _plan_of_melts(study: Study) -> dict[str, Any]:
    plan: dict[str, Any] = study.plan["plan"]["robustness"] or {} if study.kind == "iteration" else study.plan
    return plan


def _by_iteration(points: list[SuccessPoint], paper: bool) -> list[SuccessPoint]:
    """Order points by iteration, name them so where each has its own, and add those of the paper."""
    numbers = [point.x for point in points]
    if len(set(numbers)) == len(numbers):
        points = [
            SuccessPoint(f"iter-{p.x:g}", p.x, p.fraction, p.low, p.high) for p in sorted(points, key=lambda p: p.x)
        ]
    if paper:
        points = points + [
            _paper_point(f"iter-{n}", n, each) for n, each in paper_numbers()["robustness"]["by_iteration"].items()
        ]
        if all(point.name.startswith("iter-") for point in points):
            points.sort(key=lambda point: (point.x, point.from_paper))
    return points


def _iteration(results: Results, potential: Potential) -> int:
    return 0 if potential.dataset_id is None else results.get(Dataset, potential.dataset_id).iteration


def _check_one_protocol(studies: Sequence[Study]) -> None:
    first = studies[0]
    for study in studies[1:]:
        one, other = _plan_of_melts(first), _plan_of_melts(study)
        differing = [key for key in _PLAN_OF_MELTS if one.get(key) != other.get(key)]
        if differing:
            raise InputError(
                f"studies {first.name} and {study.name} differ in {', '.join(differing)}",
                "name studies of one protocol, or add --mixed",
            )


def draw_hyperparameters(request: FigureRequest) -> Drawn:
    """Draw the table of a search: its best fits, first the best one."""
    (study,) = request.documents
    plan = plan_of(study)
    finished = sorted((row for row in study.table if row["state"] == "finished"), key=lambda row: row["loss"])
    if not finished:
        raise DataError(f"no fit of search {study.name} has finished", "gst status")
    columns = ["fit", "from", *plan.space.names, "energy (meV/atom)", "forces (meV/Å)", "loss"]
    rows = [
        [row["trial"] + 1, row.get("from", ""), *row["values"], row["energy_meV_per_atom"], row["force_meV_per_A"],
         row["loss"]]
        for row in finished
    ]  # fmt: skip
    figure = table_figure(columns, [[words.number(cell) for cell in row] for row in rows[:_FITS_SHOWN]])
    assert figure is not None  # there are rows
    potentials = [f"potentials/{row['potential_id']}" for row in finished if row.get("potential_id")]
    remark = f"The {min(_FITS_SHOWN, len(rows))} best of {len(rows)} finished fits, by loss; the CSV holds all."
    return Drawn(figure, [*named(study), *potentials], remark, Numbers(columns, rows))


_FITS_SHOWN = 12


def draw_search(request: FigureRequest) -> Drawn:
    """Draw the loss of each fit of a search and the best so far."""
    (study,) = request.documents
    figure = convergence(study, plan_of(study))
    if figure is None:
        raise DataError(f"no fit of search {study.name} has finished", "gst status")
    return Drawn(figure, named(study))


def draw_data(request: FigureRequest) -> Drawn:
    """Draw the members of a dataset by config type and split."""
    (dataset,) = request.documents
    counts = dataset.counts_by_config_type
    paper = paper_numbers()["dataset"]["by_config_type"] if request.paper else {}
    types = ordered_types([*(name for each in counts.values() for name in each), *paper])
    figure = members_by_type(counts, types, paper)
    assert figure is not None  # a dataset has members
    rows = [
        [name, *(counts.get(split, {}).get(name, 0) for split in ("train", "test")), paper.get(name)] for name in types
    ]
    return Drawn(figure, named(dataset), "", Numbers(["config_type", "train", "test", "reference_paper"], rows))
