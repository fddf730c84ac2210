"""`gst show`: show one document, its origins and what was made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import typer

from gst_jobflow.base.settings import CostSettings
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.launch.cost import CostNode, cost_of
from gst_jobflow.store import Results
from gst_jobflow.store.lineage import Lineage, Link, lineage


def command(
    id: str = argument(
        "Id of any document, or at least its first 6 characters, or the name of a dataset, potential or study.",
        default=...,
    ),
    collection: str | None = option("Search only this collection.", "--collection", "-c"),
    with_cost: bool = flag("Show core hours and energy, with everything that it rests on.", "--cost"),
    as_json: JsonOption = False,
) -> None:
    """Show what a document was made from and what was made from it, with attempts, files and cost.

    Example: gst show 3f9a01
    """
    project = open_project()
    results = Results.open(project)
    if with_cost:
        _show_cost(cost_of(results, id, collection), project.settings.cost, as_json)
        return
    found = lineage(results, id, collection)
    if as_json:
        print_json(asdict(found))
        return
    for line in _lines(found):
        typer.echo(line)


def _show_cost(tree: CostNode, prices: CostSettings, as_json: bool) -> None:
    if as_json:
        print_json({**_cost_json(tree), "in_all": _in_all(tree, prices)})
        return
    rows = [
        ("  " * depth + node.what, len(node.jobs), node.spent.attempts, f"{node.spent.core_hours:.4g}",
         f"{node.spent.failed_core_hours:.4g}", f"{node.total.core_hours:.4g}")
        for depth, node in tree.walk()
    ]  # fmt: skip
    print_table(rows, ["", "jobs", "attempts", "core hours", "of these failed", "with all it rests on"])
    for line in _cost_lines(tree, prices):
        typer.echo(line)


def _cost_lines(tree: CostNode, prices: CostSettings) -> Iterator[str]:
    total, found = tree.total, _in_all(tree, prices)
    yield f"in all {total.core_hours:.6g} core hours in {total.attempts:,} attempts of {tree.n_jobs:,} jobs"
    if total.failed_attempts:
        yield f"  {total.failed_core_hours:.4g} of them in {total.failed_attempts:,} attempts that failed or were lost"
    if total.running_core_hours:
        yield f"  {total.running_core_hours:.4g} of them in attempts that still run"
    if total.hours_of_unknown_cores:
        yield f"  not in it: {total.hours_of_unknown_cores:.4g} h of attempts whose cores were not recorded"
    for _, node in tree.walk():
        if node.without_attempt:
            yield f"  not in it: {node.what}: {node.without_attempt:,} without an attempt in this database (imported)"
    energy = found["kWh"]
    yield f"energy {'' if energy is None else f'{energy:.4g} kWh, '}{found['kWh_source']}".rstrip(", ")
    if found["price"] is not None:
        yield f"price {found['price']:.4g} {prices.currency}".rstrip()
    if found["co2_kg"] is not None:
        yield f"CO2 {found['co2_kg']:.4g} kg at {prices.co2_g_per_kWh:g} g/kWh"


def _in_all(tree: CostNode, prices: CostSettings) -> dict[str, Any]:
    total = tree.total
    energy, price, co2 = total.kWh(prices), prices.price_per_core_hour, prices.co2_g_per_kWh
    return {
        **asdict(total),
        "jobs": tree.n_jobs,
        "kWh": energy,
        "kWh_source": total.kWh_source(prices),
        "price": None if price is None else price * total.core_hours,
        "co2_kg": None if co2 is None or energy is None else co2 * energy / 1000,
    }


def _cost_json(node: CostNode) -> dict[str, Any]:
    own = {"what": node.what, "collection": node.collection, "ids": node.ids, "jobs": node.jobs}
    numbers = {"spent": asdict(node.spent), "total": asdict(node.total), "without_attempt": node.without_attempt}
    return {**own, **numbers, "parts": [_cost_json(part) for part in node.parts]}


def _lines(found: Lineage) -> Iterator[str]:
    yield f"{found.collection} {found.id}"
    for name, value in found.summary.items():
        if name != "id":
            yield f"  {name}: {_text(value)}"
    for title, links in (("where it came from", found.origins), ("what was made from it", found.made)):
        yield title
        yield from (f"  {_link_text(link)}" for link in links)
        if not links:
            yield "  nothing in the database"
    if found.attempts:
        yield "attempts of its job"
    for attempt in found.attempts:
        reason = f": {attempt['reason']}" if "reason" in attempt else ""
        yield f"  {attempt['number']} {attempt['state']} on {attempt['host']}, {attempt['directory']}{reason}"
    if found.files:
        yield "files"
    for file in found.files:
        yield f"  {file['name']}  {file['size_bytes']} bytes  {file['state']}  {file['path']}"
    if found.cost:
        yield "cost"
        yield "  " + ", ".join(f"{name} {value:.4g}" for name, value in found.cost.items())


def _link_text(link: Link) -> str:
    more = " …" if link.count > len(link.ids) and link.ids else ""
    ids = " ".join(f"{id} (not in the database)" if id in link.missing else id for id in link.ids)
    detail = f"  {_text(link.detail)}" if link.detail else ""
    return f"{link.relation}: {link.count} {link.collection}  {ids}{more}".rstrip() + detail


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "isoformat"):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)
