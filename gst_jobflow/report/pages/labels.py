"""Build the page of a report on labels, and the tables that its command prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gst_jobflow import __version__
from gst_jobflow.base.words import counted
from gst_jobflow.documents import now
from gst_jobflow.report import palette, words
from gst_jobflow.report.figures import labels as figures
from gst_jobflow.report.label_data import (
    OUTLIER_SCORE,
    Comparison,
    LabelData,
    MethodData,
    MethodDifference,
    quantile_eV_A,
)
from gst_jobflow.report.pages.elements import Table, page_figures
from gst_jobflow.report.pages.study import page_template, write_page
from gst_jobflow.report.style import ordered_types

_STATES = ("converged", "failed", "quarantined", "excluded")
_REASONS_SHOWN = 15
_OUTLIERS_SHOWN = 20
_NEAR_SHOWN = 15
_METHODS_DRAWN = 6
# near-duplicates whose energies differ by more contradict each other
_CONTRADICTION_EV = 2e-3


def build_label_page(data: LabelData, target: Path) -> Path:
    """Write the page of a report on labels."""
    names = method_names(data)
    drawn = data.methods[:_METHODS_DRAWN]
    physical = any(str(each.method.get("code", "")).lower() in words.FIRST_PRINCIPLES for each in data.methods)
    html = page_template("labels.html").render(
        title="Labels" + (f" of {' '.join(data.where)}" if data.where else ""),
        notice=None if physical else words.notice_of([each.method for each in data.methods]),
        summary=_summary(data, names),
        tiles=_tiles(data),
        states=_states(data, names),
        reasons=_reasons(data, names),
        failures=page_figures(
            (figures.failures(data.methods, names), "Failed and quarantined labels by class.", "Bar chart")
        ),
        methods=[_method(each, names[each.fingerprint]) for each in drawn],
        errors=Table(*error_rows(data), frozenset(range(2, 2 + len(_ERROR_COLUMNS)))),
        comparisons=[_comparison(each, names) for each in data.comparisons],
        cost=_cost(data, names),
        where=f"structures: {' '.join(data.where) or 'all'}",
        made=words.moment(now()),
        version=__version__,
    )
    return write_page(html, target)


def method_names(data: LabelData) -> dict[str, str]:
    """Return the name of each method by fingerprint; equal names get part of the fingerprint."""
    plain = {each.fingerprint: words.method_name(each.method) for each in data.methods}
    twice = Counter(plain.values())
    return {
        fingerprint: name if twice[name] == 1 else f"{name} {fingerprint.rpartition(':')[2][:6]}"
        for fingerprint, name in plain.items()
    }


def as_dict(data: LabelData) -> dict[str, Any]:
    """Return all numbers of the report except points of figures, for JSON."""
    names = method_names(data)
    return {
        "n_structures": data.n_structures,
        "methods": [
            {
                "fingerprint": each.fingerprint,
                "name": names[each.fingerprint],
                "counts": {state: each.states[state] for state in _STATES},
                "failures": _by_class(each),
                "references_eV": each.references_eV,
                **_numbers(each),
                "n_outliers": each.n_outliers,
                "outliers": [asdict(outlier) for outlier in each.outliers],
                "n_near_duplicates": None if each.near is None else len(each.near),
                "wall_s": each.wall_s,
                "cost_exponent": each.cost.exponent if each.cost.one_atom_s else None,
            }
            for each in data.methods
        ],
        "comparisons": [
            {
                "reference": each.reference,
                "other": each.other,
                **asdict(each.errors),
                "by_config_type": {name: asdict(errors) for name, errors in each.by_config_type.items()},
            }
            for each in data.comparisons
        ],
    }


def state_rows(data: LabelData) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the table of methods."""
    names = method_names(data)
    rows = []
    for each in data.methods:
        numbers = _numbers(each)
        rows.append(
            [
                names[each.fingerprint],
                each.fingerprint,
                *(f"{each.states[state]:,}" for state in _STATES),
                words.shown(numbers["force_median_eV_A"], ".3g"),
                words.shown(numbers["force_99_eV_A"], ".3g"),
                f"{each.n_outliers:,}",
                words.shown(None if each.near is None else len(each.near), ","),
                words.duration(each.wall_s),
            ]
        )
    columns = [
        "method",
        "fingerprint",
        *_STATES,
        "median force",
        "99 % force",
        "outliers",
        "near-duplicates",
        "wall time",
    ]
    return columns, rows


