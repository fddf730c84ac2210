"""Share helpers of the benchmarks: options, machine, versions, timing, rows."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _environment  # noqa: F401


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes
    ----------
    value, unit
        The measurement.
    baseline, baseline_value
        The comparison, measured in the same run, in the same unit.
    limit
        The goal; None if there is none.
    better
        Whether a lower or a higher value is better; `ratio` is how many times better than the baseline.
    """

    name: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    limit: float | None = None
    better: Literal["lower", "higher"] = "lower"

    def as_dict(self) -> dict[str, Any]:
        """Return the keys that programs read; ratio and holds are computed from what was measured."""
        lower = self.better == "lower"
        ratio = goal = holds = None
        if self.baseline_value is not None:
            ratio = self.baseline_value / self.value if lower else self.value / self.baseline_value
        if self.limit is not None:
            goal = f"{'<=' if lower else '>='} {self.limit:g} {self.unit}"
            holds = self.value <= self.limit if lower else self.value >= self.limit
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline or None,
            "baseline_value": self.baseline_value,
            "ratio": ratio,
            "goal": goal,
            "holds": holds,
        }


def seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Return the median wall time of `repeats` calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def machine() -> dict[str, Any]:
    """Describe this computer: processor, cores that may be used, memory, load, system, time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_GiB": round(memory / 2**30, 1),
        "load_1min": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return Python's version and those of `packages`; ``absent`` where one is not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


@contextmanager
def result_on_stdout(as_json: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that prints a result to stdout; all other output goes to stderr meanwhile.

    Libraries and child processes write to the file descriptor, so `sys.stdout` alone would not hold them back.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield lambda result: _print_to(kept, json.dumps(result, indent=2) if as_json else as_markdown(result))
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _print_to(descriptor: int, text: str) -> None:
    with open(descriptor, "w", encoding="utf-8", closefd=False) as stream:
        print(text, file=stream)


def main(description: str, measure: Callable[[str], Iterable[Row]], packages: Sequence[str]) -> None:
    """Read ``--size`` and ``--json``, measure, print."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--size", choices=("small", "full"), default="small", help="small ends within two minutes")
    parser.add_argument("--json", action="store_true", help="print JSON alone on stdout")
    options = parser.parse_args()
    with result_on_stdout(options.json) as show:
        rows = [row.as_dict() for row in measure(options.size)]
        show({"machine": machine(), "versions": versions(packages), "rows": rows})


def as_markdown(result: dict[str, Any]) -> str:
    """Write a result as the text that docs/benchmarks.md shows."""
    about = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    packages = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
    lines = [
        f"Machine: {about}.",
        "",
        f"Versions: {packages}.",
        "",
        "| what | measured | baseline | times better | goal | holds |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        compared = f"{_short(row['baseline_value'])} {row['unit']} ({row['baseline']})" if row["baseline"] else "–"
        ratio = f"{row['ratio']:.1f}" if row["ratio"] is not None else "–"
        holds = {True: "yes", False: "**no**", None: "–"}[row["holds"]]
        value = f"{_short(row['value'])} {row['unit']}"
        lines.append(f"| {row['name']} | {value} | {compared} | {ratio} | {row['goal'] or '–'} | {holds} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
