"""Write the sentences and numbers of a report: summary, key numbers, notices."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Any

import numpy as np

from gst_jobflow.base.words import counted, number
from gst_jobflow.report.collect import CycleData, StudyData

# first-principles codes; all others are stand-ins
FIRST_PRINCIPLES = {"vasp": "VASP", "cp2k": "CP2K"}
_SEMI_EMPIRICAL = {"tblite", "xtb", "dftb+"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
# VASP's short names
_FUNCTIONALS = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "R2SCAN": "r2SCAN", "CA": "LDA"}
_COMPARISONS = ("ablation", "evaluation", "robustness", "scaling", "validation")
_NAMES_SHOWN = 4


def method_name(method: dict[str, Any]) -> str:
    """Return the common name of a method: functional, program and version."""
    code = str(method.get("code", "")).lower()
    parameters = method.get("parameters") or {}
    if code == "imported":
        return str((method.get("parameters") or {}).get("name") or "imported")
    name = FIRST_PRINCIPLES.get(code) or code or "unknown method"
    program = " ".join(part for part in (name, str(method.get("version") or "")) if part)
    parameters = {**parameters, **(parameters.get("incar") or {})}
    level = next(
        (str(parameters[key]) for key in ("functional", "xc", "method", "METAGGA", "GGA") if parameters.get(key)), ""
    )
    level = _FUNCTIONALS.get(level, level)
    return f"{level} ({program})" if level else program


def formula(text: str) -> str:
    """Return `Ge2Sb2Te5` as Ge₂Sb₂Te₅."""
    return text.translate(_SUBSCRIPTS)


def notice(data: StudyData) -> tuple[str, str] | None:
    """Return title and text of a warning if labels are not from first principles."""
    return notice_of(list(data.labels.methods.values()))


def notice_of(methods: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Return title and text of a warning if a method is not from first principles."""
    stand_ins = [m for m in methods if str(m.get("code", "")).lower() not in FIRST_PRINCIPLES]
    if not stand_ins:
        return None
    names = ", ".join(sorted({method_name(method) for method in stand_ins}))
    if not any(map(_is_stand_in, stand_ins)):
        return (
            "Labels from elsewhere",
            f"The labels were imported: {names}. This project does not know how they were computed, so what follows "
            "from them is worth what their source says.",
        )
    kind = (
        "semi-empirical"
        if all(str(m.get("code", "")).lower() in _SEMI_EMPIRICAL for m in stand_ins)
        else "not from first principles"
    )
    return (
        "Plumbing, not physics",
        f"The labels are {kind}: they come from {names}, which is fast and shows that every step works. Energies, "
        "melting and crystallisation temperatures and everything else say nothing about the real material. Label with "
        "VASP or CP2K for that.",
    )


def _is_stand_in(method: dict[str, Any]) -> bool:
    """Return whether a method is a model that stands in for first principles, not one that is unknown here."""
    code, parameters = str(method.get("code", "")).lower(), method.get("parameters") or {}
    return code in _SEMI_EMPIRICAL or "calculator" in parameters


def summary_sentences(data: StudyData) -> str:
    """Summarise in a few sentences what was made from what."""
    own = {"robustness": _robustness_sentence, "validation": _validation_sentence, "scaling": _scaling_sentence}
    if data.study is not None and data.study.kind in own:
        return own[data.study.kind](data.study.table)
    sentences = []
    if len(data.training):
        sentences.append(_structures_sentence(data))
    if len(data.labels):
        sentences.append(_labels_sentence(data))
    if data.study is not None and data.study.kind == "ablation":
        sentences.append(_ablation_sentence(data.study.table))
    elif data.potential is not None:
        sentences.append(_potential_sentence(data))
    sentences += [_cycle_sentence(each) for each in data.cycles]
    return " ".join(sentences) or "Nothing has been computed yet."


