"""Export a potential as a folder: its files under readable names, and a README."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from gst_jobflow.base.errors import DataError, InputError, MissingProgramError
from gst_jobflow.documents import ArtifactRef, Dataset, Label, Potential
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import yace_elements
from gst_jobflow.dynamics.potential_files import OWN_KINDS, plugin_kind
from gst_jobflow.exporting.markdown import markdown_table
from gst_jobflow.exporting.targets import check_target, move_to_target, part_of
from gst_jobflow.store import Results
from gst_jobflow.store.files.artifacts import sha256_of

README = "README.md"
_MARK = "<!-- gst_jobflow potential -->"


def is_potential_folder(folder: Path) -> bool:
    """Whether `export_potential` wrote a folder."""
    try:
        return (folder / README).read_text(encoding="utf-8").startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        return False


def read_potential(path: Path) -> PotentialFiles:
    """Return the files of a potential, for runs without a database.

    `path` is a folder as `export_potential` writes it, or a ``.yace`` file; ``.yaml`` and ``.asi`` of the same name
    count. Raises InputError if there is no such file, or several.
    """
    path = Path(path)
    found = sorted(path.glob("*.yace")) if path.is_dir() else [path]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"{path} must hold one .yace file: {names}", "give a folder of gst export potential")
    beside = {ending: found[0].with_suffix(f".{ending}") for ending in ("yaml", "asi")}
    return PotentialFiles(
        yace=str(found[0]),
        elements=yace_elements(found[0]),
        **{ending: str(file) for ending, file in beside.items() if file.is_file()},
    )


def export_potential(results: Results, potential: Potential, target: Path, *, force: bool = False) -> list[str]:
    """Write the files of a potential to a folder, completely or not at all; return their names.

    Raises
    ------
    InputError
        The target exists or cannot be written.
    DataError
        A file is missing or corrupt, or its name cannot be used in a folder.
    """
    check_target(target, force, is_potential_folder)
    with part_of(target) as scratch:
        folder = scratch / "potential"
        folder.mkdir()
        names = []
        for name, ref in exported_files(potential):
            if name in names or Path(name).name != name or name == README:
                raise DataError(f"potential {potential.id} has a file of the name '{name}'", "gst show lists its files")
            shutil.copyfile(results.artifacts.path(ref), folder / name)
            if sha256_of(folder / name)[0] != ref.sha256:
                raise DataError(f"file '{name}' ({ref.sha256}) is corrupt; nothing is written", "gst db check --deep")
            names.append(name)
        (folder / README).write_text(potential_readme(results, potential), encoding="utf-8")
        move_to_target(folder, target)
    return [*names, README]


def exported_files(potential: Potential) -> Iterator[tuple[str, ArtifactRef]]:
    """Yield names and files; those that LAMMPS and pacemaker read are named after the potential."""
    stem = _stem(potential)
    for ending in ("yace", "yaml", "asi"):
        ref = getattr(potential.artifacts, ending)
        if ref is not None:
            yield f"{stem}.{ending}", ref
    for ref in (*potential.artifacts.other, *potential.files):
        yield ref.name, ref


def _stem(potential: Potential) -> str:
    # LAMMPS splits words at blanks, and a leading dash would be an option
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", potential.name).lstrip("-.") or "potential"


def potential_readme(results: Results, potential: Potential) -> str:
    """Return the text of README.md: errors, training data and use of the potential."""
    rows = [
        ("id", potential.id),
        ("elements", " ".join(potential.elements)),
        ("cutoff", f"{potential.cutoff_A:g} Å"),
        ("functions", potential.n_functions),
        *([("atomic properties of the embedding", potential.n_densities)] if potential.n_densities else []),
        ("made", f"{potential.created_at:%Y-%m-%d}"),
        *sorted(potential.versions.items()),
    ]
    if potential.parent_id:
        rows.append(("fitted on from potential", potential.parent_id))
    if potential.seed is not None:
        rows.append(("seed", potential.seed))
    parts = [
        f"{_MARK}\n# {potential.name}: a potential ({potential.kind}) for {' '.join(potential.elements)}",
        markdown_table(("", ""), rows),
        _errors(potential),
        _dataset(results, potential),
        _settings(potential),
        _usage(potential) if potential.kind in OWN_KINDS else _usage_of_plugin(results, potential),
        "Licence and citation are not stated here: ask its authors.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _errors(potential: Potential) -> str:
    rows = [
        (split, "all", "", f"{rmse.energy_meV_per_atom:.4g}", f"{rmse.force_meV_per_A:.4g}")
        for split, rmse in sorted(potential.rmse.items())
    ]
    for split, by_type in sorted(potential.rmse_by_config_type.items()):
        for config_type, rmse in sorted(by_type.items()):
            errors = (f"{rmse.energy_meV_per_atom:.4g}", f"{rmse.force_meV_per_A:.4g}")
            rows.append((split, config_type, str(rmse.n_structures), *errors))
    if not rows:
        return "Its errors are not known."
    columns = ("split", "config_type", "structures", "energy, meV/atom", "forces, meV/Å")
    return "## Root-mean-square errors\n\n" + markdown_table(columns, rows)


def _dataset(results: Results, potential: Potential) -> str:
    if potential.dataset_id is None:
        return "## Training data\n\nNot known: the potential was imported."
    dataset = results.get(Dataset, potential.dataset_id)
    label = results.database[Label.collection].find_one({"fingerprint": dataset.fingerprint}, {"method": 1})
    references = ", ".join(f"{element} {energy!r} eV" for element, energy in dataset.reference_energies_eV.items())
    rows = [
        ("dataset", f"{dataset.name} ({dataset.id})"),
        ("structures", ", ".join(f"{count} {split}" for split, count in sorted(dataset.counts.items()))),
        ("atoms", dataset.n_atoms),
        ("method", dataset.fingerprint),
        ("method's code", (label or {}).get("method", {}).get("code", "not known")),
        ("reference energies", references),
        ("source of these", dataset.reference_energies_source),
    ]
    text = f"`gst export dataset {dataset.id}` writes it."
    return "## Training data\n\n" + markdown_table(("", ""), rows) + "\n\n" + text


def _settings(potential: Potential) -> str:
    if not potential.config:
        return ""
    return "## Input of the fit\n\n```yaml\n" + yaml.safe_dump(potential.config, sort_keys=False).rstrip() + "\n```"


def _usage(potential: Potential) -> str:
    stem, elements = _stem(potential), " ".join(potential.elements)
    if potential.kind == "grace/fs":
        return (
            "## Use\n\n"
            "Python, with the package python-ace:\n\n"
            "```python\nfrom pyace.asecalc import PyGRACEFSCalculator\n\n"
            f"atoms.calc = PyGRACEFSCalculator({stem + '.yaml'!r})\n```\n\n"
            "LAMMPS, where it has `pair_style grace/fs`:\n\n"
            f"```\npair_style   grace/fs\npair_coeff   * * {stem}.yaml {elements}\n```"
        )
    lines = [
        "## Use in LAMMPS",
        "With the package ML-PACE; list the elements in the order of the atom types of your data file.",
        "```\nunits        metal\natom_style   atomic\npair_style   pace\n"
        f"pair_coeff   * * {stem}.yace {elements}\n```",
    ]
    if potential.artifacts.asi is not None:
        lines += [
            "With the extrapolation grade gamma of each atom, which tells where the potential extrapolates:",
            f"```\npair_style   pace/extrapolation\npair_coeff   * * {stem}.yaml {stem}.asi {elements}\n"
            "fix          gamma all pair 10 pace/extrapolation gamma 1\n```",
        ]
    return "\n\n".join(lines)


def _usage_of_plugin(results: Results, potential: Potential) -> str:
    """Return the lines of LAMMPS, if the plugin is installed."""
    files = {ref.name: results.artifacts.path(ref) for ref in potential.artifacts.other}
    try:
        lines = plugin_kind(potential.kind).pair_lines(files, potential.elements)
    except MissingProgramError:
        return f"## Use\n\nThe package with gst_jobflow's fit engine {potential.kind} runs it in LAMMPS and in ASE."
    text = "\n".join(["units        metal", "atom_style   atomic", *lines])
    for name, path in files.items():
        text = text.replace(str(path), name)
    return f"## Use in LAMMPS\n\n```\n{text}\n```"