def error_rows(data: LabelData) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the table of comparisons."""
    names = method_names(data)
    rows = [[names[each.other], names[each.reference], *_error_cells(each.errors)] for each in data.comparisons]
    return ["method", "against", *_ERROR_COLUMNS], rows


_ERROR_COLUMNS = [
    "structures", "energy RMSE (meV/atom)", "worst energy", "force RMSE (meV/Å)", "force MAE (meV/Å)"
]  # fmt: skip


def _error_cells(errors: MethodDifference) -> list[str]:
    return [
        f"{errors.n_structures:,}", f"{errors.energy_rmse_meV:.2f}", f"{errors.energy_worst_meV:.2f}",
        f"{errors.force_rmse_meV_A:.1f}", f"{errors.force_mae_meV_A:.1f}",
    ]  # fmt: skip


def _by_class(data: MethodData) -> dict[str, int]:
    classes: Counter[str] = Counter()
    for (failure_class, _), number in data.failures.items():
        classes[failure_class] += number
    return dict(classes.most_common())


def _numbers(data: MethodData) -> dict[str, float | None]:
    """Return ranges and quantiles of a method's converged labels; None without any."""
    columns = data.columns
    counts = sum(data.force_counts.values(), start=np.zeros(1))
    distances = columns.min_distance_A[np.isfinite(columns.min_distance_A)]
    return {
        "energy_lowest_eV": float(data.relative_eV.min()) if len(columns) else None,
        "energy_highest_eV": float(data.relative_eV.max()) if len(columns) else None,
        "force_median_eV_A": quantile_eV_A(counts, 0.5) if len(counts) > 1 else None,
        "force_99_eV_A": quantile_eV_A(counts, 0.99) if len(counts) > 1 else None,
        "force_largest_eV_A": float(np.nanmax(columns.max_forces_eV_A)) if len(columns) else None,
        "smallest_distance_A": float(distances.min()) if len(distances) else None,
    }


def _summary(data: LabelData, names: dict[str, str]) -> str:
    total = sum(sum(each.states.values()) for each in data.methods)
    good = sum(each.states["converged"] for each in data.methods)
    listed = ", ".join(names[each.fingerprint] for each in data.methods[:_METHODS_DRAWN])
    text = f"{counted(total, 'label')} by {listed}; {good:,} are converged, on {data.n_structures:,} structures."
    for each in data.comparisons:
        text += (
            f" {names[each.other]} and {names[each.reference]} differ by {each.errors.energy_rmse_meV:.1f} meV/atom "
            f"and {each.errors.force_rmse_meV_A:.1f} meV/Å on {counted(each.errors.n_structures, 'structure')}."
        )
    return text


def _tiles(data: LabelData) -> list[tuple[str, str, str]]:
    total = sum(sum(each.states.values()) for each in data.methods)
    good = sum(each.states["converged"] for each in data.methods)
    tiles = [
        (f"{good:,}", "", "converged labels"),
        (f"{100 * good / total:.3g}", "%", "of all labels converged"),
        (f"{sum(each.n_outliers for each in data.methods):,}", "", "outliers to look at"),
        (words.duration(sum(each.wall_s for each in data.methods)), "", "wall time of all labels"),
    ]
    distances = [each.columns.min_distance_A for each in data.methods if len(each.columns)]
    if distances and np.isfinite(joined := np.concatenate(distances)).any():
        tiles.insert(2, (f"{np.nanmin(joined):.2f}", "Å", "closest contact"))
    return tiles


def _states(data: LabelData, names: dict[str, str]) -> Table:
    rows = [
        [names[each.fingerprint], *(f"{each.states[state]:,}" for state in _STATES), each.fingerprint]
        for each in data.methods
    ]
    return Table(["method", *_STATES, "fingerprint"], rows, frozenset({1, 2, 3, 4}))


def _reasons(data: LabelData, names: dict[str, str]) -> Table | None:
    found = [
        (number, names[each.fingerprint], failure_class, reason)
        for each in data.methods
        for (failure_class, reason), number in each.failures.items()
    ]
    if not found:
        return None
    found.sort(key=lambda row: (-row[0], row[1:]))
    rows = [[f"{number:,}", *rest] for number, *rest in found[:_REASONS_SHOWN]]
    if more := len(found) - _REASONS_SHOWN:
        rows += [[f"{sum(row[0] for row in found[_REASONS_SHOWN:]):,}", "", "", f"{more:,} more reasons"]] * (more > 0)
    return Table(["labels", "method", "class", "reason"], rows, frozenset({0}))


def _method(data: MethodData, name: str) -> dict[str, Any]:
    """Return the content of the section on one method."""
    if not len(data.columns):
        return {"name": name, "table": None}
    volume = (
        "One point a converged label; atomic reference energies, from least squares over all labels, are subtracted."
    )
    contacts = "Closest contact of each labelled structure, periodic images included."
    drawn = page_figures(
        (figures.energy_against_volume(data), volume, "Scatter of energy against volume"),
        (figures.force_distribution(data), "Atoms by the magnitude of their force.", "Distribution of forces"),
        (figures.energy_against_force(data), "Largest force of each label.", "Scatter of force against energy"),
        (figures.closest_contacts(data), contacts, "Histogram of minimum distances"),
    )
    return {
        "name": name,
        "table": _by_type(data),
        "figures": drawn,
        "outliers": _outliers(data),
        "n_outliers": counted(data.n_outliers, "outlier"),
        "outlier_rule": f"energy or largest force more than {OUTLIER_SCORE:g} robust standard deviations from the "
        "median of eight or more labels of the same formula and config type.",
        "near_text": _near_text(data),
        "near": _near(data),
    }


