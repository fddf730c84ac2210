#!/usr/bin/env python3
"""Labels: what orchestration adds to real tblite labels by hand on the same cores; reading a large vasprun.xml.

`--size full` labels 200 random cells of 9 atoms by hand and by one worker after `gst submit label`, each from
the start of its process to its end. Both run in turns of five seconds, while the other is stopped. Then it reads a
vasprun.xml of 1,000 atoms.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from _common import Row, machine, result_on_stdout, seconds, versions
from bench_db import gst, new_project
from by_hand_labels import KEYWORDS
from in_turns import Arm, Used, in_turns

from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import environment
from gst_jobflow.store import Results

if TYPE_CHECKING:
    from ase import Atoms

LABELS = {"small": 16, "full": 200}
PARSED = {"small": 200, "full": 1_000}
PARTS = ("labels", "vasprun")
GOAL_PERCENT, PARSE_S = 3.0, 5.0
TEMPERATURE_K = KEYWORDS["electronic_temperature"]
FORMULA = "Ge2Sb2Te5"


def cells(number: int, n_atoms: int) -> list[Atoms]:
    """Random cells of equal size."""
    from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate

    spec = HardSphereSpec(formula=FORMULA, n_atoms=n_atoms, density_g_cm3=5.5, seed=7)
    return [generate(spec, index) for index in range(number)]


def by_hand(folder: Path, frames: Path, cores: int) -> Arm:
    """The script that does the same without us."""
    script = Path(__file__).with_name("by_hand_labels.py")
    return Arm([sys.executable, script, frames, str(cores), folder / "by_hand.json"], folder)


def by_gst(project: Project) -> Arm:
    """Submit everything; return the worker that labels it."""
    words = ("--backend", "tblite", "--option", f"electronic_temperature_K={TEMPERATURE_K:g}")
    gst(project, "submit", "label", *words)
    program = Path(sys.executable).with_name("rlaunch")
    command = [program, "-c", project.fw_configs_dir, "rapidfire"]
    return Arm(command, project.root, {**os.environ, **environment(project)})


def all_done(project: Project, number: int) -> None:
    """Stop the benchmark where not everything was labelled."""
    database = Results.open(project).database
    done = database["labels"].count_documents({})
    if done != number or database["fireworks"].count_documents({"state": {"$ne": "COMPLETED"}}):
        raise SystemExit(f"{done} of {number} labels: {list(database['attempts'].find({}, {'reason': 1}))[-1:]}")


def processor_s(server: psutil.Process) -> float:
    """Processor time of the database server up to now, s."""
    used = server.cpu_times()
    return used.user + used.system


def same_results(project: Project, folder: Path) -> int:
    """Return how many labels only the script by hand has, since ours were refused as unphysical.

    Where anything else differs the benchmark stops: it would compare different work.
    """
    by_hand = [each["energy"] for each in json.loads((folder / "by_hand.json").read_text()) if "energy" in each]
    labels = Results.open(project).database["labels"]
    ours = np.sort([each["energy_eV"] for each in labels.find({"state": "converged"}, {"energy_eV": 1})])
    theirs = np.sort(by_hand)
    closest = np.clip(np.searchsorted(theirs, ours - 1e-6), 0, len(theirs) - 1)
    refused = labels.count_documents({"state": "failed", "failure_class": "unphysical"})
    same = len(set(closest)) == len(ours) and np.abs(theirs[closest] - ours).max() <= 1e-6
    if not same or len(theirs) - len(ours) != refused:
        raise SystemExit(f"{len(ours)} labels, {refused} refused, and {len(theirs)} by hand do not agree")
    return refused


def label_rows(folder: Path, size: str, n_atoms: int) -> Iterator[Row]:
    """Orchestration against by hand, in turns."""
    from ase.io import write

    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod
    from gst_jobflow.store.atoms import atoms_of, structure_document

    number = LABELS[size]
    cores = len(os.sched_getaffinity(0))
    project = new_project(folder / "project")
    server = LocalMongod(project)
    try:
        mongod = psutil.Process(server.up().pid)
        gst(project, "db", "migrate")
        write_configs(project)
        results = Results.open(project)
        documents = [structure_document(atoms, "hard_sphere") for atoms in cells(number, n_atoms)]
        results.add_many(documents)
        # to the last bit the same atoms
        write(folder / "frames.traj", [atoms_of(document, results.artifacts) for document in documents])
        arms = {"by hand": by_hand(folder, folder / "frames.traj", cores), "gst": by_gst(project)}
        before_s = processor_s(mongod)
        used = in_turns(arms)
        used["gst"].processor_s += processor_s(mongod) - before_s
        all_done(project, number)
        refused = same_results(project, folder)
        failed = results.database["labels"].count_documents({"state": "failed"}) - refused
        also = f", {refused} more are refused as unphysical" if refused else ""
        what = f"{number} tblite labels of {n_atoms} atoms on {cores} cores ({failed} fail{also})"
        yield from compared(what, used["gst"], used["by hand"], GOAL_PERCENT if size == "full" else None)
        yield Row("a label", used["by hand"].processor_s / number, "core s")
    finally:
        server.down()


def compared(what: str, ours: Used, hand: Used, limit: float | None) -> Iterator[Row]:
    """Wall time and processor time of both, and what ours add."""
    baseline = "by hand, a process a core"
    yield Row(f"{what}, wall time", ours.wall_s, "s", baseline, hand.wall_s)
    yield Row("orchestration adds to wall time", (ours.wall_s / hand.wall_s - 1) * 100, "%", limit=limit)
    name = f"{what}, processor time, database server included"
    yield Row(name, ours.processor_s, "core s", baseline, hand.processor_s)
    added = (ours.processor_s / hand.processor_s - 1) * 100
    yield Row("orchestration adds to processor time", added, "%", limit=limit)


def write_vasprun(file: Path, n_atoms: int, n_kpoints: int = 4, n_bands: int = 2_600, n_electronic: int = 24) -> None:
    """Write a vasprun.xml as long as a single point's: electronic steps, eigenvalues, partial densities of states.

    Numbers are invented; a cell of 1,000 atoms of Ge-Sb-Te has about 2,600 bands.
    """
    random = np.random.default_rng(0)
    fifth = n_atoms * 2 // 9
    symbols = ["Ge"] * fifth + ["Sb"] * fifth + ["Te"] * (n_atoms - 2 * fifth)
    edge_A = 33.0
    places = random.random((n_atoms, 3))
    structure = (
        f'<crystal><varray name="basis">{_rows(edge_A * np.eye(3))}</varray><i name="volume">{edge_A**3}</i></crystal>'
        f'<varray name="positions">{_rows(places)}</varray>'
    )
    energies = {"e_fr_energy": -3700.0, "e_wo_entrp": -3699.9, "e_0_energy": -3699.95}
    energy = "".join(f'<i name="{key}">{value}</i>' for key, value in energies.items())
    energy = f"<energy>{energy}</energy>"
    with file.open("w") as stream:
        stream.write(_head(symbols, random.random((n_kpoints, 3))))
        stream.write(f'<structure name="initialpos">{structure}</structure>\n<calculation>\n')
        stream.write(f"<scstep>{energy}</scstep>\n" * n_electronic)
        forces = _rows(random.normal(0, 1, (n_atoms, 3)))
        stream.write(f'<structure>{structure}</structure><varray name="forces">{forces}</varray>')
        stream.write(f'<varray name="stress">{_rows(np.zeros((3, 3)))}</varray>{energy}\n')
        stream.write('<eigenvalues><array><set><set comment="spin 1">')
        for point in range(n_kpoints):
            bands = _rows(random.random((n_bands, 2)), "r")
            stream.write(f'<set comment="kpoint {point + 1}">\n{bands}</set>')
        stream.write('</set></set></array></eigenvalues>\n<dos><i name="efermi">5.0</i><total><array>')
        stream.write(f'<set><set comment="spin 1">\n{_rows(random.random((301, 3)), "r")}</set></set></array></total>')
        orbitals = ("energy", "s", "py", "pz", "px", "dxy", "dyz", "dz2", "dxz", "x2-y2")
        fields = "".join(f"<field>{name}</field>" for name in orbitals)
        stream.write(f"<partial><array>{fields}<set>")
        for ion in range(n_atoms):
            table = _rows(random.random((301, 10)), "r")
            stream.write(f'<set comment="ion {ion + 1}"><set comment="spin 1">\n{table}</set></set>')
        stream.write(f'</set></array></partial></dos>\n</calculation>\n<structure name="finalpos">{structure}')
        stream.write("</structure>\n</modeling>\n")


def _head(symbols: list[str], kpoints: np.ndarray) -> str:
    """What stands before the structures: program, INCAR, k-points, atoms."""
    titles = {"Ge": "PAW_PBE Ge_d 03Jul2007", "Sb": "PAW_PBE Sb 06Sep2000", "Te": "PAW_PBE Te 08Apr2002"}
    species = list(titles)
    incar = (
        '<i type="string" name="GGA">PE</i><i name="ENCUT">600.0</i><i name="EDIFF">0.0000001</i>'
        '<i name="KSPACING">0.2</i><i type="logical" name="KGAMMA">T</i><i type="int" name="ISMEAR">0</i>'
        '<i name="SIGMA">0.05</i><i type="int" name="ISPIN">1</i><i type="string" name="PREC">accura</i>'
        '<i type="logical" name="LREAL">F</i><i type="logical" name="LASPH">F</i><i type="int" name="NELM">100</i>'
    )
    atoms = "".join(f"<rc><c>{symbol}</c><c>{species.index(symbol) + 1}</c></rc>\n" for symbol in symbols)
    kinds = "".join(
        f"<rc><c>{symbols.count(symbol)}</c><c>{symbol}</c><c>1.0</c><c>4.0</c><c>{title}</c></rc>"
        for symbol, title in titles.items()
    )
    weights = _rows(np.full((len(kpoints), 1), 1 / len(kpoints)))
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>'
        '<i name="program" type="string">vasp</i><i name="version" type="string">5.4.4</i></generator>\n'
        f'<incar>{incar}</incar>\n<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v>'
        f'</generation><varray name="kpointlist">{_rows(kpoints)}</varray><varray name="weights">{weights}</varray>'
        f'</kpoints>\n<parameters>{incar}<i name="ENMAX">600.0</i></parameters>\n<atominfo>'
        f'<atoms>{len(symbols)}</atoms><types>{len(species)}</types><array name="atoms"><set>{atoms}</set></array>'
        f'<array name="atomtypes"><set>{kinds}</set></array></atominfo>\n'
    )


def _rows(values: np.ndarray, tag: str = "v") -> str:
    line = f"    <{tag}>" + "  ".join(["%.8f"] * values.shape[1]) + f"</{tag}>\n"
    return (line * len(values)) % tuple(values.ravel().tolist())


def vasprun_rows(folder: Path, size: str) -> Iterator[Row]:
    """Reading energy, forces, stress and method of a large vasprun.xml, against pymatgen reading all of it."""
    from ase import Atoms
    from pymatgen.io.vasp.outputs import Vasprun

    from gst_jobflow.labelling.vasp import VaspSettings, read_label

    n_atoms = PARSED[size]
    file = folder / "vasprun.xml"
    write_vasprun(file, n_atoms)
    structure = Vasprun(str(file), parse_dos=False, parse_eigen=False, parse_potcar_file=False).initial_structure
    atoms = Atoms(
        [site.specie.symbol for site in structure], scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix, pbc=True,
    )  # fmt: skip
    label = read_label(file, atoms, VaspSettings())
    if not label.converged or label.forces_eV_A is None or label.forces_eV_A.shape != (n_atoms, 3):
        raise SystemExit(f"the file is not read: {label.reason}")
    whole = seconds(lambda: Vasprun(str(file), parse_potcar_file=False), 1)
    ours = seconds(lambda: read_label(file, atoms, VaspSettings()), 3)
    name = f"vasprun.xml of {n_atoms:,} atoms, {file.stat().st_size / 1e6:.0f} MB with partial densities of states"
    limit = PARSE_S if size == "full" else None
    yield Row(name, ours, "s", "pymatgen, all of it", whole, limit)


def measure(folder: Path, size: str, parts: list[str], n_atoms: int) -> Iterator[Row]:
    """The rows of `parts`."""
    if "labels" in parts:
        yield from label_rows(folder, size, n_atoms)
    if "vasprun" in parts:
        yield from vasprun_rows(folder, size)


def main() -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=LABELS, default="small")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this one (repeatable)")
    parser.add_argument("--atoms", type=int, default=9, help="of each cell of the part labels (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    # so that what it started ends with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    try:
        with result_on_stdout(options.json) as show:
            packages = ("gst_jobflow", "jobflow", "fireworks", "tblite", "pymatgen", "custodian", "ase")
            rows = [row.as_dict() for row in measure(folder, options.size, options.part or list(PARTS), options.atoms)]
            result: dict[str, Any] = {"machine": machine(), "versions": versions(packages), "rows": rows}
            show(result)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