def still_to_come(data: StudyData) -> str:
    """Name the jobs that an unfinished study waits for; empty if there are none."""
    # chunks of one step are numbered
    jobs = Counter(re.sub(r" \d+$", "", name) for name in data.to_come)
    named = ", ".join(name if number == 1 else f"{name} ({number} jobs)" for name, number in jobs.items())
    return f"Still to come: {named}." if named else ""


def _ablation_sentence(table: list[dict[str, Any]]) -> str:
    told = []
    for key, unit in (("test_energy_meV_per_atom", "meV/atom"), ("test_force_meV_per_A", "meV/Å")):
        if errors := [row[key] for row in table if row.get(key) is not None]:
            told.append(f"{number(min(errors), 3)} to {number(max(errors), 3)} {unit}")
    return f"{counted(len(table), 'fit')} compared; test RMSE {' and '.join(told) or 'unknown'}."


def _robustness_sentence(table: list[dict[str, Any]]) -> str:
    totals = [row for row in table if row["composition"] == "all"]
    survived = ", ".join(f"{row['potential']} {row['successes']} of {row['runs']}" for row in totals)
    return f"Hot melts that each potential survived: {survived}."


def _validation_sentence(table: list[dict[str, Any]]) -> str:
    told = [row for row in table if not row["curve"] and row["error"]]
    number, agree = Counter(row["potential"] for row in told), Counter[str]()
    for row in told:
        agree[row["potential"]] += abs(row["difference"]) <= 2 * row["error"]
    shares = ", ".join(f"{potential} {agree[potential]} of {number[potential]}" for potential in number)
    return f"Numbers within two standard errors of first-principles dynamics: {shares or 'errors are unknown'}."


def _scaling_sentence(table: list[dict[str, Any]]) -> str:
    fastest: dict[str, dict[str, Any]] = {}
    for row in table:
        if row["state"] == "measured":
            best = min(fastest.get(row["potential"], row), row, key=lambda each: each["core_us_per_atom_step"])
            fastest[row["potential"]] = best
    told = ", ".join(f"{name} {row['core_us_per_atom_step']:.3g} µs" for name, row in fastest.items())
    return f"Lowest core time of an atom and step: {told or 'nothing was measured'}."


def _structures_sentence(data: StudyData) -> str:
    formulas = [formula(name) for name, _ in Counter(data.training.formula).most_common()]
    named = ", ".join(formulas[:_NAMES_SHOWN])
    if len(formulas) > _NAMES_SHOWN:
        named = f"{len(formulas)} compositions ({named}, …)"
    atoms = data.training.n_atoms
    extent = f"{min(atoms):,} atoms each" if min(atoms) == max(atoms) else f"{min(atoms):,} to {max(atoms):,} atoms"
    return f"{counted(len(atoms), 'structure')} of {named} with {extent}."


def _labels_sentence(data: StudyData) -> str:
    states = Counter(data.labels.state)
    methods = ", ".join(sorted({method_name(method) for method in data.labels.methods.values()}))
    good, bad = states["converged"], len(data.labels) - states["converged"]
    left_out = f"; {counted(bad, 'label')} failed or {'was' if bad == 1 else 'were'} quarantined" if bad else ""
    return f"{methods} gave energies and forces for {good:,} of them{left_out}."


def _potential_sentence(data: StudyData) -> str:
    potential = data.potential
    assert potential is not None  # checked by the caller
    kind = "An ACE" if potential.kind == "ace" else f"A {potential.kind.upper()}"
    densities = f"P = {potential.n_densities}, " if potential.n_densities else ""
    text = (
        f"{kind} potential of {counted(potential.n_functions, 'function')} "
        f"({densities}cutoff {potential.cutoff_A:g} Å) was fitted"
    )
    if data.dataset is not None:
        text += f" to {data.dataset.counts.get('train', 0):,} of them"
    test = potential.rmse.get("test")
    if test is not None:
        energy, force = number(test.energy_meV_per_atom, 3), number(test.force_meV_per_A, 3)
        text += f"; test RMSE {energy} meV/atom and {force} meV/Å"
    return text + "."