def _by_type(data: MethodData) -> Table:
    columns, relative = data.columns, data.relative_eV
    types = np.array(columns.config_types.list())
    rows = []
    for name in ordered_types(types.tolist()):
        chosen = types == name
        counts, distances = data.force_counts[name], columns.min_distance_A[chosen]
        rows.append(
            [
                name,
                f"{int(chosen.sum()):,}",
                words.extent(columns.n_atoms[chosen], 0),
                words.extent(relative[chosen], 3),
                words.shown(quantile_eV_A(counts, 0.5), ".3g"),
                words.shown(quantile_eV_A(counts, 0.99), ".3g"),
                f"{np.nanmax(columns.max_forces_eV_A[chosen]):.3g}",
                words.shown(np.nanmin(distances) if np.isfinite(distances).any() else None, ".2f"),
            ]
        )
    heads = ["config type", "labels", "atoms", "energy (eV/atom)", "median", "99 %", "largest", "contact (Å)"]
    groups = (("", 4), ("force (eV/Å)", 3), ("closest", 1))
    return Table(heads, rows, frozenset(range(1, 8)), groups, palette.CONFIG_TYPES)


def _outliers(data: MethodData) -> Table | None:
    units = {"energy": "eV/atom", "force": "eV/Å"}
    rows = [
        [each.config_type, words.formula(each.formula), each.what,
         f"{each.value:.4g} {units[each.what]}".replace("-", "−"), f"{each.median:.4g}".replace("-", "−"),
         f"{each.score:.3g}", each.label_id]
        for each in data.outliers[:_OUTLIERS_SHOWN]
    ]  # fmt: skip
    heads = ["config type", "formula", "what", "value", "median", "deviations", "label"]
    return Table(heads, rows, frozenset({3, 4, 5}), dots=palette.CONFIG_TYPES) if rows else None


def _near_text(data: MethodData) -> str:
    if data.near is None:
        return "Not computed for so many labels; gst label report --near-duplicates 0.01 does, and takes a while."
    if not data.near:
        return "None: no two structures differ only in order, position and orientation of their atoms."
    apart = sum(pair.energy_difference_eV > _CONTRADICTION_EV for pair in data.near)
    text = f"{counted(len(data.near), 'label')} could be left out: nearly the same structure has another label."
    if not apart:
        return text
    limit_meV = 1e3 * _CONTRADICTION_EV
    return f"{text} {apart:,} of them differ from it by more than {limit_meV:g} meV/atom: check these."


def _near(data: MethodData) -> Table | None:
    if not data.near:
        return None
    ids = data.columns.label_ids
    worst = sorted(data.near, key=lambda pair: -pair.energy_difference_eV)[:_NEAR_SHOWN]
    rows = [[f"{1e3 * pair.energy_difference_eV:.3f}", ids[pair.of].decode(), ids[pair.row].decode()] for pair in worst]
    return Table(["difference (meV/atom)", "keep", "could be left out"], rows, frozenset({0}))


def _comparison(found: Comparison, names: dict[str, str]) -> dict[str, Any]:
    energies = figures.method_energy_parity(found, names)
    drawn = page_figures(
        (energies, "Atomic reference energies subtracted.", "Parity plot of energies"),
        (figures.method_force_parity(found, names), "Force components.", "Parity plot of forces"),
    )
    rows = [[name, *_error_cells(found.by_config_type[name])] for name in ordered_types(list(found.by_config_type))]
    rows.append(["all", *_error_cells(found.errors)])
    table = Table(["config type", *_ERROR_COLUMNS], rows, frozenset(range(1, 6)), dots=palette.CONFIG_TYPES)
    return {"title": f"{names[found.other]} against {names[found.reference]}", "figures": drawn, "table": table}


def _cost(data: LabelData, names: dict[str, str]) -> dict[str, Any]:
    rows = []
    for each in data.methods:
        walls = each.columns.wall_s[each.columns.wall_s > 0]
        rows.append(
            [
                names[each.fingerprint],
                words.duration(each.wall_s),
                words.duration(float(np.median(walls)) if len(walls) else None),
                words.duration(float(walls.max()) if len(walls) else None),
                words.shown(each.cost.exponent if each.cost.one_atom_s else None, ".2f"),
            ]
        )
    heads = ["method", "total", "median label", "longest", "exponent of the number of atoms"]
    caption = "Wall time of converged labels, and a power law fitted to it."
    drawn = page_figures((figures.cost(data.methods, names), caption, "Cost"))
    return {"table": Table(heads, rows, frozenset(range(1, 5))), "figures": drawn}
