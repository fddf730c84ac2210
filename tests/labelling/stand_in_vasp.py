"""A stand-in for VASP in tests: reads VASP's inputs, writes VASP's outputs, computes a Lennard-Jones crystal.

It is not VASP and says so: its version is 0.0.0-standin, which ingestion refuses unless a test allows it. The
variable STAND_IN_DOES makes it fail in a chosen way, for structures of STAND_IN_DOES_FOR atoms or for all.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from ase.calculators.lj import LennardJones
from ase.io import read

VERSION = "0.0.0-standin"
EV_A3_IN_KBAR = 1602.1766208
OUTCAR = """ stand-in
 number of bands    NBANDS=   10
 total plane-waves  NPLWV =  1000
 number of electron      32.0000000 magnetization
   IBRION =  -1
"""


def read_incar() -> dict:
    incar = {}
    for line in Path("INCAR").read_text().splitlines():
        key, _, text = (part.strip() for part in line.partition("="))
        incar[key] = {"True": True, "False": False}.get(text, text)
        for kind in (int, float):
            try:
                incar[key] = kind(text)
                break
            except ValueError:
                continue
    return incar


def potcar_titles() -> list[str]:
    lines = Path("POTCAR").read_text().splitlines()
    return [line.split("=")[1].strip() for line in lines if "TITEL" in line]


def rows(values) -> str:
    return "".join("<v>" + " ".join(f"{x:.8f}" for x in row) + "</v>" for row in np.atleast_2d(values))


def structure_xml(name: str, atoms) -> str:
    return (
        f'<structure name="{name}"><crystal><varray name="basis">{rows(atoms.cell.array)}</varray>'
        f'<i name="volume">{atoms.cell.volume:.8f}</i></crystal>'
        f'<varray name="positions">{rows(atoms.get_scaled_positions(wrap=False))}</varray></structure>'
    )


def incar_xml(incar: dict) -> str:
    lines = []
    for key, value in incar.items():
        if isinstance(value, bool):
            lines.append(f'<i type="logical" name="{key}">{"T" if value else "F"}</i>')
        elif isinstance(value, int):
            lines.append(f'<i type="int" name="{key}">{value}</i>')
        elif isinstance(value, float):
            lines.append(f'<i name="{key}">{value:.10f}</i>')
        else:
            lines.append(f'<i type="string" name="{key}">{value}</i>')
    return "".join(lines)


def mesh(atoms, spacing: float) -> np.ndarray:
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    return np.maximum(1, np.ceil(lengths / spacing)).astype(int)


def electrons_xml() -> str:
    """What VASP writes behind the energy of its last ionic step, with tables inside of tables."""
    levels = '<set><set comment="spin 1"><set comment="kpoint 1"><r>-9.1 1.0</r><r>3.2 0.0</r></set></set></set>'
    table = f"<array><dimension dim='1'>band</dimension><field>eigene</field>{levels}</array>"
    return (
        f"<eigenvalues>{table}</eigenvalues>"
        f'<dos><i name="efermi">1.23</i><total>{table}</total><partial>{table}</partial></dos>'
        f"<projected><eigenvalues>{table}</eigenvalues>{table}</projected>"
    )


def vasprun(atoms, incar: dict, n_steps: int, divisions, titles: list[str], fewer_forces: int = 0) -> str:
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()[: len(atoms) - fewer_forces]
    stress = -atoms.get_stress(voigt=False) * EV_A3_IN_KBAR
    symbols = atoms.get_chemical_symbols()
    species = list(dict.fromkeys(symbols))
    # e_0 differs on purpose: a reader that takes the wrong energy is found out
    energies = (
        f'<energy><i name="e_fr_energy">{energy:.8f}</i><i name="e_wo_entrp">{energy + 0.2:.8f}</i>'
        f'<i name="e_0_energy">{energy + 0.1:.8f}</i></energy>'
    )
    atom_rows = "".join(f"<rc><c>{s}</c><c>{species.index(s) + 1}</c></rc>" for s in symbols)
    type_rows = "".join(
        f"<rc><c>{symbols.count(s)}</c><c>{s}</c><c>1.0</c><c>4.0</c><c>{title}</c></rc>"
        for s, title in zip(species, titles, strict=True)
    )
    grid = " ".join(str(n) for n in divisions)
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling>'
        f'<generator><i name="program" type="string">vasp</i><i name="version" type="string">{VERSION}</i></generator>'
        f"<incar>{incar_xml(incar)}</incar>"
        f'<kpoints><generation param="Gamma"><v type="int" name="divisions">{grid}</v></generation>'
        '<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1.0</v></varray></kpoints>'
        f"<parameters>{incar_xml({**incar, 'ENMAX': incar['ENCUT'], 'NELECT': 4.0 * len(atoms)})}</parameters>"
        f"<atominfo><atoms>{len(atoms)}</atoms><types>{len(species)}</types>"
        f'<array name="atoms"><set>{atom_rows}</set></array>'
        f'<array name="atomtypes"><set>{type_rows}</set></array></atominfo>'
        f"{structure_xml('initialpos', atoms)}"
        f"<calculation>{f'<scstep>{energies}</scstep>' * n_steps}{structure_xml('', atoms)}"
        f'<varray name="forces">{rows(forces)}</varray><varray name="stress">{rows(stress)}</varray>{energies}'
        f"{electrons_xml()}</calculation>{structure_xml('finalpos', atoms)}</modeling>"
    )


def main() -> int:
    does = os.environ.get("STAND_IN_DOES", "")
    incar = read_incar()
    atoms = read("POSCAR")
    if len(atoms) != int(os.environ.get("STAND_IN_DOES_FOR", len(atoms))):
        does = ""
    atoms.calc = LennardJones(sigma=2.6, epsilon=0.3, rc=7.0)
    titles = potcar_titles()
    n_steps = 5
    divisions = mesh(atoms, incar["KSPACING"])
    if does == "crash":
        print("forrtl: severe (174): SIGSEGV")
        return 174
    if does == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if does == "hang":
        time.sleep(600)
    if does == "hang once" and not (mark := Path(os.environ["STAND_IN_MARK"])).exists():
        mark.touch()
        time.sleep(600)
    if does == "disk full":
        Path("vasprun.xml").write_text('<?xml version="1.0"?><modeling><generator>')
        print("forrtl: severe (38): error during write, unit 99: No space left on device", file=sys.stderr)
        return 38
    if does == "dies without output":
        return 0
    if does == "needs another ALGO" and incar.get("ALGO") != "All":
        n_steps = incar["NELM"]
    if does == "never converges":
        n_steps = incar["NELM"]
    if does == "tetrahedron":
        print("Tetrahedron method fails")
    if does == "other sigma":
        incar["SIGMA"] = 0.2
    if does == "other cutoff":
        incar["ENCUT"] = 520
    if does == "other functional":
        incar["GGA"] = "PS"
    if does == "unknown key":
        incar["IVDW"] = 12
    if does == "other mesh":
        divisions = divisions + 2
    if does == "other potcar":
        titles[0] = "PAW_PBE Ge 05Jan2001"
    if does == "moves":
        atoms.positions[0] += 0.01
    text = vasprun(atoms, incar, n_steps, divisions, titles, fewer_forces=does == "a force too few")
    Path("vasprun.xml").write_text(text[: len(text) // 2] if does == "cut output" else text)
    Path("OUTCAR").write_text(OUTCAR)
    Path("CONTCAR").write_text(Path("POSCAR").read_text())
    energy = atoms.get_potential_energy()
    Path("OSZICAR").write_text(f"   1 F= {energy:.8E} E0= {energy:.8E}  d E =0.000000E+00\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
