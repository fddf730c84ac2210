"""Build a report of a study, cycle or potential as one self-contained HTML file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gst_jobflow import __version__
from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import flattened
from gst_jobflow.base.words import counted, size
from gst_jobflow.documents import ActiveSet, ArtifactRef, Cycle, Potential, Rmse, RmseOfType, Study, Trajectory
from gst_jobflow.report import palette, words
from gst_jobflow.report.collect import (
    CycleData,
    StudyData,
    collect_cycle,
    collect_potential,
    collect_study,
    collect_trajectory,
)
from gst_jobflow.report.figures import cycle as cycle_figures
from gst_jobflow.report.figures import study as study_figures
from gst_jobflow.report.figures.snapshots import cycle_snapshots
from gst_jobflow.report.pages.analysis import analysis_section
from gst_jobflow.report.pages.elements import Figure, Table, data_uri, page_figures
from gst_jobflow.report.pages.links import linked
from gst_jobflow.report.pages.sections import SECTIONS, study_parts
from gst_jobflow.report.style import ordered_types
from gst_jobflow.store import Results

MOST_BYTES = 15_000_000
"""Of a page: larger ones open slowly, and mail refuses them."""
_LEFT_OUT = '<p class="missing">Left out, since the page would be larger than 15 MB; gst figure draws it alone.</p>'
_GENERATOR = '<meta name="generator" content="gst_jobflow">'
_RUNS_DRAWN = 6
_SHOWN = {
    "study": "data fit cycle provenance attempts",
    "search": "data fit provenance attempts",
    "results": "data provenance attempts",
    "iterations": "data fit provenance attempts",
    "potential": "data fit provenance attempts",
    "cycle": "fit cycle provenance attempts",
    "trajectory": "run provenance attempts",
}
"""Sections of a page by its kind or, of a study with a section of its own, by that; else its provenance."""
_REASONS_SHOWN = 12


COLLECTORS: dict[str, Callable[[Results, str], StudyData]] = {
    "study": collect_study,
    "cycle": collect_cycle,
    "potential": collect_potential,
    "trajectory": collect_trajectory,
}
"""Function that reads the data of a page, by kind."""


def build_page(results: Results, kind: str, id: str, target: Path) -> Path:
    """Write the page of a study, cycle or potential; a remark stands for whatever is missing.

    It replaces the page that an earlier version left beside it under the name without the id. Raises DataError if the
    document does not exist.
    """
    write_page(render_page(results, COLLECTORS[kind](results, id)), target)
    if earlier := earlier_page(target, id):
        earlier.unlink()
    return target


def page_of(root: Path, document: Study | Cycle | Potential | Trajectory) -> Path:
    """Return the path of the page of a document: in `reports`, with its name and the start of its id."""
    return root / "reports" / f"{words.file_name(document.name, document.id)}-{document.id[:8]}.html"


def earlier_page(page: Path, id: str) -> Path | None:
    """Return the page of this document that an earlier version wrote under its name alone; None: there is none."""
    earlier = page.with_name(f"{page.name.removesuffix(f'-{id[:8]}.html')}.html")
    if not earlier.is_file():
        return None
    html = earlier.read_text("utf-8", errors="replace")
    is_its = re.search(rf"<footer>\w+ {re.escape(id)} ·", html) and _GENERATOR not in html
    return earlier if is_its else None


def check_place(target: Path) -> None:
    """Make the folder of a page; raises InputError, before anything is computed, if the target is impossible."""
    if target.is_dir():
        raise InputError(f"{target} is a folder", "name a file in it with -o")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as err:
        raise InputError(f"{target.parent} is not a folder", "name another with -o") from err
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"folder {target.parent} is not writable", "name another with -o")


def write_page(html: str, target: Path) -> Path:
    """Write a page atomically, with a link to the index beside it; above 15 MB it loses its largest pictures.

    Raises InputError if the place is impossible, or the page is larger without any picture.
    """
    check_place(target)
    write_text(target, thin_page(linked(html, target)), mode=0o644)
    return target


def thin_page(html: str, most_bytes: int = MOST_BYTES) -> str:
    """Return a page of at most `most_bytes`: its largest pictures become a sentence; InputError if it stays larger."""
    excess = len(html.encode()) - most_bytes
    if excess <= 0:
        return html
    dropped: set[str] = set()
    pictures = re.findall(r'<img src="data:image/png;base64,[^"]*"[^>]*>', html)
    for picture in sorted(pictures, key=len, reverse=True):
        if excess <= 0:
            break
        dropped.add(picture)
        excess -= html.count(picture) * (len(picture.encode()) - len(_LEFT_OUT))
    if excess > 0:
        raise InputError(
            f"the page is larger than {size(most_bytes)} without its pictures", "report its documents one by one"
        )
    return re.sub(
        r'<img src="data:image/png;base64,[^"]*"[^>]*>',
        lambda found: _LEFT_OUT if found[0] in dropped else found[0],
        html,
    )


def render_page(results: Results, data: StudyData) -> str:
    """Return the HTML of a page."""
    return page_template("page.html").render(
        data=data,
        version=__version__,
        state=_state(data),
        summary=words.summary_sentences(data),
        to_come=words.still_to_come(data),
        notice=words.notice(data),
        tiles=words.key_numbers(data),
        sections=_sections(data),
        structures=_structures(data),
        labels=_labels(data),
        fit=_fit(data),
        cycles=[_cycle(results, each) for each in data.cycles],
        runs=_runs(results, data),
        anchor=SECTIONS.get(data.study.kind, ("results",))[0] if data.study is not None else "",
        parts=study_parts(data.study, results) if data.study is not None else [],
        provenance=_provenance(data, __version__),
        attempts=_attempts(data),
        palette=palette,
        words=words,
    )


def page_template(name: str) -> Any:
    """Return an HTML template of this folder."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def read(part: str) -> str:
        return (resources.files("gst_jobflow.report.pages") / part).read_text("utf-8")

    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(read)
    ).get_template(name)


