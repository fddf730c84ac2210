#!/usr/bin/env bash
# ASE's get_forces sets the forces of fixed atoms to zero, and programs that collect sets for training call it. From a run
# of VASP with selective dynamics pace_collect of python-ace 0.4.0rc1 writes these zeros into the column that is fitted,
# and dpdata 1.1.0 takes them from atoms that ASE 3.29.0 read; pacemaker itself does the same to atoms in a table that are
# still fixed, whatever its column says. Nothing is said. Seen: (0.5, 0.25, 0.125) eV/A of a fixed atom becomes (0, 0, 0).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q python-ace==0.4.0rc1 dpdata==1.1.0 ase==3.29.0 pandas==2.3.3 numpy==2.3.5
mkdir run
cat > run/vasprun.xml <<'XML'
<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.4.2 </i></generator>
<kpoints><generation param="Gamma"><v type="int" name="divisions">1 1 1</v></generation>
<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
<parameters><separator name="electronic"><i type="int" name="ISPIN">1</i></separator></parameters>
<atominfo><array name="atoms"><set><rc><c>Sb</c><c>1</c></rc><rc><c>Te</c><c>2</c></rc></set></array></atominfo>
<structure name="initialpos"><crystal><varray name="basis"><v>6 0 0</v><v>0 6 0</v><v>0 0 6</v></varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0 0</v></varray>
<varray name="selective" type="logical"><v type="logical">F F F</v><v type="logical">T T T</v></varray></structure>
<calculation><scstep><energy><i name="e_fr_energy">-8</i><i name="e_wo_entrp">-8</i><i name="e_0_energy">-8</i></energy></scstep>
<structure><crystal><varray name="basis"><v>6 0 0</v><v>0 6 0</v><v>0 0 6</v></varray></crystal>
<varray name="positions"><v>0 0 0</v><v>0.5 0 0</v></varray></structure>
<varray name="forces"><v>0.5 0.25 0.125</v><v>-0.5 -0.25 -0.125</v></varray>
<varray name="stress"><v>1 0 0</v><v>0 1 0</v><v>0 0 1</v></varray>
<energy><i name="e_fr_energy">-8</i><i name="e_wo_entrp">-8</i><i name="e_0_energy">-8</i></energy></calculation>
</modeling>
XML
venv/bin/pace_collect -wd run 2> /dev/null
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import dpdata
import pandas as pd
from ase.io import read
from pyace.atomicenvironment import generate_tp_atoms

atoms = read("run/vasprun.xml")
row = pd.read_pickle("collected.pckl.gzip", compression="gzip").iloc[0]
of_fixed_atom = {
    "calculator": atoms.calc.results["forces"][0],
    "pace_collect, column forces": row["forces"][0],
    "pace_collect, column results": row["results"]["forces"][0],
    "dpdata": dpdata.LabeledSystem(atoms, fmt="ase/structure")["forces"][0][0],
    "pacemaker's input": generate_tp_atoms(atoms, cutoff=5)["_forces"][0],
}
for name, force in of_fixed_atom.items():
    print(f"{name:30}{force}")
whole = {name for name, force in of_fixed_atom.items() if force.tolist() == [0.5, 0.25, 0.125]}
none = {name for name, force in of_fixed_atom.items() if not force.any()}
assert whole == {"calculator", "pace_collect, column results"}, "other forces are kept now"
assert none == {"pace_collect, column forces", "dpdata", "pacemaker's input"}, "other forces are zero now"
PY