def _cycle_sentence(data: CycleData) -> str:
    cycle = data.cycle
    kinds = " → ".join(operation.kind for operation in cycle.operations)
    done = sum(operation.state in ("finished", "skipped") for operation in cycle.operations)
    how = (
        "completed"
        if done == len(cycle.operations)
        else f"is {cycle.state}: {done} of {len(cycle.operations)} operations of"
    )
    fractions = [each.crystalline_fraction for each in cycle.operations if each.crystalline_fraction is not None]
    listed = " → ".join(f"{each:.2f}" for each in fractions)
    after = f"; crystal-like fraction (as defined with the cycle) after each: {listed}" if listed else ""
    return f"A {cycle.device} cell of {cycle.n_atoms:,} atoms ({formula(cycle.formula)}) {how} {kinds}{after}."


def key_numbers(data: StudyData) -> list[tuple[str, str, str]]:
    """Return key numbers as value, unit and description."""
    tiles: list[tuple[str, str, str]] = []
    if len(data.training):
        tiles.append((f"{len(data.training):,}", "", "structures"))
    if len(data.labels):
        good = Counter(data.labels.state)["converged"]
        tiles.append((f"{good:,}", f"of {len(data.labels):,}", "labels converged"))
    test = data.potential.rmse.get("test") if data.potential and not _compares_several(data) else None
    if test is not None:
        tiles.append((number(test.energy_meV_per_atom, 3), "meV/atom", "energy RMSE, test"))
        tiles.append((number(test.force_meV_per_A, 3), "meV/Å", "force RMSE, test"))
    for each in data.cycles[-1:]:
        tiles += _cycle_tiles(each)
    return tiles


def _compares_several(data: StudyData) -> bool:
    """Return whether a page is of several potentials, none of which is the study's own."""
    if data.study is None or data.study.kind not in _COMPARISONS:
        return False
    return sum(member.collection == "potentials" for member in data.study.members) > 1


def _cycle_tiles(data: CycleData) -> list[tuple[str, str, str]]:
    tiles = []
    for key, what in (("max_equilibrated_K", "highest temperature"), ("max_temperature_K", "highest instant")):
        hottest = [value for each in data.cycle.operations if (value := getattr(each, key)) is not None]
        if hottest:
            tiles.append((f"{max(hottest):,.0f}", "K", what))
            break
    worst = worst_pulse(data)
    if worst is not None:
        tiles.append((f"{worst:.2g}", "%", "pulse energy, logged − asked"))
    return tiles


def worst_pulse(data: CycleData) -> float | None:
    """Return the largest difference between logged and requested energy of the pulses, %."""
    differences = [
        100 * abs(each.added_energy_eV - each.asked_energy_eV) / each.asked_energy_eV
        for each in data.cycle.operations
        if each.asked_energy_eV > 0 and each.added_energy_eV is not None
    ]
    return max(differences, default=None)


def duration(seconds: float | None) -> str:
    """Format a duration."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 6000:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"


def shown(value: float | None, form: str) -> str:
    """Format a number by a format specification; a dash for None."""
    return "–" if value is None else format(value, form)


def extent(values: np.ndarray, digits: int) -> str:
    """Return smallest and largest of the finite values (n,); a dash without any."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "–"
    low, high = (f"{value:,.{digits}f}".replace("-", "−") for value in (finite.min(), finite.max()))
    return low if low == high else f"{low} to {high}"


def moment(time: datetime | None) -> str:
    """Format a UTC time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S") if time else "–"


def file_name(name: str, id: str) -> str:
    """Return a file name from the letters, digits, dots and dashes of `name`, else from the id."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[:80] or re.sub(r"[^A-Za-z0-9-]+", "-", id)
