"""Check that the machine on which a flow will run has the programs of its jobs."""

from __future__ import annotations

from collections.abc import Collection

from jobflow import Flow, Job

from gst_jobflow.base.categories import category_of
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.resources import jobs_of
from gst_jobflow.base.settings import Project
from gst_jobflow.devices.work import OperationWork
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.work import RunWork
from gst_jobflow.flows.scaling import ScalingWork
from gst_jobflow.labelling.backend import BackendModel
from gst_jobflow.launch.configs import has_queue
from gst_jobflow.store.work import declared_work


def check_machine(flow: Flow | Job, project: Project, elements: Collection[str] = ()) -> None:
    """Refuse a flow whose programs this machine lacks, unless a queue runs it: its nodes may have them.

    Parameters
    ----------
    elements
        Elements that the flow labels.

    Raises
    ------
    MissingProgramError
        LAMMPS, pacemaker, a command that starts labels, or a POTCAR is missing.
    """
    if has_queue(project.settings.profile):
        return
    jobs, settings = jobs_of(flow), project.settings
    runs, fits = ([job for job in jobs if category_of(job) == category] for category in ("md", "fits"))
    # a fit without LAMMPS goes unchecked, but that of the settings must not do so by mistake
    if runs or (fits and settings.lammps.command):
        # other jobs give each run a core, and no GPU
        in_parallel = any(isinstance(declared_work(job), RunWork | OperationWork | ScalingWork) for job in runs)
        lammps_engine(settings, None if in_parallel else 1)
    if any(not getattr(job.maker, "plugin", "") for job in fits):
        pacemaker_runner(settings)
    backends = [getattr(job.maker, "backend", None) for job in jobs]
    for backend in {id(each): each for each in backends if isinstance(each, BackendModel)}.values():
        backend.check_machine(elements)
