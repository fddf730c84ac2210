"""How a run ended, from its words."""

from __future__ import annotations

import pytest

from gst_jobflow.dynamics.log import classify, error_line, loop_parts, loop_time, ranks_used, version

RAN = "LAMMPS (22 Jul 2025 - Update 4)\n  1 by 1 by 2 MPI processor grid\n   Step Temp\n 0 300\n"
LOOPS = (
    "Loop time of 2.5 on 2 procs for 100 steps with 1000 atoms\n"
    "Loop time of 0.1 on 2 procs for 0 steps with 1000 atoms\n"
    "Loop time of 1.5 on 2 procs for 100 steps with 1000 atoms\n"
)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("GST-FINISHED step 10\n", 0, ""),
        ("GST-STOPPED step 10\n", 0, "walltime"),
        ("ERROR: Lost atoms: original 64 current 63 (src/thermo.cpp:494)\n", 1, "lost_atoms"),
        ("ERROR on proc 1: Non-numeric atom coords - simulation unstable (src/domain.cpp)\n", 1, "nan"),
        ("ERROR: Fix halt condition for fix-id gst_gamma_halt met on step 20 with value 31\n", 1, "gamma_halt"),
        ("ERROR: Fix halt condition for fix-id gst_blow_up met on step 20 with value 1e6\n", 1, "blow_up"),
        ("ERROR on proc 0: Neighbor list overflow, boost neigh_modify one (src/npair.cpp)\n", 1, "blow_up"),
        ("ERROR: something else\n", 1, "crash"),
        ("GST-ERROR bad_input: a pulse cannot heat atoms at rest\n", 3, "bad_input"),
        (
            "ERROR on proc 0: Failed to allocate 800000000 bytes for array atom:x (src/memory.cpp:68)\n",
            1,
            "out_of_memory",
        ),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=12.0.\n", 137, "out_of_memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n", 134, "out_of_memory"),
        ("", -9, "killed"),
        ("", -11, "crash"),
        ("", -6, "crash"),
        ("", 143, "killed"),
        ("", 0, "crash"),
        ("GST-FINISHED step 10\n", 1, "crash"),
    ],
)
def test_ends_of_a_run_are_classified(words, code, expected):
    assert classify(RAN + words, code)[0] == expected


def test_an_error_before_the_first_step_is_bad_input():
    assert classify("LAMMPS (x)\nERROR: Unknown command: foo (src/input.cpp:314)\n", 1)[0] == "bad_input"
    failure, line = classify("ACE version: 1\nException: bad conversion\nAbort(1) on node 0\n", 1)
    assert (failure, line) == ("bad_input", "Exception: bad conversion")


def test_the_line_about_memory_is_reported():
    text = RAN + "100 900\nslurmstepd: error: Detected 1 oom_kill event in StepId=12.0.\nsrun: error\n"
    assert classify(text, 137)[1] == "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0."


def test_errors_of_decks_are_reported_without_their_mark():
    assert error_line("GST-ERROR bad_input: atoms at rest\n") == "atoms at rest"


def test_loop_times_are_summed_over_runs_that_made_steps():
    loop = loop_time(RAN + LOOPS)
    assert (loop.seconds, loop.steps, loop.n_atoms, loop.ranks) == (4.0, 200, 1000, 2)
    assert loop.us_per_atom_step == pytest.approx(20.0)


def test_version_and_ranks():
    assert version(RAN) == "22 Jul 2025 - Update 4"
    assert ranks_used(RAN) == 2
    assert ranks_used("") is None


BREAKDOWN = """\
Loop time of 0.219764 on 2 procs for 50 steps with 854 atoms

Performance: 9.829 ns/day, 2.442 hours/ns, 227.517 timesteps/s, 194.300 katom-step/s
18.3% CPU use with 2 MPI tasks x 1 OpenMP threads

MPI task timing breakdown:
Section |  min time  |  avg time  |  max time  |%varavg| %total
---------------------------------------------------------------
Pair    | 0.028812   | 0.02941    | 0.035292   |   0.3 | 13.38
Neigh   | 0          | 0          | 0          |   0.0 |  0.00
Comm    | 0.13255    | 0.1579     | 0.18324    |   6.4 | 71.85
Output  | 2.8422e-05 | 3.3635e-05 | 3.8848e-05 |   0.0 |  0.02
Modify  | 0.00017245 | 0.00017356 | 0.00017468 |   0.0 |  0.08
Other   |            | 0.03225    |            |       | 14.68

Nlocal:            427 ave         428 max         426 min
"""


def test_the_breakdown_is_that_of_the_last_loop():
    earlier = BREAKDOWN.replace("0.1579 ", "0.9999 ").replace("18.3%", "99.9%")
    parts = loop_parts(earlier + BREAKDOWN)
    assert parts is not None
    assert parts.seconds == {
        "pair": 0.02941, "neigh": 0.0, "comm": 0.1579, "output": 3.3635e-05, "modify": 0.00017356, "other": 0.03225
    }  # fmt: skip
    assert (parts.pair_imbalance, parts.cpu_use) == pytest.approx((1.2, 0.183))
    assert loop_parts("Loop time of 1 on 1 procs for 1 steps with 1 atoms\n") is None
