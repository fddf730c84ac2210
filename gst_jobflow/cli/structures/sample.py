"""`gst structures sample`: select independent frames of trajectories as structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.cli.common import IterationOption, JsonOption, TagOption, open_project, parse_range, print_json, say
from gst_jobflow.cli.option_group import flag, option
from gst_jobflow.cli.structures.made import said_of_new, store_unless
from gst_jobflow.documents import Structure
from gst_jobflow.importing.options import known_config_type
from gst_jobflow.selection.sample import Pick, Request, Sampled, documents, find_runs, sample
from gst_jobflow.store import Results

_FEW = 10
"""Fewest independent values from which a correlation time is reliable."""


def command(
    sources: list[str] = option(
        "Trajectory by id or name, cycle, or CYCLE:N for its N-th operation (repeatable).", "--from", default=...
    ),
    every_ps: float | None = option("Time between frames.", min=1e-3),
    decorrelated: bool = flag("Space frames by the correlation time of the energy; the default.", "--decorrelated"),
    number: int | None = option("Largest number of frames.", "--number", "-N", "-n", min=1),
    after_ps: float = option("Skip this time at the start of each trajectory.", default=0.0, min=0),
    temperature_range: str | None = option("Temperatures of the frames, K, e.g. 600:1200.", metavar="MIN:MAX"),
    max_atoms: int = option("Refuse larger cells, which are expensive to label.", default=300, min=1),
    config_type: str | None = option("Config type of new structures; default: that of the trajectory's end or start."),
    iteration: IterationOption = 0,
    tag: TagOption = None,
    dry_run: bool = flag("Select and write nothing.", "--dry-run"),
    as_json: JsonOption = False,
) -> None:
    """Select independent frames of molecular dynamics as structures to label.

    Frames of a stage are spaced by the correlation time of the potential energy. Frames of first-principles dynamics
    already are labelled structures; they get the tags.

    Example: gst structures sample --from melt_quench -N 30 --tag iter-2 --iteration 2
    """
    if every_ps is not None and decorrelated:
        raise InputError("--every-ps and --decorrelated exclude each other", "give one of them")
    limits_K = parse_range(temperature_range or "", "--temperature-range", "MIN:MAX in K, e.g. 600:1200")
    request = Request(every_ps, after_ps, limits_K, number)
    kind = known_config_type(config_type) if config_type else None
    results = Results.open(open_project())
    runs = {run.id: run for which in sources for run in find_runs(results, which)}
    stages = sample(results, list(runs.values()), request, max_atoms)
    picks = [pick for stage in stages for pick in stage.picks]
    made = documents(results, picks, tag or [], iteration, kind)
    new = store_unless(results, made, dry_run)
    if as_json:
        rows = [_row(pick, document) for pick, document in zip(picks, made, strict=True)]
        print_json({"new": new or 0, "stages": [_stage_row(stage) for stage in stages], "structures": rows})
        return
    for document in made:
        typer.echo(document.id)
    for stage in stages:
        say(_line(stage, every_ps))
    say(f"{len(made)} frames of {sum(stage.frames for stage in stages)}; {said_of_new(new, len(made))}")


def _line(sampled: Sampled, every_ps: float | None) -> str:
    """Describe the frames of a stage in one line."""
    known, stage = sampled.estimate, sampled.stage
    name = f"{sampled.run.name} {sampled.run.id[:8]} stage {stage.number} ({stage.kind})"
    if not sampled.frames:
        return f"{name}: no frame within the limits"
    if known.spacing_ps is None:
        told = [known.reason]
    else:
        told = [f"energies are correlated over {known.spacing_ps:.3g} ps"]
        if stage.is_constant:
            told.append(f"equilibrated after {known.start_ps - stage.begin_ps:.3g} ps")
        if known.n_independent < _FEW:
            told.append(f"by {known.n_independent:.1f} independent values only")
        if every_ps is not None and every_ps < known.spacing_ps:
            told.append("frames are closer than that")
    asked_ps = every_ps or known.spacing_ps
    if asked_ps and sampled.frames_every_ps and sampled.frames_every_ps > asked_ps:
        told.append(f"stored every {sampled.frames_every_ps:.3g} ps")
    told.append(f"{len(sampled.picks)} of {sampled.frames} frames{_temperatures(sampled.picks)}")
    moved = [pick.moved_A for pick in sampled.picks if pick.moved_A is not None]
    if moved:
        told.append(f"atoms moved by {sum(moved) / len(moved):.2g} Å from one to the next")
    if sampled.is_solid:
        told.append(f"a solid that vibrates: {sampled.moved_A:.2g} Å from first to last")
    return f"{name}: {', '.join(told)}"


def _temperatures(picks: Sequence[Pick]) -> str:
    known = [pick.temperature_K for pick in picks if pick.temperature_K is not None]
    if not known:
        return ""
    low, high = round(min(known)), round(max(known))
    return f" at {low} K" if low == high else f" at {low}–{high} K"


def _row(pick: Pick, document: Structure) -> dict[str, Any]:
    return {
        "structure_id": document.id,
        "trajectory_id": pick.run.id,
        "stage": pick.stage.number,
        "step": pick.found.step,
        "time_ps": pick.time_ps,
        "temperature_K": pick.temperature_K,
        "moved_A": pick.moved_A,
    }


def _stage_row(sampled: Sampled) -> dict[str, Any]:
    return {
        "trajectory_id": sampled.run.id,
        "stage": sampled.stage.number,
        "kind": sampled.stage.kind,
        "begin_ps": sampled.stage.begin_ps,
        "end_ps": sampled.stage.end_ps,
        "decorrelation_ps": sampled.estimate.spacing_ps,
        "equilibrated_from_ps": sampled.estimate.start_ps,
        "n_independent": sampled.estimate.n_independent,
        "reason": sampled.estimate.reason,
        "n_frames": sampled.frames,
        "n_chosen": len(sampled.picks),
        "first_to_last_A": sampled.moved_A,
        "is_solid": sampled.is_solid,
    }
