"""The section of a page that shows how many hot melts potentials survive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.report import words
from gst_jobflow.report.figures import robustness as figures
from gst_jobflow.report.pages.elements import PagePart, Table, page_figures
from gst_jobflow.store import Results

# compositions that half a page has room for
_MOST_IN_HALF = 4


def robustness_parts(study: Study, results: Results | None = None) -> Iterator[PagePart]:
    """Yield protocol and success fractions; with `results`, also figures and failed runs."""
    part = PagePart("Robustness", _protocol(study), _fractions(study))
    if results is None:
        yield part
        return
    names = {row["potential_id"]: row["potential"] for row in study.table}
    runs = robustness_runs(results, study)
    shares = figures.success_fractions(study.table)
    caption, alt = "Share of runs that succeed, with 95 % Wilson intervals.", "Success fraction by composition"
    part.figures = page_figures((shares, caption, alt), wide=len(study.plan["compositions"]) > _MOST_IN_HALF)
    survival = figures.survival(runs, names, study.plan["duration_ps"])
    part.figures += page_figures((survival, "Runs without a fault so far.", "Survival"))
    yield part
    if failures := _failures(runs, names, study.plan["timestep_fs"]):
        yield PagePart("Failed runs", table=failures, style="ids")


def robustness_runs(results: Results, study: Study) -> list[dict[str, Any]]:
    """Return what the analysis of each hot melt says."""
    ids = [member.id for member in study.members if member.role == "run"]
    found = results.get_many(Trajectory, ids)
    return [{**run.analysis["robustness"], "trajectory_id": run.id} for run in found]


def _protocol(study: Study) -> str:
    plan = study.plan
    return (
        f"Each run starts from {plan['n_atoms']:,} atoms at random ({plan['density_g_cm3']:g} g/cm³, no contact below "
        f"{plan['min_distance_A']:g} Å) and is held at {plan['temperature_K']:,.0f} K for {plan['duration_ps']:g} ps. "
        "All potentials have the same starts and seeds. A run succeeds if it ends, no atom is lost, no two atoms come "
        f"closer than {_floors(plan)}, no instant is hotter than "
        f"{plan['max_temperature_K'] or 4 * plan['temperature_K']:,.0f} K, and the potential energy stays within "
        f"{plan['energy_window_eV']:g} eV/atom of the start."
    )


def _floors(plan: dict[str, Any]) -> str:
    given = ", ".join(f"{pair} {floor_A:g} Å" for pair, floor_A in plan["floors_A"].items())
    return f"their floor ({given}; else 0.65 of their covalent radii)" if given else "0.65 of their covalent radii"


def _fractions(study: Study) -> Table:
    body = []
    for row in study.table:
        left_out = {"not run": row["planned"] - row["runs"]} if row["runs"] < row["planned"] else {}
        counts = sorted(row["outcomes"].items()) + list(left_out.items())
        faults = ", ".join(f"{name} {count}" for name, count in counts if name != "success")
        body.append([
            row["potential"], words.formula(row["composition"]), f"{row['successes']} of {row['runs']}",
            f"{row['fraction']:.2f}", f"{row['low']:.2f} – {row['high']:.2f}",
            words.shown(row["first_failure_ps"], ".2f"),
            "–" if row["closest_A"] is None else f"{row['closest_A']:.2f} {row['closest_pair']}",
            faults or "–",
        ])  # fmt: skip
    columns = ["potential", "composition", "successes", "fraction", "95 % interval", "first failure (ps)",
               "closest contact (Å)", "failures"]  # fmt: skip
    return Table(columns, body, frozenset(range(2, 6)))


def _failures(runs: list[dict[str, Any]], names: dict[str, str], timestep_fs: float) -> Table | None:
    failed = sorted((run for run in runs if run["outcome"] != "success"), key=lambda run: run["time_ps"])
    if not failed:
        return None
    body = [
        [names[run["potential_id"]], f"{words.formula(run['formula'])} {run['index'] + 1}", run["outcome"],
         f"{run['time_ps']:.2f}", run["reason"], _in_ps(run["sound_step"], timestep_fs),
         run["trajectory_id"][:12]]
        for run in failed
    ]  # fmt: skip
    return Table(["potential", "run", "failure", "time (ps)", "reason", "last sound frame (ps)", "trajectory"], body)


def _in_ps(step: int | None, timestep_fs: float) -> str:
    return "–" if step is None else f"{step * timestep_fs * 1e-3:.2f}"