def _sections(data: StudyData) -> list[tuple[str, str]]:
    """Return anchor and name of the sections of a page of this kind."""
    # data and parity of an evaluated potential belong to its fit
    own, _ = SECTIONS.get(data.study.kind if data.study else "", ("", None))
    shown = [*([own] if own else []), *_SHOWN.get(own or data.kind, "provenance").split()]
    named = {"fit": "Potential", "cycle": "Device cycle"}
    return [(anchor, named.get(anchor, anchor.capitalize())) for anchor in shown]


def _state(data: StudyData) -> str:
    if data.study is not None:
        return data.study.state
    if data.kind == "cycle":
        return data.cycles[0].cycle.state
    if data.kind == "trajectory":
        return data.runs[0].state
    return "finished"


def _structures(data: StudyData) -> dict[str, Any] | None:
    rows = data.structures
    if not len(rows):
        return None
    types, atoms = np.array(rows.config_type), np.array(rows.n_atoms)
    distance, density = np.array(rows.min_distance_A, dtype=float), np.array(rows.density_g_cm3, dtype=float)
    body = []
    for name in ordered_types(rows.config_type):
        chosen = types == name
        extents = words.extent(distance[chosen], 2), words.extent(density[chosen], 2)
        n_atoms = words.extent(atoms[chosen], 0), f"{int(atoms[chosen].sum()):,}"
        body.append([name, f"{int(chosen.sum()):,}", *n_atoms, *extents])
    columns = ["config type", "structures", "atoms each", "atoms in all", "closest contact (Å)", "density (g/cm³)"]
    # device cells are results, not training data: figures leave them out
    rows = data.training
    contacts = "Closest contact in each structure, periodic images included."
    drawn = page_figures(
        (study_figures.compositions(rows), "Structures by composition.", "Bar chart of structures by composition"),
        (study_figures.minimum_distances(rows), contacts, "Histogram of minimum distances"),
        (study_figures.densities(rows), "Mass density of each structure.", "Histogram of densities"),
    )
    return {"table": Table(columns, body, frozenset(range(1, 6)), dots=palette.CONFIG_TYPES), "figures": drawn}


