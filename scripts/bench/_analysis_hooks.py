"""What analyses beside the operations of a cycle add to it: the same cycle with and without them, in turns.

Two projects run the same cross-point cycle of Sb2Te3 (SETs at 300 K) by two workers of `gst launch`. The potential is
repulsive, and has as many functions as the smallest of the paper's Table 1, 300 in all (small: a few). One programme
has `analyse` with tellurium, k-bar, grains and growth of ten frames of each operation. An arm stands still while the
other has its turn, so both meet the same load. Times are from the start of the workers to their end, melt-quench and
cell included; processor time is that of all that they start, with the database server's.

Hooks cost the same however long the operations are, so the share that they add is worked out for longer ones, too.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from _common import Row
from bench_db import gst, new_project
from in_turns import Arm, in_turns

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

HOOKS = ["tellurium", "k-bar", "grains", "growth"]
STEPS = {"small": 200, "full": 20_000}
REPEAT = [5, 3, 2]
FUNCTIONS: dict[str, Any] = {
    "number_of_functions_per_element": 150,
    "ALL": {"nradmax_by_orders": [10, 5, 3], "lmax_by_orders": [0, 4, 3]},
}
"""Of each of two elements."""
N_OPERATIONS = 2
MOST_PERCENT = 2.0
TIMESTEP_PS = 0.002
PROGRAMME = """\
name: sets
cell: {{kind: cross-point, formula: Sb2Te3, repeat: {repeat}, barrier_thickness_A: 10, min_contact_A: 0.001}}
barrier: [{{kind: relax}}, {{kind: anneal, temperature_K: 300, duration_ps: 0.1}}]
operations:
{operations}
output: {{series_every: 50, profile_every: {every}, dump_every: {every}, restart_every: {every}}}
analyse: {hooks}
"""


def programme(size: str, hooks: list[str], steps: int = 0) -> str:
    """Return the programme of one arm; 0 steps: as many as of the size."""
    steps = steps or STEPS[size]
    operation = f"  - {{kind: SET, temperature_K: 300, duration_ps: {steps * TIMESTEP_PS:g}}}"
    operations = "\n".join([operation] * N_OPERATIONS)
    return PROGRAMME.format(
        repeat=REPEAT,
        operations=operations,
        every=steps // 10,
        hooks=f"[{', '.join(hooks)}]" if hooks else "null",
    )


def submitted(root: Path, potential: Path, text: str, stack: contextlib.ExitStack) -> Project:
    """Make a project with its own database, and submit the cycle of a programme."""
    from gst_jobflow.launch.configs import write_configs
    from gst_jobflow.launch.services import LocalMongod

    project = new_project(root)
    # a rank that waits for the other one would count as work
    with (root / "gst.yaml").open("a") as settings:
        settings.write("lammps: {ranks: 1}\n")
    server = LocalMongod(project)
    stack.callback(server.down)
    server.up()
    gst(project, "db", "migrate")
    write_configs(project)
    gst(project, "import", "potential", str(potential), "--name", "soft")
    (root / "sets.yaml").write_text(text)
    gst(project, "submit", "cycle", "cross-point", "--potential", "soft", "--programme", "sets.yaml", "--no-gamma")
    return project


def check_done(project: Project, hooked: bool) -> int:
    """Stop the benchmark where a job failed or frames were not analysed; return the number of atoms."""
    from gst_jobflow.analysis.series import series_of
    from gst_jobflow.documents import Cycle, Trajectory
    from gst_jobflow.store import Results

    results = Results.open(project)
    (cycle,) = results.find(Cycle, {})
    runs = list(results.find(Trajectory, {"cycle_id": cycle.id}))
    frames = [len(each.steps) for run in runs for each in series_of(run)]
    if cycle.state != "finished" or len(frames) != (len(HOOKS) * N_OPERATIONS if hooked else 0) or 0 in frames:
        raise SystemExit(f"cycle {cycle.id} is {cycle.state}; analysed frames: {frames}")
    return cycle.n_atoms


def hook_rows(size: str) -> Iterator[Row]:
    """Compare the cycle with and without analyses."""
    from gst_jobflow.launch.services import LocalMongod

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from _tiny_potential import make_tiny_potential

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "potential").mkdir()
        cost = {"functions": FUNCTIONS, "rcut_A": 6.5} if size == "full" else {}
        potential = Path(make_tiny_potential(folder / "potential", **cost).yace)
        hooks = {"with": HOOKS, "without": []}
        projects = {
            name: submitted(folder / name, potential, programme(size, each), stack) for name, each in hooks.items()
        }
        servers = {name: psutil.Process(LocalMongod(project).up().pid) for name, project in projects.items()}
        before = {name: sum(server.cpu_times()[:2]) for name, server in servers.items()}
        program = Path(sys.executable).with_name("gst")
        arms = {name: Arm([program, "launch", "--workers", "2"], project.root) for name, project in projects.items()}
        used = in_turns(arms)
        for name, server in servers.items():
            used[name].processor_s += sum(server.cpu_times()[:2]) - before[name]
        n_atoms, _ = (check_done(project, name == "with") for name, project in projects.items())
    ours, bare = used["with"], used["without"]
    what = f"cycle of {N_OPERATIONS} SETs of {STEPS[size]:,} steps, {n_atoms:,} atoms, with analyses"
    limit = MOST_PERCENT if size == "full" else None
    for kind, one, other, unit in (
        ("processor time", ours.processor_s, bare.processor_s, "core s"),
        ("wall time", ours.wall_s, bare.wall_s, "s"),
    ):
        yield Row(f"{what}, {kind}", one, unit, "without", other)
        yield Row(f"analyses add to {kind}", 100 * (one / other - 1), "%", limit=limit)
    hook = (ours.processor_s - bare.processor_s) / N_OPERATIONS
    yield Row("analyses of an operation", hook, "core s")
    yield Row("operation to which they add 2 %", hook / (0.01 * MOST_PERCENT), "core s")
