"""`gst submit`: put work on the launchpad."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gst_jobflow.cli import submit_aimd
from gst_jobflow.cli.common import check_name, open_project, parse_assignments, read_yaml, say
from gst_jobflow.cli.submit_flow import Estimate, Yes, choose_asked, submit_flow

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.documents import Potential
    from gst_jobflow.fitting.config import FitConfig
    from gst_jobflow.fitting.grace import GraceConfig
    from gst_jobflow.labelling.backend import LabelBackend

app = typer.Typer(no_args_is_help=True, help="Put work on the launchpad; `gst launch` (or rlaunch) runs it.")

Where = Annotated[
    list[str] | None, typer.Option("--where", "-w", help="Which structures, as in gst query: 'config_type=crystal'.")
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="A field of the backend's settings, e.g. electronic_temperature_K=2000 (repeatable)."
    ),
]
FitOption = Annotated[
    list[str] | None, typer.Option("--option", help="A field of the fit, e.g. loss.kappa=0.3 (repeatable).")
]
GST = ("Ge", "Sb", "Te")
Backend = Annotated[
    str,
    typer.Option(
        help="What labels: vasp, cp2k, tblite, or ase with --option calculator=package.module:Name; mace, grace, "
        "chgnet and what other packages offer go by name."
    ),
]
Functional = Annotated[
    str | None, typer.Option(help="Of vasp: PBE, PBEsol, RPBE or r2SCAN; each is a method of its own.")
]

app.command("aimd")(submit_aimd.command)


@app.callback()
def _options(
    ask: Annotated[
        list[str] | None,
        typer.Option(
            "--ask",
            help="What its SLURM jobs ask, over the settings: nodes=8 for all, md.walltime=24:00:00 for a category.",
        ),
    ] = None,
) -> None:
    choose_asked(ask or [])


@app.command()
def label(
    backend: Backend,
    where: Where = None,
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="Structures a job, on average: jobs cost the same. 20 or more: at most 400 jobs."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Compute failed labels again.")] = False,
    functional: Functional = None,
    option: Options = None,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Label structures: energies, forces and stress of one method. Those it has labelled are skipped.

    Example: gst submit label --backend cp2k -w "tags=iter-0 n_atoms<=24"
    """
    from jobflow import Flow

    from gst_jobflow.base.errors import InputError
    from gst_jobflow.labelling.cost import cost_model
    from gst_jobflow.labelling.maker import LabelMaker, chunks
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.query import make_query

    project = open_project()
    chosen = _backend(project, backend, functional, option)
    query = make_query("structures", where or [])
    database = connect(project)
    found = list(database["structures"].find(query.where, {"n_atoms": 1}).sort("_id", 1))
    if not found:
        raise InputError("no structure matches", "gst query structures shows what there is; gst structures makes some")
    maker = LabelMaker(chosen, retry_failed=retry_failed)
    costs = cost_model(database, chosen).costs([each["n_atoms"] for each in found])
    jobs = [maker.make(part) for part in chunks([each["_id"] for each in found], chunk, costs)]
    for number, job in enumerate(jobs, 1):
        job.name = f"label {backend} {number}"
    what = f"{len(found)} structures in {len(jobs)} jobs"
    submit_flow(Flow([*jobs], name=f"label {backend}"), project, what, only_estimate=estimate, yes=yes)


def _backend(project: Project, name: str, functional: str | None, option: list[str] | None) -> LabelBackend:
    from gst_jobflow.labelling.choose import backend_of

    options = parse_assignments(option or [], "--option")
    return backend_of(name, project, {**options, "functional": functional} if functional else options)


@app.command()
def dataset(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    backend: Annotated[
        str | None, typer.Option(help="The labels of vasp, cp2k or tblite, as `label` makes them.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="The labels of this method instead: gst query labels shows fingerprints.")
    ] = None,
    where: Where = None,
    test_fraction: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the test set.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    functional: Functional = None,
    option: Options = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Weight of a config_type, e.g. crystal=2 (repeatable).")
    ] = None,
) -> None:
    """Make a dataset of the labels that a backend gave to structures.

    Example: gst submit dataset iter-0 --backend cp2k -w tags=iter-0 --weight crystal=2
    """
    from gst_jobflow.base.errors import InputError
    from gst_jobflow.datasets.maker import DatasetMaker
    from gst_jobflow.datasets.split import SplitSpec
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.query import make_query

    check_name(name)
    project = open_project()
    if (backend is None) == (fingerprint is None):
        raise InputError("whose labels?", "give either --backend or --fingerprint")
    if backend is not None:
        fingerprint = _backend(project, backend, functional, option).method().fingerprint()
    weights = _weights(weight or [])
    number = make_query("structures", where or []).count(connect(project))
    if not number:
        raise InputError("no structure matches", "gst query structures shows what there is; gst structures makes some")
    split = SplitSpec(test_fraction=test_fraction, seed=seed)
    maker = DatasetMaker(dataset_name=name, split=split, config_type_weights=weights)
    what = f"dataset {name} of {number} structures labelled by {fingerprint}"
    submit_flow(maker.make([], fingerprint, where or []), project, what)