def _labels(data: StudyData) -> dict[str, Any] | None:
    rows = data.labels
    if not len(rows):
        return None
    states = ("converged", "failed", "quarantined", "excluded")
    counts = Counter(zip(rows.config_type, rows.state, strict=True))
    body = [[name, *(f"{counts[name, state]:,}" for state in states)] for name in ordered_types(rows.config_type)]
    methods = [[words.method_name(method), fingerprint] for fingerprint, method in sorted(rows.methods.items())]
    reasons = [[f"{count:,}", failure, reason] for (failure, reason), count in rows.reasons.most_common(_REASONS_SHOWN)]
    energies = study_figures.label_energies(rows, data.dataset.reference_energies_eV if data.dataset else {})
    return {
        "table": Table(["config type", *states], body, frozenset({1, 2, 3, 4}), dots=palette.CONFIG_TYPES),
        "methods": Table(["method", "fingerprint"], methods),
        "reasons": Table(["labels", "class", "reason"], reasons, frozenset({0})) if reasons else None,
        "figures": page_figures((energies, "Training data: one point a converged label.", "Scatter of labels")),
        "wall": words.duration(float(np.nansum(rows.wall_s))),
    }


def _fit(data: StudyData) -> dict[str, Any] | None:
    potential = data.potential
    if potential is None:
        return None
    symbols = "open symbols: train, filled: test."
    energies = f"Energy per atom less the atoms' reference energies; {symbols}"
    drawn = page_figures(
        (study_figures.energy_parity(data.parity), energies, "Parity plot of energies"),
        (study_figures.force_parity(data.parity), f"Force components; {symbols}", "Parity plot of forces"),
    )
    return {
        "facts": _facts(data),
        "rmse": errors_table(potential),
        "figures": drawn,
        "potential": potential,
        "others": _others(data),
    }


def _facts(data: StudyData) -> list[tuple[str, str]]:
    potential, dataset = data.potential, data.dataset
    assert potential is not None  # checked by _fit
    facts = [
        ("Elements", ", ".join(potential.elements)),
        ("Densities P", _densities(potential)),
        ("Functions", _functions(potential)),
        ("Parameters", words.number(potential.n_parameters)),
        ("Cutoff", f"{potential.cutoff_A:g} Å"),
    ]
    if dataset is not None:
        counts = ", ".join(f"{count:,} {split}" for split, count in dataset.counts.items())
        facts.append(("Dataset", f"{dataset.name}: {counts}"))
        energies = ", ".join(
            f"{element} {energy:.3f}".replace("-", "−") for element, energy in dataset.reference_energies_eV.items()
        )
        facts.append(("Reference energies", f"{energies} eV ({dataset.reference_energies_source})"))
    if potential.active_set is not None:
        facts.append(("Extrapolation grade", _grades(potential.active_set)))
    if potential.cost is not None:
        facts.append(
            ("Fit took", f"{words.duration(potential.cost.wall_s)} on {counted(potential.cost.cores, 'core')}")
        )
    return facts


def _densities(potential: Potential) -> str:
    """Return the number of densities, with their exponents if known."""
    pairs = potential.config.get("embedding", {}).get("fs_parameters") or []
    exponents = ", ".join(f"{exponent:g}" for exponent in pairs[1::2])
    return f"{potential.n_densities}, exponents {exponents}" if exponents else words.number(potential.n_densities)


def _functions(potential: Potential) -> str:
    """Return the number of functions, and the requested number if that is larger."""
    per_element = potential.config.get("functions", {}).get("number_of_functions_per_element", 0)
    asked = per_element * len(potential.elements)
    if asked <= potential.n_functions:
        return words.number(potential.n_functions)
    return f"{potential.n_functions:,} of {asked:,} requested; some groups of elements have fewer than their share"


def _grades(active_set: ActiveSet) -> str:
    chosen = "all atoms" if active_set.atoms == "all" else "the well fitted atoms"
    return (
        f"active set of {chosen} of the training set, on which gamma is at most {active_set.max_gamma:.3g} "
        f"({100 * active_set.share_above_1:.2g} % of its {active_set.n_atoms:,} atoms above 1)"
    )


