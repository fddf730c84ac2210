#!/usr/bin/env python3
"""What is ours beside the physics: a worker's start, commands, import, packed tasks, export; against another checkout.

Each checkout runs its own programs on a project and mongod of its own, in turns. Rows have wall time and processor time
(of all processes that were started, and of mongod where it works). Run it on an idle machine; on a busy one, read
processor time.
"""

from __future__ import annotations

import _common  # noqa: F401  # isort: skip
import argparse
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from _common import Row, machine, result_on_stdout, versions
from _synthetic import write_synthetic
from bench_db import resident_MB

HERE = Path(__file__).resolve().parents[2]
SIZES = {"small": (1_000, 200, 3), "full": (100_000, 5_000, 10)}
"""Structures of the import, packed tasks, repeats of short commands."""
PROBE = Path(__file__).with_name("_startup_probe.py")
TOLD = "GST_BENCH_PROBE"
TE = '1\nLattice="3.2 0 0 0 3.2 0 0 0 {:.4f}" Properties=species:S:1:pos:R:3 pbc="T T T"\nTe 0 0 0\n'


@dataclass
class Spent:
    """Wall and processor time of a command, s, and the largest memory of its processes together, MB."""

    wall_s: float
    processor_s: float
    peak_MB: float = 0.0


@dataclass
class Arm:
    """A checkout with a project of its own."""

    name: str
    checkout: Path
    root: Path
    spent: dict[str, list[Spent]] = field(default_factory=dict)

    def program(self, name: str) -> str:
        return str(self.checkout / ".venv" / "bin" / name)

    @property
    def environment(self) -> dict[str, str]:
        # compiled modules are kept, as for any user
        left_out = ("GST_", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        return {
            **kept,
            "GST_PROJECT": str(self.root),
            "JOBFLOW_CONFIG_FILE": str(self.root / "fw_configs" / "jobflow.yaml"),
            "FW_CONFIG_FILE": str(self.root / "FW_config.yaml"),
            "PYTHONPATH": str(PROBE.parent),
            "OMP_NUM_THREADS": "1",
            TOLD: str(self.told),
        }

    @property
    def told(self) -> Path:
        return self.root / "probe.txt"

    @property
    def server_s(self) -> float:
        """Processor time of the project's mongod up to now, s."""
        servers = (each for each in psutil.process_iter(["name", "cmdline"]) if each.info["name"] == "mongod")
        mine = [each for each in servers if any(str(self.root) in word for word in each.info["cmdline"] or ())]
        return sum(sum(each.cpu_times()[:2]) for each in mine)

    def run(self, *words: str, watch: bool = False, server: bool = False) -> Spent:
        """Run a program of the checkout; stop the benchmark where it fails."""
        server_s = self.server_s if server else 0.0
        before, start, peak = _children_s(), time.perf_counter(), 0.0
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [self.program(words[0]), *words[1:]], cwd=self.root, env=self.environment, stdout=output,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            while watch and process.poll() is None:
                peak = max(peak, resident_MB(process.pid))
                time.sleep(0.1)
            if process.wait():
                output.seek(0)
                raise SystemExit(f"{self.name}: {' '.join(words)}\n{output.read().decode()[-2000:]}")
        used = time.perf_counter() - start, _children_s() - before + (self.server_s - server_s if server else 0.0)
        return Spent(*used, peak)

    def measure(self, what: str, *words: str, watch: bool = False, server: bool = False) -> Spent:
        spent = self.run(*words, watch=watch, server=server)
        self.spent.setdefault(what, []).append(spent)
        print(f"  {self.name}, {what}: {spent.wall_s:.2f} s, {spent.processor_s:.2f} core s", file=sys.stderr)
        return spent


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_up(arms: Sequence[Arm], repeats: int) -> Iterator[Row]:
    """From `rlaunch singleshot` to the first line of a label's calculator; the parents' time counts with it."""
    told: dict[str, list[float]] = {arm.name: [] for arm in arms}
    bare: list[float] = []
    for number in range(repeats):
        for arm in arms:
            sigma = f"parameters={{sigma: {2.5 + 0.001 * number}, rc: 3.0}}"
            probe = ("--option", "calculator=_startup_probe:Probe", "--option", sigma)
            arm.run("gst", "submit", "label", "--backend", "ase", *probe, "--where", "tags=start")
            arm.measure("rlaunch of one label", "rlaunch", "-c", str(arm.root / "fw_configs"), "singleshot")
            told[arm.name].append(float(arm.told.read_text().split()[-1]))
        bare.append(arms[0].measure("bare", "python", "-c", "import fireworks, jobflow").processor_s)
    values = [statistics.median(told[arm.name]) for arm in arms]
    what = "rlaunch singleshot to the first line of a label's calculator, processor time"
    yield from against(what, values, "s", 0.45, arms)
    name = "python -c 'import fireworks, jobflow'"
    yield Row("the same", values[0], "s", name, statistics.median(bare), limit=1.25 * statistics.median(bare))
    yield from both("rlaunch of one label, to its end", "rlaunch of one label", arms)


def commands(arms: Sequence[Arm], repeats: int) -> Iterator[Row]:
    """Commands that people type."""
    asked = {
        "gst query": ("query", "structures"),
        "gst status": ("status",),
        "gst show": ("show", "few"),
        "gst --help": ("--help",),
    }
    for arm in arms:
        arm.run("gst", "dataset", "create", "few", "--method-name", "synthetic")
    for _ in range(repeats):
        for what, words in asked.items():
            for arm in arms:
                arm.measure(what, "gst", *words)
    for what in asked:
        yield from both(what, what, arms, 0.5 if what != "gst --help" else None)


def imports(arms: Sequence[Arm], file: Path, n: int) -> Iterator[Row]:
    """A file of labelled structures, and again; ase.io.iread of it before and after."""
    read = (sys.executable, "-c", f"from ase.io import iread\nfor _ in iread({str(file)!r}): pass")
    ase: list[Spent] = []

    def by_ase() -> None:
        before, start = _children_s(), time.perf_counter()
        subprocess.run(read, check=True)
        ase.append(Spent(time.perf_counter() - start, _children_s() - before))

    for what in (f"import of {n:,} structures", "the same file again"):
        for arm in arms:
            by_ase()
            words = ("structures", "import", str(file), "--method-name", "synthetic", "--tag", "bulk")
            arm.measure(what, "gst", *words, watch=True, server=True)
        by_ase()
    for what, to_ase, to_other in ((f"import of {n:,} structures", 2.0, 1.8), ("the same file again", 4.0, None)):
        ours = _median(arms[0], what)
        reader = Spent(*(statistics.median(getattr(each, name) for each in ase) for name in ("wall_s", "processor_s")))
        rate = (n / ours.wall_s, "1/s", "ase.io.iread, one core", n / reader.wall_s, to_ase * n / reader.wall_s)
        yield Row(f"{what}, a second", *rate, better="higher")
        yield Row(f"{what}, processor time", ours.processor_s, "s", "ase.io.iread", reader.processor_s)
        yield from both(what, what, arms, 1 / to_other if to_other else None)
        yield Row(f"{what}, memory", ours.peak_MB, "MB", limit=400)


def growth(arm: Arm, folder: Path, n: int) -> Iterator[Row]:
    """A file of labelled structures, and another one of ten times as many."""
    rates = []
    for number in (n, 10 * n):
        file = folder / f"{number}.extxyz"
        write_synthetic(file, number, seed=number)
        what = f"import of {number:,} other structures"
        arm.measure(what, "gst", "structures", "import", str(file), "--method-name", "synthetic", watch=True)
        file.unlink()
        rates.append(number / _median(arm, what).wall_s)
    yield Row(f"{what}, a second", rates[1], "1/s", f"those of {n:,}", rates[0], 0.8 * rates[0], better="higher")
    yield Row(f"{what}, memory", _median(arm, what).peak_MB, "MB", limit=400)


def packed(arms: Sequence[Arm], n: int) -> Iterator[Row]:
    """Trivial labels in one job, each with its document and its line on disk: the time above that of a job of one."""
    what, one = f"packed task, {n:,} labels in one job", "job of one label"
    for arm in arms:
        for tag, name in (("start", one), ("packed", what)):
            probe = ("--option", "calculator=_startup_probe:Trivial", "--option", "isolate=false", "--chunk", str(n))
            arm.run("gst", "submit", "label", "--backend", "ase", *probe, "--where", f"tags={tag}")
            arm.measure(name, "rlaunch", "-c", str(arm.root / "fw_configs"), "singleshot", server=True)
    for unit in ("wall", "processor"):
        per_task_ms = []
        for arm in arms:
            many_s, one_s = (getattr(arm.spent[name][0], f"{unit}_s") for name in (what, one))
            per_task_ms.append(1e3 * (many_s - one_s) / (n - 1))
        limit = 2.0 if unit == "wall" else None
        other = (arms[1].name, per_task_ms[1]) if len(arms) > 1 else ("", None)
        yield Row(f"{what}, {unit} time a task", per_task_ms[0], "ms", *other, limit)


def export(arms: Sequence[Arm]) -> Iterator[Row]:
    """A dataset of everything, to pacemaker's file."""
    what = "export to pckl.gzip"
    for arm in arms:
        arm.run("gst", "dataset", "create", "all", "--method-name", "synthetic")
        words = ("export", "dataset", "all", "--output", str(arm.root / "all.pckl.gzip"), "--format", "pckl.gzip")
        arm.measure(what, "gst", *words, watch=True)
    yield from both(what, what, arms)
    yield from against(f"{what}, memory", [arm.spent[what][0].peak_MB for arm in arms], "MB", 0.5, arms)


def both(name: str, what: str, arms: Sequence[Arm], share: float | None = None) -> Iterator[Row]:
    """Wall and processor time of a command."""
    middle = [_median(arm, what) for arm in arms]
    yield from against(f"{name}, wall time", [each.wall_s for each in middle], "s", share, arms)
    yield from against(f"{name}, processor time", [each.processor_s for each in middle], "s", None, arms)


def against(name: str, values: Sequence[float], unit: str, share: float | None, arms: Sequence[Arm]) -> Iterator[Row]:
    """A row of ours, and of the other checkout if there is one."""
    other, baseline = (values[1], arms[1].name) if len(arms) > 1 else (None, "")
    yield Row(name, values[0], unit, baseline, other, share * other if share and other else None)


def _median(arm: Arm, what: str) -> Spent:
    runs = arm.spent[what]
    return Spent(*(statistics.median(getattr(run, name) for run in runs) for name in Spent.__dataclass_fields__))


def prepare(arm: Arm, files: dict[str, Path]) -> None:
    """Make a project with its server and what the parts need."""
    arm.root.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [arm.program("gst"), "init", arm.root], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (arm.root / "gst.yaml").open("a") as settings:
        settings.write(f"\nmongo: {{port: {port}, cache_gb: 1.0}}\n")
    arm.run("gst", "db", "up")
    for tag, file in files.items():
        # workers compile their loops once for an installation
        method = ("--method-name", "synthetic", "--workers", "2") if tag == "few" else ()
        arm.run("gst", "structures", "import", str(file), "--tag", tag, *method, "--default-config-type", "other")


def measure(folder: Path, size: str, parts: Sequence[str], other: Path | None, n: int | None) -> Iterator[Row]:
    """The rows of `parts`."""
    structures, tasks, repeats = SIZES[size]
    structures, tasks = n or structures, n or tasks
    arms = [Arm("this", HERE, folder / "this")]
    if other is not None:
        arms.append(Arm(f"checkout {other.name}", other.resolve(), folder / "other"))
    start, few, bulk, many = (
        folder / "start.extxyz",
        folder / "few.extxyz",
        folder / "bulk.extxyz",
        folder / "packed.extxyz",
    )
    start.write_text(TE.format(3.1))
    write_synthetic(few, 200, seed=1)
    write_synthetic(bulk, structures)
    many.write_text("".join(TE.format(3.2 + 1e-4 * number) for number in range(tasks)))
    makers: dict[str, Callable[[], Iterator[Row]]] = {
        "start": lambda: start_up(arms, repeats),
        "commands": lambda: commands(arms, repeats),
        "packing": lambda: packed(arms, tasks),
        "import": lambda: imports(arms, bulk, structures),
        "export": lambda: export(arms),
        "growth": lambda: growth(arms[0], folder, structures),
    }
    try:
        for arm in arms:
            prepare(arm, {"start": start, "few": few, **({"packed": many} if "packing" in parts else {})})
        for part, make in makers.items():
            if part in parts:
                yield from make()
    finally:
        for arm in arms:
            if arm.root.exists():
                arm.run("gst", "db", "down")


PARTS = ("start", "commands", "packing", "import", "export", "growth")


def main() -> None:
    """Read options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, with its .venv")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument(
        "--part",
        choices=PARTS,
        action="append",
        help="only this one (repeatable); export needs import; growth, minutes and 8 GB, if asked for",
    )
    parser.add_argument("--structures", type=int, help="of the import, and tasks of the packing, instead of --size")
    parser.add_argument("--folder", type=Path, help="where the scratch folder is made")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    # so that what it started ends with it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    folder = Path(tempfile.mkdtemp(prefix="gst-bench-", dir=options.folder))
    packages = ("gst_jobflow", "jobflow", "fireworks", "pymongo", "ase", "numpy")
    try:
        with result_on_stdout(options.json) as show:
            about = machine()
            made = measure(folder, options.size, options.part or PARTS[:-1], options.against, options.structures)
            rows = [row.as_dict() for row in made]
            show({"machine": about, "versions": versions(packages), "rows": rows})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