@app.command()
def fit(
    dataset_id: Annotated[str | None, typer.Argument(help="Id of the dataset, or its beginning.")] = None,
    name: Annotated[str, typer.Option(help="Name of the potential.")] = "potential",
    preset: Annotated[
        str | None,
        typer.Option(help="gst-ace-24 (size of the paper's), small or linear; default: the parent's, else small."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with fields of the fit, over the preset.")] = None,
    option: FitOption = None,
    model: Annotated[str, typer.Option(help="ace, or grace: GRACE/FS by gracemaker, with fields of its own.")] = "ace",
    solver: Annotated[str | None, typer.Option(help="pacemaker, or linear: P = 1 in seconds.")] = None,
    parent: Annotated[str | None, typer.Option(help="Id of a potential to start from.")] = None,
    first_guess: Annotated[
        bool, typer.Option("--first-guess", help="Fit a linear potential first, and start from it.")
    ] = False,
    upfit: Annotated[
        float | None,
        typer.Option(
            metavar="KAPPA", help="Afterwards, upfit with force weight KAPPA; with --parent, run only the upfit."
        ),
    ] = None,
    ensemble: Annotated[int, typer.Option(min=1, help="Fit this many, which differ in seed and weights.")] = 1,
    show_config: Annotated[bool, typer.Option("--show-config", help="Print all fields, and submit nothing.")] = False,
) -> None:
    """Fit an ACE potential to a dataset with pacemaker, or a GRACE/FS potential with gracemaker.

    Examples: gst submit fit 4f0c… --preset gst-ace-24 --name GST-ACE --upfit 0.1; gst submit fit 4f0c… --solver linear;
    gst submit fit 4f0c… --parent 81b2… --upfit 0.05; gst submit fit --preset small --show-config > fit.yaml; gst submit
    fit 4f0c… --model grace --name GST-GRACE
    """
    from gst_jobflow.base.errors import InputError
    from gst_jobflow.cli.fit_options import as_commented_yaml, fit_config, grace_config, is_grace
    from gst_jobflow.documents import Dataset, Potential
    from gst_jobflow.flows.fit import FitFlowMaker
    from gst_jobflow.store import Results
    from gst_jobflow.store.lineage import locate

    check_name(name)
    values = (read_yaml(config), str(config)) if config is not None else ({}, "")
    options = parse_assignments(option or [], "--option")
    grace = is_grace(model, preset, solver, parent, first_guess, upfit, ensemble)

    def settings_for(elements: tuple[str, ...], start: Potential | None = None) -> FitConfig | GraceConfig:
        if grace:
            return grace_config(elements, values, options)
        found = fit_config(elements, preset, start, values, options, solver)
        return found.upfit(upfit) if start is not None and upfit is not None else found

    if show_config and dataset_id is None and parent is None:
        typer.echo(as_commented_yaml(settings_for(GST)), nl=False)
        return
    if dataset_id is None:
        raise InputError("no dataset to fit to", "gst query datasets lists ids; gst dataset create makes one")
    project = open_project()
    results = Results.open(project)
    found = results.get(Dataset, locate(results.database, dataset_id, "datasets")[1])
    start = None if parent is None else results.get(Potential, locate(results.database, parent, "potentials")[1])
    chosen = settings_for(tuple(found.elements), start)
    if show_config:
        typer.echo(as_commented_yaml(chosen), nl=False)
        return
    # with a parent, the upfit is the only stage
    kappa = upfit if start is None else None
    maker = FitFlowMaker(
        potential_name=name, config=chosen, first_guess=first_guess, upfit_kappa=kappa, ensemble=ensemble
    )
    flow = maker.make(found.id, None if start is None else start.id)
    fits = f"{ensemble} fits" if ensemble > 1 else "GRACE/FS fit" if grace else "fit"
    submit_flow(flow, project, f"{fits} {name} to dataset {found.name} ({found.counts['train']} labels)")


@app.command()
def hyperopt(
    dataset_id: Annotated[str | None, typer.Argument(help="Id of the dataset; it needs a test set.")] = None,
    preset: Annotated[str | None, typer.Option(help="xpot-gst: four fields, 32 fits of which 8 explore.")] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file: fields with low, high, scale or choices.")] = None,
    fit: Annotated[str, typer.Option(help="Preset of the fits: gst-ace-24, small or linear.")] = "gst-ace-24",
    config: Annotated[Path | None, typer.Option(help="YAML file with fields of the fits, over their preset.")] = None,
    fits: Annotated[int | None, typer.Option("--fits", "-n", help="Fits in all.")] = None,
    start: Annotated[int | None, typer.Option(help="Fits at evenly spread points before the first proposal.")] = None,
    at_once: Annotated[int | None, typer.Option(help="Fits at once.")] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Loss: alpha * energy RMSE (meV/atom) + (1 - alpha) * force RMSE (meV/Å).")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Id of a search to continue; --fits may be larger.")] = None,
    name: Annotated[str, typer.Option(help="Name of the search; its potentials are NAME 1, NAME 2, ….")] = "search",
) -> None:
    """Search the settings of a fit: evenly spread ones first, then those that a Gaussian process proposes.

    Each fit is a job and a potential. The file of --space may also hold n_fits, n_start, at_once, seed, objective
    (alpha, speed) and ending (target, patience).

    Example: gst submit hyperopt 4f0c… --preset xpot-gst --at-once 4
    """
    from gst_jobflow.cli.searches import SearchOverrides, go_on, prepare
    from gst_jobflow.store import Results

    project = open_project()
    results = Results.open(project)
    asked = SearchOverrides(fits=fits, start=start, at_once=at_once, alpha=alpha)
    if resume is not None:
        flow, what = go_on(results, resume, asked, [dataset_id, preset, space, config])
    else:
        fit_of = partial(_fit_config, fit, config)
        flow, what = prepare(results, dataset_id, preset, space, fit_of, asked, name)
    submit_flow(flow, project, what)