def errors_table(potential: Potential) -> Table | None:
    """Tabulate RMSE of energy and forces on train and test, by config_type and overall (last row)."""
    splits = [split for split in ("train", "test") if split in potential.rmse]
    if not splits:
        return None
    by_type = {split: potential.rmse_by_config_type.get(split, {}) for split in splits}
    rows = []
    for name in ordered_types([name for each in by_type.values() for name in each]):
        cells = [_error_cells(by_type[split].get(name)) for split in splits]
        rows.append([name, *chain.from_iterable(cells)])
    cells = []
    for split in splits:
        number = sum(errors.n_structures for errors in by_type[split].values())
        cells.append([f"{number:,}" if number else "–", *_error_cells(potential.rmse[split])[1:]])
    rows.append(["all", *chain.from_iterable(cells)])
    columns = ["config type", *len(splits) * ["structures", "energy (meV/atom)", "forces (meV/Å)"]]
    groups = (("", 1), *((split, 3) for split in splits))
    return Table(columns, rows, frozenset(range(1, len(columns))), groups, palette.CONFIG_TYPES)


def _error_cells(errors: Rmse | None) -> list[str]:
    if errors is None:
        return ["–"] * 3
    number = f"{errors.n_structures:,}" if isinstance(errors, RmseOfType) else ""
    return [number, f"{errors.energy_meV_per_atom:.2f}", f"{errors.force_meV_per_A:.1f}"]


def _others(data: StudyData) -> Table | None:
    """Tabulate the potentials of a study with several."""
    if len(data.potentials) < 2:
        return None
    rows = []
    for each in data.potentials:
        errors = _error_cells(each.rmse.get("test"))[1:]
        rows.append([each.name, words.number(each.n_densities), f"{each.n_functions:,}", *errors, each.id])
    columns = ["potential", "P", "functions", "test energy (meV/atom)", "test forces (meV/Å)", "id"]
    return Table(columns, rows, frozenset({1, 2, 3, 4}))


def _cycle(results: Results, data: CycleData) -> dict[str, Any]:
    snapshots = cycle_snapshots(results, data)
    methods = {str(run.analysis.get("crystalline", {}).get("method", "")) for _, run in data.steps} - {""}
    return {
        "cycle": data.cycle,
        "operations": operations_table(data),
        "overview": page_figures((cycle_figures.cycle_overview(data), *_OVERVIEW), wide=True),
        "maps": page_figures(
            (cycle_figures.temperature_map(data), "Temperature along z over the cycle.", "Heat map of temperature"),
            (cycle_figures.crystalline_map(data), "Crystal-like fraction along z over the cycle.", "Heat map of order"),
            wide=True,
        ),
        "domes": page_figures((cycle_figures.order_maps(snapshots.maps, data), *_DOMES), wide=True),
        "lines": _pulse_figures(data),
        "snapshots": snapshots,
        "pictures": [(picture.title, data_uri(picture.png)) for picture in snapshots.pictures],
        "ordered": [(picture.title, data_uri(picture.png)) for picture in snapshots.ordered],
        "legend": [(symbol, palette.element(symbol)) for symbol in snapshots.elements],
        "methods": sorted(methods),
        "profiles": [
            f"{name}: {each.profile}"
            for name, each in zip(data.names, data.cycle.operations, strict=True)
            if each.profile
        ],
        "kinds": [operation.kind for operation in data.cycle.operations],
        "formula": words.formula(data.cycle.formula),
        "analysis": analysis_section(results, data.steps, data.cycle.groups),
    }


_OVERVIEW = (
    "The whole cycle, a column an operation, each with its own scale of time. Pulses show requested and logged energy.",
    "Potential energy, temperature and crystal-like fraction against time",
)
_DOMES = (
    "Crystal-like fraction of the mobile atoms over the whole depth; grey: fixed barrier; dashed: heated by the last "
    "pulse.",
    "Maps of order in x and z",
)
_ENERGIES = "Cumulative kinetic energy added (and removed while cooling), from the log of every kick."
_DOME_SIZES = "Size of the largest disordered patch, seen along y, while a dome is heated and cools; dotted: heated."


