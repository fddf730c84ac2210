"""A map of a dataset: chemiscope's own package would write the same file, and its viewer opens it."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import re
import shutil
import threading
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.base.errors import InputError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import Dataset, Label, Potential, Structure
from gst_jobflow.evaluation.errors import errors_of
from gst_jobflow.evaluation.evaluate import predict_labels
from gst_jobflow.evaluation.labels import of_dataset
from gst_jobflow.exporting import chemiscope as maps
from gst_jobflow.exporting.chemiscope import write_map
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from tests.cli.test_dataset import Gst, gst_dataset  # noqa: F401
from tests.fitting.conftest import tiny_config
from tests.fitting.stored import teacher_dataset
from tests.flows.conftest import results, run  # noqa: F401
from tests.report import synthetic
from tests.report.web.conftest import chromium  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def training(project: Project) -> Iterator[Results]:
    opened = Results.open(project)
    synthetic.add_training(opened, np.random.default_rng(3))
    yield opened
    opened.database.client.close()


def dataset(training: Results) -> Dataset:
    return next(training.find(Dataset, {}))


def made(training: Results, project: Project, file: Path, **options: Any) -> dict[str, Any]:
    write_map(training, project.settings, dataset(training), file, **options)
    return json.loads(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())


def test_each_label_has_its_structure_and_numbers(training: Results, project: Project, tmp_path: Path) -> None:
    found = made(training, project, tmp_path / "map.json")
    values = {name: each["values"] for name, each in found["properties"].items()}
    members = list(read_members(training.artifacts, dataset(training)))
    assert len(found["structures"]) == dataset(training).n_members
    assert values["member"] == list(range(1, len(members) + 1))
    references = dataset(training).reference_energies_eV
    for place in range(0, len(members), 7):
        label = training.get(Label, members[place]["label_id"])
        atoms = load_atoms(training, label.structure_id)
        shown = found["structures"][place]
        assert shown["names"] == atoms.get_chemical_symbols() and shown["size"] == len(atoms)
        assert np.transpose([shown["x"], shown["y"], shown["z"]]) == pytest.approx(atoms.positions, abs=1e-4)
        assert np.reshape(shown["cell"], (3, 3)) == pytest.approx(atoms.cell.array, abs=1e-4)
        free = sum(references[symbol] for symbol in atoms.symbols)
        assert values["energy"][place] == pytest.approx((label.energy_eV - free) / len(atoms))
        assert values["largest force"][place] == pytest.approx(label.max_force_eV_A)
        assert values["volume"][place] == pytest.approx(atoms.get_volume() / len(atoms))
        assert (values["config type"][place], values["composition"][place]) == (label.config_type, label.formula)
    counts = {split: values["split"].count(split) for split in ("train", "test")}
    assert counts == dataset(training).counts


def test_the_axes_are_principal_components_of_the_mean_spectra(
    training: Results, project: Project, tmp_path: Path
) -> None:
    found = made(training, project, tmp_path / "map.json.gz")["properties"]
    ids = [member["structure_id"] for member in read_members(training.artifacts, dataset(training))]
    options = SoapOptions(species=True)
    spectra = np.array([mean_spectrum(load_atoms(training, id), options, ["Ge", "Sb", "Te"]) for id in ids])
    left, sizes, _ = np.linalg.svd(spectra - spectra.mean(axis=0), full_matrices=False)
    for number in (1, 2, 3):
        shown, own = np.array(found[f"PC {number}"]["values"]), left[:, number - 1] * sizes[number - 1]
        assert np.sign(shown @ own) * shown == pytest.approx(own, abs=1e-5 * sizes[0])
        share = sizes[number - 1] ** 2 / (sizes**2).sum()
        assert f"{share:.1%} of their variance" in found[f"PC {number}"]["description"]


def test_chemiscope_itself_would_write_the_same(training: Results, project: Project, tmp_path: Path) -> None:
    chemiscope = pytest.importorskip("chemiscope")
    found = made(training, project, tmp_path / "map.json.gz")
    frames = [
        Atoms(each["names"], np.transpose([each["x"], each["y"], each["z"]]), cell=np.reshape(each["cell"], (3, 3)))
        for each in found["structures"]
    ]
    theirs = chemiscope.create_input(
        frames, metadata=found["meta"], properties=found["properties"], settings=found["settings"]
    )
    assert theirs == found


def test_chemiscopes_viewer_shows_it_without_a_complaint(
    training: Results,
    project: Project,
    tmp_path: Path,
    chromium: Any,  # noqa: F811
) -> None:
    package = Path(pytest.importorskip("chemiscope").__file__).parent
    found = made(training, project, tmp_path / "map.json")
    shutil.copyfile(package / "static" / "chemiscope-widget.mjs", tmp_path / "viewer.mjs")
    (tmp_path / "page.html").write_text(VIEWER)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shown = chromium(
            f"http://127.0.0.1:{server.server_port}/page.html", tmp_path / "profile", "--virtual-time-budget=20000",
            "--enable-unsafe-swiftshader", "--dump-dom",
        )  # fmt: skip
        server.shutdown()
    said = json.loads(unescape(re.search(r'data-said="([^"]*)"', shown)[1]))
    assert said["errors"] == [] and said["structures"] and said["points"], said
    assert said["names"] == sorted(found["properties"])
    view = said["view"]
    assert [view[axis]["property"] for axis in ("x", "y", "color")] == ["PC 1", "PC 2", "energy"]
    assert view["symbol"] == "config type"


VIEWER = """<!doctype html><meta charset="utf-8"><body><div id="view" style="width:1200px;height:800px"></div>
<script type="module">
const errors = [];
for (const name of ["error", "warn"]) {
  const before = console[name];
  console[name] = (...words) => { errors.push(words.join(" ")); before(...words); };
}
window.addEventListener("error", (event) => errors.push(event.message));
window.addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
const viewer = (await import("./viewer.mjs")).default;
const value = await (await fetch("map.json")).text();
const state = { value, settings: JSON.parse(value).settings, has_metadata: true, warning_timeout: 0, mode: "default",
  selected_ids: {}, active_viewer: 0 };