@app.command()
def ablation(
    dataset_id: Annotated[str, typer.Argument(help="Id of the dataset, or its beginning.")],
    vary: Annotated[
        list[str], typer.Option("--vary", help="A field and its values, e.g. embedding.n_densities=1,2,3 (repeatable).")
    ],
    name: Annotated[str, typer.Option(help="Name of the study.")] = "ablation",
    preset: Annotated[str | None, typer.Option(help="What all fits share: gst-ace-24, small or linear.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with fields of the fit, over the preset.")] = None,
    option: FitOption = None,
) -> None:
    """Fit every combination of a few values; a table of errors and speed says what each is worth.

    Example: gst submit ablation 4f0c… --vary embedding.n_densities=1,2,3 --vary
    functions.number_of_functions_per_element=100,300,1000
    """
    from gst_jobflow.cli.fit_options import fit_config, varied
    from gst_jobflow.documents import Dataset
    from gst_jobflow.flows.ablation import AblationMaker
    from gst_jobflow.store import Results
    from gst_jobflow.store.lineage import locate

    project = open_project()
    results = Results.open(project)
    found = results.get(Dataset, locate(results.database, dataset_id, "datasets")[1])
    values = (read_yaml(config), str(config)) if config is not None else ({}, "")
    base = fit_config(tuple(found.elements), preset, None, values, parse_assignments(option or [], "--option"))
    flow = AblationMaker(study_name=name, config=base, vary=varied(vary)).make(found.id)
    submit_flow(flow, project, f"{len(flow.jobs) - 1} fits to dataset {found.name}")