def _pulse_figures(data: CycleData) -> list[Figure]:
    lines = "temperature along z during heating; dashed: at the end."
    return page_figures(
        *(
            (cycle_figures.temperature_lines(name, run), f"{name}: {lines}", f"Profiles of {name}")
            for name, run in data.steps
            if run.kicks or run.protocol == "RESET"
        ),
        (cycle_figures.pulse_energies(data), _ENERGIES, "Cumulative logged energy of the pulses"),
        (cycle_figures.dome_sizes(data), _DOME_SIZES, "Size of the disordered dome against time"),
    )


def operations_table(data: CycleData) -> Table:
    """Tabulate what each operation of a cycle did to the cell."""
    rows = []
    for name, operation in zip(data.names, data.cycle.operations, strict=True):
        asked, added, logged = operation.asked_energy_eV, operation.added_energy_eV, operation.added_energy
        difference = 100 * (added - asked) / asked if asked > 0 and added is not None else None
        values = {
            "time (ps)": words.number(operation.duration_ps),
            "asked (eV)": words.number(asked or None, 6),
            "logged (eV)": words.number(added if asked else None, 6),
            "eV/atom": words.number(logged.eV_per_atom if logged else None, 4),
            "pJ": "–" if logged is None else f"{logged.pJ:.4g}",
            "difference (%)": words.shown(difference, "+.4f"),
            "T max (K)": words.number(operation.max_equilibrated_K),
            "instant": words.number(operation.max_temperature_K),
            "T end (K)": words.number(operation.end_equilibrated_K),
            "last instant": words.number(operation.final_temperature_K),
            "max γ": words.number(operation.max_gamma, 3),
            "crystal-like": words.shown(operation.crystalline_fraction, ".3f"),
        }
        rows.append({"operation": name, "state": operation.state, **values})
    columns = list(rows[0]) if rows else []
    return Table(columns, [list(row.values()) for row in rows], frozenset(range(2, len(columns))))


def _runs(results: Results, data: StudyData) -> dict[str, Any] | None:
    """Runs that are not part of a cycle: anneals, melts, robustness runs; or the one run of a page."""
    runs = data.runs
    if not runs:
        return None
    rows = []
    for run in runs:
        numbers = [words.number(run.max_temperature_K), words.number(run.max_gamma, 3)]
        time = words.number(run.duration_ps)
        rows.append([run.name, run.protocol, run.formula, f"{run.n_atoms:,}", time, run.state, *numbers])
    columns = ["run", "protocol", "formula", "atoms", "time (ps)", "state", "T max (K)", "max γ"]
    drawn = page_figures(
        *(
            (cycle_figures.run_overview(run), f"{run.name} ({run.protocol}).", f"Time series of {run.name}")
            for run in runs[:_RUNS_DRAWN]
        )
    )
    steps = [(run.name, run) for run in runs]
    groups = results.get(Cycle, runs[0].cycle_id).groups if data.kind == "trajectory" and runs[0].cycle_id else None
    table = Table(columns, rows, frozenset({3, 4, 6, 7}))
    return {"table": table, "figures": drawn, "analysis": analysis_section(results, steps, groups)}


def _provenance(data: StudyData, version: str) -> dict[str, Any]:
    return {
        "ids": _ids(data),
        "seeds": _seeds(data),
        "versions": _versions(data, version),
        "cost": _costs(data),
        "files": _files(data),
        "plan": [(path, words.number(each, 6)) for path, each in flattened(data.study.plan)] if data.study else [],
    }


def _all_runs(data: StudyData) -> list[tuple[str, Trajectory]]:
    """Return all runs with unique names: two RESETs of one cycle have the same name in the database."""
    return [*((run.name, run) for run in data.runs), *(step for each in data.cycles for step in each.steps)]


def _ids(data: StudyData) -> Table:
    rows = [[data.kind, data.name, data.id]] if data.study is not None else []
    if data.dataset is not None:
        rows.append(["dataset", data.dataset.name, data.dataset.id])
    rows += [["potential", each.name, each.id] for each in data.potentials]
    rows += [["cycle", each.cycle.name, each.cycle.id] for each in data.cycles]
    rows += [["trajectory", name, run.id] for name, run in _all_runs(data)]
    return Table(["what", "name", "id"], rows)