const model = { get: (key) => state[key], set: (key, to) => { state[key] = to; }, on() {}, off() {}, send() {},
  save_changes() {} };
const el = document.getElementById("view");
viewer.render({ model, el });
// the viewer hides its parts in shadow roots
const found = (root, what) => [...root.querySelectorAll(what),
  ...[...root.querySelectorAll("*")].flatMap((each) => each.shadowRoot ? found(each.shadowRoot, what) : [])];
setInterval(() => {
  const alerts = found(document, ".chemiscope-alert").filter((each) => each.style.display === "block");
  const choices = new Set(found(document, "option").map((each) => each.value));
  document.documentElement.dataset.said = JSON.stringify({
    structures: found(document, "canvas").length > 0,
    points: found(document, ".plotly .points path, .gl-canvas").length > 0,
    errors: [...errors, ...alerts.map((each) => each.innerText.trim())], view: state.settings.map,
    names: Object.keys(JSON.parse(value).properties).filter((name) => choices.has(name)).sort(),
  });
}, 500);
</script>"""


@pytest.mark.pacemaker
def test_errors_of_a_potential_are_those_of_an_evaluation(
    run: Any,  # noqa: F811
    results: Results,  # noqa: F811
    project: Project,
    tmp_path: Path,
) -> None:
    labels = teacher_dataset(results)
    config = tiny_config(n_densities=1, maxiter=1).as_linear()
    fit = run(FitMaker(potential_name="mine", config=config, measure_speed=False).make(labels.id))["fit"]
    potential = results.get(Potential, fit["potential_id"])
    write_map(results, project.settings, labels, tmp_path / "map.json", potential=potential)
    found = json.loads((tmp_path / "map.json").read_bytes())
    chosen = of_dataset(results, labels, "all")
    residuals = predict_labels(results, project.settings, potential, chosen).residuals
    assert found["properties"]["member"]["values"] == list(range(1, len(chosen.label_ids) + 1))
    energies = np.array(found["properties"]["energy error"]["values"])
    assert energies == pytest.approx(1e3 * residuals.energy_eV_per_atom, abs=1e-6)
    for place in (0, len(energies) - 1):
        one = np.arange(len(energies)) == place
        whole = errors_of(residuals, chosen.n_atoms, one)["force_rmse_meV_per_A"]
        assert found["properties"]["force error"]["values"][place] == pytest.approx(whole)
    assert found["settings"]["map"]["color"] == {"property": "force error"}
    more = labels.model_copy(update={"elements": [*labels.elements, "Xe"]})
    with pytest.raises(InputError, match="potential mine has no Xe"):
        write_map(results, project.settings, more, tmp_path / "other.json", potential=potential)


def test_a_large_dataset_is_drawn_from_evenly_and_again_the_same(
    training: Results, project: Project, tmp_path: Path
) -> None:
    few = [made(training, project, tmp_path / f"{n}.json", most=20)["properties"]["member"]["values"] for n in (1, 2)]
    total = dataset(training).n_members
    assert few[0] == few[1] and len(few[0]) == 20
    assert few[0][0] == 1 and set(np.diff(few[0])) == {total // 20, total // 20 + 1}
    test = made(training, project, tmp_path / "test.json", split="test", most=5)["properties"]
    members = list(read_members(training.artifacts, dataset(training)))
    assert [members[line - 1]["split"] for line in test["member"]["values"]] == test["split"]["values"] == ["test"] * 5


def test_rare_compositions_are_other_if_there_are_too_many(
    training: Results, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(training, project, tmp_path / "whole.json")["properties"]["composition"]["values"]
    monkeypatch.setattr(maps, "_MOST_WORDS", 2)
    few = made(training, project, tmp_path / "few.json")["properties"]["composition"]["values"]
    (most,) = set(few) - {"other"}
    assert few.count(most) == whole.count(most) == max(map(whole.count, whole)) and len(set(whole)) == 3


def test_a_molecule_without_a_cell_is_shown_without_one(training: Results, project: Project, tmp_path: Path) -> None:
    id = next(training.find(Label, {"state": "converged"})).structure_id
    training.database["structures"].update_one({"_id": id}, {"$set": {"cell_A": [[0.0] * 3] * 3, "pbc": [False] * 3}})
    shown = made(training, project, tmp_path / "map.json")["structures"]
    assert sum("cell" not in each for each in shown) == 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("map.xyz", {}, "chemiscope opens .json and .json.gz"),
        ("map.json", {"most": 2}, "2 structures make no map"),
        ("there.json", {}, "exists already"),
    ],
)
def test_what_makes_no_map_gets_one_line(
    training: Results, project: Project, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    (tmp_path / "there.json").write_text("mine")
    with pytest.raises(InputError, match=said):
        write_map(training, project.settings, dataset(training), tmp_path / name, **options)
    assert {each.name for each in tmp_path.iterdir()} <= {"there.json", "project"}
    assert (tmp_path / "there.json").read_text() == "mine"


def test_more_atoms_than_a_browser_opens_are_refused_with_a_number_that_fits(
    training: Results, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [structure.n_atoms for structure in training.find(Structure, {})]
    monkeypatch.setattr(maps, "MOST_ATOMS", sum(sizes) // 2)
    with pytest.raises(InputError, match="too many for a browser") as error:
        made(training, project, tmp_path / "map.json")
    number = int(error.value.fix.rpartition(" ")[2])
    found = made(training, project, tmp_path / "map.json", most=number // 2)
    assert len(found["structures"]) == number // 2


def test_the_command_says_what_it_wrote(training: Results, gst_dataset: Gst, tmp_path: Path) -> None:  # noqa: F811
    words = ("map", "synthetic", "-o", str(file := tmp_path / "map.json.gz"))
    total = dataset(training).n_members
    code, out, err = gst_dataset(*words, "--most", "10")
    assert code == 0 and f"{file}: 10 structures of {total}, drawn evenly; --most takes more" in out
    assert "chemiscope.org" in err
    code, _, err = gst_dataset(*words)
    assert code == 1 and "exists already" in err
    told = json.loads(gst_dataset(*words, "--force", "--json")[1])
    assert told == {"structures": total, "of": total, "file": str(file)}
    assert f"{file}: {total} structures\n" in gst_dataset(*words, "--force")[1]