@app.command("melt-quench")
def melt_quench(
    formula: Annotated[str, typer.Argument(help="Composition, e.g. Ge1Sb2Te4.")],
    potential: Annotated[str, typer.Option(help="Id or name of the potential.")],
    atoms: Annotated[int, typer.Option("--atoms", min=6, help="Atoms in the cell.")] = 252,
    density: Annotated[float, typer.Option(help="g/cm3.")] = 5.9,
    melt: Annotated[float, typer.Option(help="Temperature of the melt, K.")] = 2000.0,
    melt_ps: Annotated[float, typer.Option(help="Time in the melt, ps.")] = 10.0,
    quench_ps: Annotated[float, typer.Option(help="Time to cool to 300 K, ps.")] = 20.0,
    seed: Annotated[int, typer.Option(min=1, help="Seed of start, velocities and thermostat.")] = 1,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Make amorphous material: a random start, melted and quenched by a potential.

    Example: gst submit melt-quench Ge1Sb2Te4 --potential 81b2… --atoms 252 --melt-ps 10 --quench-ps 30
    """
    from gst_jobflow.base.strict import checked
    from gst_jobflow.dynamics.maker import MeltQuenchMaker
    from gst_jobflow.dynamics.stages import Anneal, Quench, Relax, Stage
    from gst_jobflow.structures.composition import atom_counts
    from gst_jobflow.structures.hard_sphere import HardSphereSpec

    start = checked(HardSphereSpec, {"formula": formula, "n_atoms": atoms, "density_g_cm3": density, "seed": seed})
    atom_counts(formula, atoms, start.rounding)
    project = open_project()
    potential = _that_knows(project, potential, formula)
    stages: list[Stage] = [
        Relax(),
        checked(Anneal, {"temperature_K": melt, "duration_ps": melt_ps}),
        checked(Quench, {"start_K": melt, "end_K": 300.0, "duration_ps": quench_ps}),
    ]
    flow = MeltQuenchMaker(start=start, stages=stages, seed=seed).make(potential)
    submit_flow(flow, project, f"melt-quench of {atoms} atoms of {formula}", only_estimate=estimate, yes=yes)


@app.command()
def cycle(
    device: Annotated[str, typer.Argument(help="cross-point or mushroom.")],
    potential: Annotated[str | None, typer.Option(help="Id or name; with --from the potential of the state.")] = None,
    programme: Annotated[
        str | None,
        typer.Option(help="YAML file, or a name: cross-point and mushroom are the paper's; docs/devices.md has all."),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Edges of the cell relative to the programme's; energies per heated atom stay.")
    ] = 1.0,
    state: Annotated[
        str | None,
        typer.Option("--from", help="Go on from CYCLE, CYCLE:OPERATION (counted from 1) or a trajectory."),
    ] = None,
    no_gamma: Annotated[
        bool, typer.Option("--no-gamma", help="Without extrapolation grades, as for a potential without an active set.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, max=100, help="Cycles on one cell that differ in their seeds.")] = 1,
    seed: Annotated[int, typer.Option(min=1, help="Seed of velocities and thermostats.")] = 1,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Run operations (RESET, SET, HOLD, READ) on a device cell; each is a job with its trajectory.

    Example: gst submit cycle mushroom --potential 81b2… --programme mushroom-small
    """
    from gst_jobflow.base.errors import InputError, nearest
    from gst_jobflow.devices.cycle import CycleMaker
    from gst_jobflow.devices.programme import load_programme, scaled
    from gst_jobflow.devices.submit import prepare_cycle
    from gst_jobflow.store import Results
    from gst_jobflow.store.lineage import locate

    if device not in ("cross-point", "mushroom"):
        raise InputError(f"no device '{device}'", nearest(device, ["cross-point", "mushroom"]))
    if state is not None and programme is None:
        raise InputError("which operations?", "--from needs --programme, best of a file without a cell")
    plan = load_programme(programme or device)
    if scale != 1.0:
        plan = scaled(plan, scale)
    if no_gamma:
        plan = plan.model_copy(update={"output": plan.output.model_copy(update={"gamma_every": 0})})
    project = open_project()
    maker = CycleMaker(name=plan.name, plan=plan, seed=seed, replicas=replicas)
    results = Results.open(project)
    if potential is not None:
        potential = locate(results.database, potential, "potentials")[1]
    prepared = prepare_cycle(project, results, maker, device, potential, state)
    for pulse in prepared.pulses:
        say(pulse)
    submit_flow(prepared.flow, project, prepared.what, only_estimate=estimate, yes=yes)


def _that_knows(project: Project, which: str, formula: str) -> str:
    """Return the id of a potential; refuse one that lacks an element of the formula."""
    from gst_jobflow.base.errors import InputError
    from gst_jobflow.documents import Potential
    from gst_jobflow.dynamics.maker import check_kind
    from gst_jobflow.store import Results
    from gst_jobflow.store.lineage import locate
    from gst_jobflow.structures.composition import parse_formula

    results = Results.open(project)
    known = results.get(Potential, locate(results.database, which, "potentials")[1])
    check_kind(known)
    if missing := set(parse_formula(formula)) - set(known.elements):
        raise InputError(
            f"potential {known.id} has no {', '.join(sorted(missing))}; it knows {', '.join(known.elements)}",
            "choose a potential of all elements",
        )
    return known.id


def _fit_config(preset: str, file: Path | None, elements: tuple[str, ...]) -> FitConfig:
    from gst_jobflow.cli.fit_options import fit_config

    return fit_config(elements, preset, values=(read_yaml(file), str(file)) if file is not None else ({}, ""))


def _weights(assignments: list[str]) -> dict[str, float]:
    from typing import get_args

    from gst_jobflow.base.errors import InputError, nearest
    from gst_jobflow.datasets.spec import positive_weights
    from gst_jobflow.documents import ConfigType

    weights: dict[str, float] = {}
    for text in assignments:
        kind, _, value = text.partition("=")
        if kind not in get_args(ConfigType):
            raise InputError(f"--weight {text}: no config_type '{kind}'", nearest(kind, get_args(ConfigType)))
        try:
            weights |= positive_weights({kind: float(value)})
        except ValueError as err:
            raise InputError(f"--weight {text}: {err}", "write config_type=number, e.g. crystal=2") from err
    return weights
