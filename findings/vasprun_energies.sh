#!/usr/bin/env bash
# One vasprun.xml with smearing holds three energies. ASE 3.29.0 (get_potential_energy) and pymatgen
# 2026.10.24 (Vasprun.final_energy) return the one extrapolated to zero smearing; dpdata 1.1.0 returns
# the free energy, which is what the forces are derivatives of. So a data set of dpdata, and one of the same
# files by pymatgen or by get_potential_energy, differ by the entropy term: 50 meV/atom in this file. dpdata
# takes the free energy from an ase.Atoms too, so a file read by ASE changes its energy on the way.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q ase==3.29.0 dpdata==1.1.0 pymatgen==2026.10.24 numpy==2.3.5
venv/bin/python -W ignore - <<'PY'
from pathlib import Path

import dpdata
from ase.io import read
from pymatgen.io.vasp import Vasprun

STRUCTURE = """<structure{name}><crystal><varray name="basis"><v>6 0 0</v><v>0 6 0</v><v>0 0 6</v></varray>
<i name="volume">216</i></crystal><varray name="positions"><v>0 0 0</v><v>0.5 0 0</v></varray></structure>"""
ENERGY = """<energy><i name="e_fr_energy">-8.0</i><i name="e_wo_entrp">-7.8</i><i name="e_0_energy">-7.9</i></energy>"""
Path("vasprun.xml").write_text(f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.4.2 </i></generator>
<incar><i type="int" name="ISMEAR">1</i><i name="SIGMA">0.2</i></incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="NELM">60</i><i name="EDIFF">0.00001</i>
<i type="int" name="ISPIN">1</i></separator></parameters>
<atominfo><atoms>2</atoms><types>2</types>
<array name="atoms"><dimension dim="1">ion</dimension><field type="string">element</field><field type="int">atomtype</field>
<set><rc><c>Sb</c><c>1</c></rc><rc><c>Te</c><c>2</c></rc></set></array>
<array name="atomtypes"><dimension dim="1">type</dimension><field type="int">atomspertype</field>
<field type="string">element</field><field>mass</field><field>valence</field><field type="string">pseudopotential</field>
<set><rc><c>1</c><c>Sb</c><c>121.75</c><c>5.0</c><c>PAW_PBE Sb 06Sep2000</c></rc>
<rc><c>1</c><c>Te</c><c>127.6</c><c>6.0</c><c>PAW_PBE Te 08Apr2002</c></rc></set></array></atominfo>
{STRUCTURE.format(name=' name="initialpos"')}
<calculation><scstep>{ENERGY}</scstep>{STRUCTURE.format(name="")}
<varray name="forces"><v>0.1 0 0</v><v>-0.1 0 0</v></varray>
<varray name="stress"><v>1 0 0</v><v>0 1 0</v><v>0 0 1</v></varray>{ENERGY}</calculation>
{STRUCTURE.format(name=' name="finalpos"')}
</modeling>
""")
atoms = read("vasprun.xml")
vasprun = Vasprun("vasprun.xml", parse_dos=False, parse_eigen=False, parse_potcar_file=False)
seen = {
    "ASE get_potential_energy()": atoms.get_potential_energy(),
    "ASE get_potential_energy(force_consistent=True)": atoms.get_potential_energy(force_consistent=True),
    "pymatgen final_energy": float(vasprun.final_energy),
    "dpdata vasp/xml": float(dpdata.LabeledSystem("vasprun.xml", fmt="vasp/xml")["energies"][0]),
    "dpdata of the atoms that ASE read": float(dpdata.LabeledSystem(atoms, fmt="ase/structure")["energies"][0]),
}
for what, energy in seen.items():
    print(f"{what:50}{energy:6.2f} eV")
assert [round(each, 6) for each in seen.values()] == [-7.9, -8.0, -7.9, -8.0, -8.0], "a library changed its energy"
print("the same file, two energies")
PY