def _seeds(data: StudyData) -> Table:
    rows = []
    if data.dataset is not None and "seed" in data.dataset.split:
        rows.append(["train and test split", str(data.dataset.split["seed"])])
    rows += [[f"fit of {each.name}", str(each.seed)] for each in data.potentials if each.seed is not None]
    rows += [[f"cycle {each.cycle.name}", str(each.cycle.seed)] for each in data.cycles]
    rows += [[f"velocities of {name}", str(run.seed)] for name, run in _all_runs(data)]
    return Table(["seed of", "value"], rows, frozenset({1}))


def _versions(data: StudyData, version: str) -> Table:
    """Tabulate programs with all their versions."""
    found: dict[str, dict[str, None]] = {"gst_jobflow (this page)": {version: None}}
    made = [*(each.versions for each in data.potentials), *(run.versions for _, run in _all_runs(data))]
    for versions in made:
        for program, number in versions.items():
            found.setdefault(program, {})[number] = None
    for method in data.labels.methods.values():
        if method.get("version"):
            found.setdefault(str(method.get("code")), {})[str(method["version"])] = None
    return Table(["program", "version"], [[program, ", ".join(numbers)] for program, numbers in found.items()])


def _costs(data: StudyData) -> Table:
    """Tabulate wall time and core hours of each step, and the speed of dynamics."""
    rows = []
    if len(data.labels):
        wall = words.duration(float(np.nansum(data.labels.wall_s)))
        rows.append([counted(len(data.labels), "label"), wall, "–", ""])
    for each in data.potentials:
        if each.cost is not None:
            rows.append([f"fit of {each.name}", words.duration(each.cost.wall_s), f"{each.cost.core_hours:.3g}", ""])
    for name, run in _all_runs(data):
        if run.cost is not None:
            speed = f"{run.us_per_atom_step:.3g} µs per atom and step" if run.us_per_atom_step else ""
            rows.append([name, words.duration(run.cost.wall_s), f"{run.cost.core_hours:.3g}", speed])
    return Table(["step", "wall time", "core hours", "speed"], rows, frozenset({1, 2}))


def _files(data: StudyData) -> Table:
    def rows(owner: str, refs: Iterable[ArtifactRef | None]) -> list[list[str]]:
        return [[owner, ref.name, size(ref.size_bytes), ref.sha256] for ref in refs if ref is not None]

    found: list[list[str]] = []
    for each in data.potentials:
        artifacts = each.artifacts
        found += rows(each.name, [artifacts.yaml, artifacts.yace, artifacts.asi, *artifacts.other, *each.files])
    for name, run in _all_runs(data):
        found += rows(name, run.files)
    return Table(["of", "file", "size", "SHA-256"], found, frozenset({2}))


def _attempts(data: StudyData) -> dict[str, Any] | None:
    attempts = data.attempts
    if not attempts.total:
        return None
    by_job = [
        [name, f"{int(job['attempts']):,}", f"{int(job['reruns']):,}", words.duration(job["seconds"])]
        for name, job in sorted(attempts.by_job.items(), key=lambda item: -item[1]["seconds"])
    ]
    rows = []
    for each in attempts.rows:
        what = ": ".join(part for part in (each.get("failure_class"), each.get("reason")) if part)
        host = " ".join(str(part) for part in (each["host"], each.get("slurm_job_id")) if part)
        took = words.duration(each["seconds"])
        rows.append(
            [words.moment(each["started_at"]), each["job_name"], str(each["number"]), each["state"], took, host, what]
        )
    return {
        "by_job": Table(["job", "attempts", "reruns", "time"], by_job, frozenset({1, 2, 3})),
        "rows": Table(["started (UTC)", "job", "attempt", "state", "took", "host", "reason"], rows, frozenset({2, 4})),
        "hidden": attempts.total - len(rows),
        "states": ", ".join(f"{count:,} {state}" for state, count in attempts.states.most_common()),
        "total": attempts.total,
    }
