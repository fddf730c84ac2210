"""The report on labels: numbers against what was put in, and a page that stands alone."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from typer.testing import CliRunner

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Label, pack
from gst_jobflow.report import label_data
from gst_jobflow.report.label_data import FORCE_EDGES_eV_A, collect_labels, quantile_eV_A
from gst_jobflow.report.pages.labels import build_label_page
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.composition import reduced_formula

from .synthetic import random_atoms

pytestmark = pytest.mark.mongo
command = importlib.import_module("gst_jobflow.cli.label")
VASP, CP2K, TBLITE = "vasp:aaaa", "cp2k:bbbb", "tblite:cccc"
METHODS = {
    VASP: {"code": "vasp", "version": "", "parameters": {"incar": {"GGA": "PE"}}},
    CP2K: {"code": "cp2k", "version": "2023.1", "parameters": {"functional": "PBE"}},
    TBLITE: {"code": "tblite", "version": "0.8", "parameters": {"method": "GFN1-xTB"}},
}
# energies of the atoms that each method counts from, eV
ZEROS = {VASP: (-4.0, -3.5, -3.0), CP2K: (-105.0, -150.0, -220.0), TBLITE: (-41.0, -64.0, -100.0)}
FORMULAS = ("Ge2Sb2Te5", "Ge1Sb2Te4", "Sb2Te3")


def label_of(
    atoms: Atoms, id: str, fingerprint: str, config_type: str, shift_eV: float, noise: Any, **of: Any
) -> Label:
    counts = [atoms.get_chemical_symbols().count(symbol) for symbol in ("Ge", "Sb", "Te")]
    forces = np.random.default_rng(int(id[:8], 16)).normal(0, 0.5, (len(atoms), 3)) + noise
    energy = float(np.dot(counts, ZEROS[fingerprint])) + len(atoms) * shift_eV
    values = {
        "state": "converged",
        "energy_eV": energy,
        "energy_per_atom_eV": energy / len(atoms),
        "forces": pack(forces),
        "max_force_eV_A": float(np.linalg.norm(forces, axis=1).max()),
        **of,
    }
    if values["state"] != "converged":
        values |= dict.fromkeys(("energy_eV", "energy_per_atom_eV", "forces", "max_force_eV_A"))
    return Label(
        _id=Label.id_for(id, fingerprint),
        structure_id=id,
        fingerprint=fingerprint,
        method=METHODS[fingerprint],
        formula=reduced_formula(dict(zip(("Ge", "Sb", "Te"), counts, strict=True))),
        config_type=config_type,
        n_atoms=len(atoms),
        wall_s=0.01 * len(atoms) ** 1.5,
        **values,
    )


@pytest.fixture
def results(project: Any) -> Results:
    """60 structures by VASP, of them 45 by CP2K with forces 0.1 eV/Å away, 50 by tblite; one outlier, one twin."""
    results = Results.open(project)
    random = np.random.default_rng(1)
    for index in range(60):
        atoms = random_atoms(FORMULAS[index % 3], 1 + index % 4, random)
        kind = "crystal" if index % 2 else "hard_sphere"
        document = structure_document(atoms, kind, tags=["even"] if index % 2 == 0 else [])
        results.add(document)
        base = float(random.normal(0, 0.05)) + (5.0 if index == 7 else 0.0)
        results.add(label_of(atoms, document.id, VASP, kind, base, 0.0))
        if index < 45:
            results.add(label_of(atoms, document.id, CP2K, kind, base + (-1) ** index * 0.002, 0.1))
        if index < 50:
            state = {"state": "failed", "failure_class": "not_converged", "reason": "SCF <b>"} if index % 5 == 0 else {}
            results.add(label_of(atoms, document.id, TBLITE, kind, base, 0.0, **state))
        if index == 3:
            turned = atoms[::-1]
            turned.translate([1.0, 2.0, 0.5])
            turned.wrap()
            twin = structure_document(turned, kind)
            results.add(twin)
            results.add(label_of(turned, twin.id, VASP, kind, base + 0.01, 0.0))
    return results


def test_methods_are_compared_on_what_they_share(results: Results) -> None:
    data = collect_labels(results)
    assert [each.fingerprint for each in data.methods] == [VASP, TBLITE, CP2K]
    by = {each.other: each for each in data.comparisons}
    assert {each.reference for each in data.comparisons} == {VASP}
    errors = by[CP2K].errors
    assert errors.n_structures == 45
    # zeros of energy cancel; 2 meV/atom up and down stay but for what the atoms' energies take up of it
    assert 1.5 < errors.energy_rmse_meV < 2.1
    assert errors.force_rmse_meV_A == pytest.approx(100, abs=1e-6)
    assert errors.force_mae_meV_A == pytest.approx(100, abs=1e-6)
    sizes = by[CP2K].by_config_type
    assert {name: each.n_structures for name, each in sizes.items()} == {"hard_sphere": 23, "crystal": 22}
    assert sum(each.n_components for each in sizes.values()) == errors.n_components
    assert by[TBLITE].errors.n_structures == 40, "failed ones are not compared"
    assert by[TBLITE].errors.energy_rmse_meV == pytest.approx(0, abs=1e-6)


def test_states_failures_outliers_and_twins_are_counted(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_data, "_FEWEST_ALIKE", 5)
    vasp, tblite, _ = collect_labels(results).methods
    assert (vasp.states, tblite.states) == ({"converged": 61}, {"converged": 40, "failed": 10})
    assert tblite.failures == {("not_converged", "SCF <b>"): 10}
    assert vasp.outliers[0].what == "energy" and vasp.outliers[0].score > 20
    row = np.flatnonzero(vasp.columns.label_ids == vasp.outliers[0].label_id.encode())[0]
    assert vasp.relative_eV[row] == vasp.relative_eV.max()
    (pair,) = vasp.near or []
    assert pair.energy_difference_eV == pytest.approx(0.01)
    assert vasp.cost.exponent == pytest.approx(1.5)
    n_atoms = int(vasp.columns.n_atoms.sum())
    assert sum(int(counts.sum()) for counts in vasp.force_counts.values()) == n_atoms


def test_quantiles_of_forces_are_those_of_all_atoms() -> None:
    sizes = np.random.default_rng(0).lognormal(0, 1, 20_000)
    counts = np.histogram(sizes, FORCE_EDGES_eV_A)[0]
    for share in (0.5, 0.99):
        # bins are 6 % wide
        assert quantile_eV_A(counts, share) == pytest.approx(np.quantile(sizes, share), rel=0.04)
    assert quantile_eV_A(np.zeros(280), 0.5) is None


def test_conditions_and_methods_choose(results: Results) -> None:
    data = collect_labels(results, ["tags=even"], ["vasp", "cp2k"], reference="cp2k")
    assert [each.states["converged"] for each in data.methods] == [30, 23]
    assert [(each.reference, each.other) for each in data.comparisons] == [(CP2K, VASP)]
    calm = collect_labels(results, ["tags=even max_force_eV_A<1.5"], ["vasp", "cp2k"])
    assert calm.methods[0].columns.max_forces_eV_A.max() < 1.5
    assert 0 < len(calm.methods[0].columns) < 30
    with pytest.raises(InputError, match="no method matches 'gpaw'"):
        collect_labels(results, fingerprints=["gpaw"])
    with pytest.raises(InputError, match="no label matches"):
        collect_labels(results, ["tags=nothing"])
    with pytest.raises(InputError, match="choose another --reference"):
        collect_labels(results, [], ["vasp", "cp2k"], reference="tblite")


def test_forces_are_held_in_batches_only(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_data, "_BATCH", 7)
    asked: list[int] = []
    plain = label_data.unpack

    def counted(packed: bytes, columns: int) -> np.ndarray:
        asked.append(len(packed))
        return plain(packed, columns)

    monkeypatch.setattr(label_data, "unpack", counted)
    data = collect_labels(results, fingerprints=[VASP, CP2K])
    assert len(asked) == 61 + 45 + 2 * 45
    assert data.comparisons[0].errors.force_rmse_meV_A == pytest.approx(100, abs=1e-6)


def test_the_page_stands_alone_and_names_everything(results: Results, tmp_path: Any) -> None:
    html = build_label_page(collect_labels(results), tmp_path / "labels.html").read_text()
    assert html.count("<img ") == html.count('src="data:image/png;base64,') >= 4 * 3 + 2 * 2 + 2
    for outside in ("http://", "https://", "<script", "<link"):
        assert outside not in html
    for said in ("PBE (VASP)", "PBE (CP2K 2023.1)", "GFN1-xTB (tblite 0.8)", "SCF &lt;b&gt;", "not_converged"):
        assert said in html
    assert "Plumbing, not physics" not in html, "first principles are among them"


def test_failed_labels_alone_make_a_page(project: Any, tmp_path: Any) -> None:
    results = Results.open(project)
    atoms = random_atoms("Sb2Te3", 1, np.random.default_rng(0))
    document = structure_document(atoms, "crystal")
    results.add(document)
    state = {"state": "failed", "failure_class": "crash", "reason": "signal 9"}
    results.add(label_of(atoms, document.id, TBLITE, "crystal", 0.0, 0.0, **state))
    html = build_label_page(collect_labels(results), tmp_path / "labels.html").read_text()
    assert "signal 9" in html and "not there yet" in html and "Plumbing, not physics" in html


@pytest.fixture
def invoke(results: Results, project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    yield lambda *arguments: CliRunner().invoke(command.app, arguments)


def test_the_command_prints_a_table_or_json_and_writes_the_page(invoke: Any, project: Any) -> None:
    told = invoke("report")
    assert told.exit_code == 0, told.output
    assert "PBE (VASP)" in told.stdout and "cp2k:bbbb" in told.stdout and "100.0" in told.stdout
    assert (project.root / "reports" / "labels.html").is_file()
    said = json.loads(invoke("report", "--json").stdout)
    assert said["methods"][1]["failures"] == {"not_converged": 10}
    assert said["comparisons"][0]["reference"] == VASP
    assert said["page"] == str(project.root / "reports" / "labels.html")
