"""How many cores and ranks a job may use, by SLURM's and our own variables."""

from __future__ import annotations

import os

import pytest

from gst_jobflow.base.cores import cores, cores_of_all_nodes, mpi_ranks
from gst_jobflow.base.errors import InputError

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("variables", "expected_cores", "expected_ranks"),
    [
        ({}, ALL, ALL),
        ({"GST_CORES": "3"}, 3, 3),
        # a shell on a login node may have some of them: without a job they mean nothing
        ({"SLURM_NTASKS": "64", "SLURM_TASKS_PER_NODE": "64"}, ALL, ALL),
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "4(x2),1", "SLURM_CPUS_ON_NODE": "4"}, 4, 9),
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "1", "SLURM_CPUS_PER_TASK": "8"}, 8, 1),
        # whole nodes whose cores have two hardware threads
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "128(x4)", "SLURM_CPUS_ON_NODE": "256"}, 128, 512),
        # one core of a node that gives whole cores
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "1", "SLURM_CPUS_ON_NODE": "2"}, 1, 1),
        ({"SLURM_JOB_ID": "1"}, 1, 1),
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "4", "GST_CORES": "2"}, 2, 2),
    ],
)
def test_a_job_uses_what_it_was_given(variables: dict[str, str], expected_cores: int, expected_ranks: int) -> None:
    assert (cores(variables), mpi_ranks(variables)) == (expected_cores, expected_ranks)


@pytest.mark.parametrize(
    ("variables", "held"),
    [
        ({}, ALL),
        ({"GST_CORES": "3"}, 3),
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "128(x4)", "SLURM_CPUS_ON_NODE": "256"}, 512),
        ({"SLURM_JOB_ID": "1", "SLURM_TASKS_PER_NODE": "4(x2),1", "SLURM_CPUS_PER_TASK": "2"}, 18),
    ],
)
def test_a_job_holds_the_cores_of_all_its_nodes(variables: dict[str, str], held: int) -> None:
    assert cores_of_all_nodes(variables) == held


@pytest.mark.parametrize("text", ["0", "many", "-1"])
def test_an_invalid_number_of_cores_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="GST_CORES"):
        cores({"GST_CORES": text})
