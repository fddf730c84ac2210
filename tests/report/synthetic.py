"""Invented documents of a whole study, to look at and to test pages with. Nothing in here was computed."""

from __future__ import annotations

import gzip
import io
import json
from datetime import timedelta
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.analysis.averages import Mean
from gst_jobflow.analysis.series import SeriesWriter
from gst_jobflow.analysis.validation import REFERENCE, LocalStructure, ValidationPlan, structure_differences
from gst_jobflow.documents import (
    ActiveSet,
    Attempt,
    Cost,
    Cycle,
    Dataset,
    Kick,
    Label,
    Member,
    Operation,
    Potential,
    PotentialArtifacts,
    Rmse,
    RmseOfType,
    Study,
    Trajectory,
    now,
    pack,
)
from gst_jobflow.evaluation.robustness import interval
from gst_jobflow.evaluation.scaling import NUMBERS
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document

STUDY_ID = "synthetic-study"
CYCLE_ID = "synthetic-cycle"
POTENTIAL_ID = "synthetic-potential"
FINGERPRINT = "tblite:0123456789abcdef"
FORMULAS = ("Ge2Sb2Te5", "Ge1Sb2Te4", "Sb2Te3")
METHOD = {"code": "tblite", "version": "0.8.0", "parameters": {"method": "GFN1-xTB"}}
VERSIONS = {"LAMMPS": "22 Jul 2025", "pacemaker": "0.4.0rc1"}


def random_atoms(formula: str, units: int, rng: np.random.Generator) -> Atoms:
    """`units` formula units on a jittered grid: no structure of anything, but no two atoms at one place."""
    symbols = rng.permutation(units * Atoms(formula).get_chemical_symbols())
    n_atoms = len(symbols)
    side = int(np.ceil(n_atoms ** (1 / 3)))
    sites = np.array(np.meshgrid(*3 * [np.arange(side)])).reshape(3, -1).T[:n_atoms]
    positions = 3.1 * sites + rng.normal(0, 0.25, (n_atoms, 3))
    return Atoms(symbols, positions=positions, cell=np.full(3, 3.1 * side), pbc=True)


def device_atoms(disorder: float, rng: np.random.Generator) -> Atoms:
    """Rock-salt GeTe with some Sb, 7 x 7 x 14 sites, displaced by `disorder` Å."""
    from ase.build import bulk

    atoms = bulk("GeTe", "rocksalt", 6.0, cubic=True).repeat((3, 3, 6))
    symbols = np.array(atoms.get_chemical_symbols())
    symbols[(symbols == "Ge") & (np.random.default_rng(5).random(len(symbols)) < 0.5)] = "Sb"
    atoms.set_chemical_symbols(symbols)
    atoms.positions += rng.normal(0, disorder, atoms.positions.shape)
    return atoms


def _label(structure: Any, rng: np.random.Generator, failed: bool) -> Label:
    common = {
        "_id": Label.id_for(structure.id, FINGERPRINT),
        "structure_id": structure.id,
        "fingerprint": FINGERPRINT,
        "method": METHOD,
        "formula": structure.formula,
        "config_type": structure.config_type,
        "n_atoms": structure.n_atoms,
        "wall_s": 1.5,
    }
    if failed:
        return Label(state="failed", failure_class="not_converged", reason="SCF: 250 cycles <b>", **common)
    forces = rng.normal(0, 1.5, (structure.n_atoms, 3))
    return Label(
        state="converged",
        energy_eV=-3.2 * structure.n_atoms,
        energy_per_atom_eV=-3.2 + rng.gamma(2, 0.12),
        forces=pack(forces),
        max_force_eV_A=float(np.linalg.norm(forces, axis=1).max()),
        **common,
    )


def add_training(results: Results, rng: np.random.Generator) -> tuple[Dataset, int]:
    """Structures, labels and the dataset; the dataset and how many labels failed."""
    structures = []
    for index in range(66):
        formula = FORMULAS[index % 3]
        kind = "hard_sphere" if index < 48 else "melt_quench"
        atoms = random_atoms(formula, 1 + index % 4, rng)
        structures.append(structure_document(atoms, kind, tags=[f"study:{STUDY_ID}"], source={"builder": "synthetic"}))
    results.add_many(structures)
    labels = [_label(structure, rng, failed=index % 16 == 5) for index, structure in enumerate(structures)]
    results.add_many(labels)
    # member files are in the order of label ids
    good = sorted((label for label in labels if label.state == "converged"), key=lambda label: label.id)
    splits = ["test" if index % 5 == 0 else "train" for index in range(len(good))]
    lines = "".join(
        json.dumps({"label_id": x.id, "structure_id": x.structure_id, "config_type": x.config_type, "split": split})
        + "\n"
        for x, split in zip(good, splits, strict=True)
    )
    by_type: dict[str, dict[str, int]] = {"train": {}, "test": {}}
    for label, split in zip(good, splits, strict=True):
        by_type[split][label.config_type] = by_type[split].get(label.config_type, 0) + 1
    dataset = Dataset(
        _id="synthetic-dataset",
        name="synthetic",
        fingerprint=FINGERPRINT,
        elements=["Ge", "Sb", "Te"],
        n_members=len(good),
        n_atoms=sum(label.n_atoms for label in good),
        counts={split: splits.count(split) for split in ("train", "test")},
        counts_by_config_type=by_type,
        reference_energies_eV={"Ge": -40.1, "Sb": -60.2, "Te": -80.3},
        reference_energies_source="invented",
        split={"rule": "groups", "fraction": 0.2, "seed": 11},
        members=results.artifacts.put_bytes(gzip.compress(lines.encode(), mtime=0), "members.jsonl.gz"),
    )
    results.add(dataset)
    return dataset, len(labels) - len(good)


def parity_bytes(dataset: Dataset, rng: np.random.Generator) -> bytes:
    """parity.npz as fitting writes it."""
    kinds, splits = [], []
    for split, counts in dataset.counts_by_config_type.items():
        for kind, count in counts.items():
            kinds += [kind] * count
            splits += [split] * count
    energy = rng.normal(-3.0, 0.3, len(kinds))
    force_kinds, force_splits = np.repeat(kinds, 60), np.repeat(splits, 60)
    force = rng.normal(0, 2.0, len(force_kinds))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        energy_ref=energy,
        energy_pred=energy + rng.normal(0, 0.018, len(energy)),
        config_type=np.array(kinds),
        split=np.array(splits),
        name=np.array([str(index) for index in range(len(kinds))]),
        force_ref=force,
        force_pred=force + rng.normal(0, 0.135, len(force)),
        force_config_type=force_kinds,
        force_split=force_splits,
    )
    return buffer.getvalue()


def add_potential(results: Results, dataset: Dataset, rng: np.random.Generator, name: str = "GST demo") -> Potential:
    """A potential with errors 18.25 meV/atom and 135.5 meV/Å on test."""
    artifacts = results.artifacts
    by_type = {
        split: {
            kind: RmseOfType(energy_meV_per_atom=15.0 + place, force_meV_per_A=120.0 + place, n_structures=count)
            for place, (kind, count) in enumerate(counts.items())
        }
        for split, counts in dataset.counts_by_config_type.items()
    }
    potential = Potential(
        _id=POTENTIAL_ID,
        name=name,
        dataset_id=dataset.id,
        elements=["Ge", "Sb", "Te"],
        n_densities=3,
        n_functions=180,
        n_parameters=738,
        cutoff_A=6.0,
        rmse={
            "train": Rmse(energy_meV_per_atom=14.5, force_meV_per_A=121.0),
            "test": Rmse(energy_meV_per_atom=18.25, force_meV_per_A=135.5),
        },
        rmse_by_config_type=by_type,
        active_set=ActiveSet(atoms="well_fitted", max_gamma=93.4, share_above_1=0.012, n_atoms=5000),
        config={
            "functions": {"number_of_functions_per_element": 70},
            "embedding": {"fs_parameters": [1, 1, 1, 0.5, 1, 0.75]},
        },
        artifacts=PotentialArtifacts(
            yaml=artifacts.put_bytes(b"synthetic yaml", "output_potential.yaml"),
            yace=artifacts.put_bytes(b"synthetic yace", "output_potential.yace"),
        ),
        files=[artifacts.put_bytes(parity_bytes(dataset, rng), "parity.npz")],
        cost=Cost.of(212.0, 2),
        seed=42,
        versions=VERSIONS,
        job_uuid="job-fit",
    )
    results.add(potential)
    return potential


def _ramp(time: np.ndarray, peak: float, end: float, pulse_ps: float) -> np.ndarray:
    heating = 300 + (peak - 300) * time / pulse_ps
    cooling = peak + (end - peak) * (time - pulse_ps) / (time[-1] - pulse_ps)
    return np.where(time < pulse_ps, heating, cooling)


def _trajectory(
    index: int, kind: str, duration_ps: float, ids: tuple[str, str], rng: np.random.Generator, energy_eV: float = 0.0
) -> Trajectory:
    time = np.linspace(0, duration_ps, 120)
    if kind == "RESET":
        temperature, fraction = (
            _ramp(time, 1250, 320, 0.4 * duration_ps),
            np.clip(1 - time / (0.4 * duration_ps), 0.12, 1),
        )
    else:
        temperature, fraction = np.full(len(time), 600.0), 0.12 + 0.6 * time / duration_ps
    temperature = temperature + rng.normal(0, 12, len(time))
    frames = time[::10]
    z = np.linspace(2, 34, 9)
    slope = 1.5 - z / z.max()
    profile = [
        [None if place == 0 and frame == 0 else float(300 + (value - 300) * slope[place]) for place in range(len(z))]
        for frame, value in enumerate(temperature[::10])
    ]
    n_kicks = 5
    kicks = [
        Kick(time_ps=2.0 * kick, asked_eV=energy_eV / n_kicks, added_eV=energy_eV / n_kicks) for kick in range(n_kicks)
    ]
    return Trajectory(
        _id=f"synthetic-{index}",
        name=f"{kind} of demo",
        protocol=kind,
        stages=[{"kind": "pulse", "energy_eV": energy_eV}]
        if energy_eV
        else [{"kind": "anneal", "temperature_K": 600.0}],
        potential_id=POTENTIAL_ID,
        cycle_id=CYCLE_ID,
        operation_index=index,
        start_structure_id=ids[0],
        final_structure_id=ids[1],
        formula="Ge1Sb2Te4",
        n_atoms=432,
        state="finished",
        timestep_fs=2.0,
        n_steps=round(duration_ps * 500),
        duration_ps=duration_ps,
        n_frames=len(frames),
        seed=100 + index,
        asked_energy_eV=energy_eV or None,
        added_energy_eV=energy_eV * 1.0001 if energy_eV else None,
        kicks=kicks if energy_eV else [],
        max_temperature_K=float(temperature.max()),
        final_temperature_K=float(temperature[-1]),
        crystalline_fraction=float(fraction[-1]),
        thermo={
            "time_ps": time.tolist(),
            "potential_eV": (-1500 + 0.06 * temperature - 20 * fraction).tolist(),
            "temperature_K": temperature.tolist(),
        },
        analysis={
            "crystalline": {
                "time_ps": frames.tolist(),
                "fraction": fraction[::10].tolist(),
                "method": "polyhedral template matching of Te",
                "z_A": z.tolist(),
                "fraction_by_z": [[float(np.clip(f * (0.6 + x / 60), 0, 1)) for x in z] for f in fraction[::10]],
            },
            "temperature_profile": {"z_A": z.tolist(), "time_ps": frames.tolist(), "temperature_K": profile},
        },
        cost=Cost.of(95.0, 2),
        us_per_atom_step=31.5,
        versions=VERSIONS,
        job_uuid=f"job-{index}",
    )


def add_cycle(results: Results, rng: np.random.Generator, name: str = "demo cell") -> Cycle:
    """RESET → SET → RESET; pulses of 320 and 180 eV."""
    cells = [
        structure_document(device_atoms(d, rng), "device", tags=[f"study:{STUDY_ID}"]) for d in (0.05, 0.7, 0.25, 0.6)
    ]
    results.add_many(cells)
    plan = (("RESET", 20.0, 320.0), ("SET", 60.0, 0.0), ("RESET", 24.0, 180.0))
    operations = []
    for index, (kind, duration_ps, energy_eV) in enumerate(plan):
        run = _trajectory(index, kind, duration_ps, (cells[index].id, cells[index + 1].id), rng, energy_eV)
        results.add(run)
        operations.append(
            Operation(
                kind=kind,
                state="finished",
                stages=run.stages,
                trajectory_id=run.id,
                duration_ps=duration_ps,
                asked_energy_eV=energy_eV,
                added_energy_eV=run.added_energy_eV,
                heated_atoms=128 if energy_eV else None,
                max_temperature_K=run.max_temperature_K,
                final_temperature_K=run.final_temperature_K,
                crystalline_fraction=run.crystalline_fraction,
            )
        )
    cycle = Cycle(
        _id=CYCLE_ID,
        name=name,
        device="cross-point",
        formula="Ge1Sb2Te4",
        n_atoms=432,
        groups={"mobile": [73, 432], "barrier": [1, 72]},
        potential_id=POTENTIAL_ID,
        structure_id=cells[0].id,
        state="finished",
        operations=operations,
        seed=7,
    )
    results.add(cycle)
    return cycle


def add_attempts(results: Results) -> None:
    """Four executions; the fit was lost once and ran again. One execution belongs to another study."""
    start = now()
    rows = (
        ("label", 1, 1, "finished", ""),
        ("fit", 2, 1, "lost", "the process is gone"),
        ("fit", 2, 2, "finished", ""),
        ("cycle", 3, 1, "finished", ""),
        ("not ours", 99, 1, "failed", "of another study"),
    )
    for place, (name, fw_id, number, state, reason) in enumerate(rows):
        results.add(
            Attempt(
                _id=f"synthetic-attempt-{place}",
                job_uuid=f"job-{name}",
                job_name=name,
                fw_id=fw_id,
                number=number,
                state=state,
                host="node-1",
                pid=1000 + place,
                process_started=0.0,
                directory="runs/x",
                started_at=start + timedelta(seconds=place),
                ended_at=start + timedelta(seconds=place + 30),
                reason=reason,
            )
        )


def add_study(results: Results, name: str = "Demo: Ge-Sb-Te in miniature", parts: tuple[str, ...] = ("all",)) -> Study:
    """A study of everything above, or with `parts=()` one that has only just begun."""
    members = []
    if parts:
        rng = np.random.default_rng(1)
        dataset, _ = add_training(results, rng)
        potential = add_potential(results, dataset, rng)
        cycle = add_cycle(results, rng)
        add_attempts(results)
        members = [
            Member(collection="datasets", id=dataset.id),
            Member(collection="potentials", id=potential.id),
            Member(collection="cycles", id=cycle.id),
        ]
    study = Study(
        _id=STUDY_ID,
        name=name,
        kind="demo",
        state="finished" if parts else "running",
        plan={"seed": 1, "compositions": list(FORMULAS), "fit": {"n_functions": 180}},
        members=members,
        workflow_ids=[1, 2, 3],
    )
    results.add(study)
    return study


def add_ablation(results: Results, shares: tuple[float, ...] = (1.0, 0.5, 0.0), **changes: Any) -> Study:
    """An ablation of the share of random structures, whose fits survive 12, 8 and 1 of 12 hot melts."""
    table, members = [], []
    for place, share in enumerate(shares):
        potential = Potential(
            _id=f"ablation-fit-{place}",
            name=f"shares-{share:g}",
            elements=["Ge", "Sb", "Te"],
            n_densities=3,
            n_functions=3000,
            cutoff_A=8.0,
            artifacts=PotentialArtifacts(yace=results.artifacts.put_bytes(b"synthetic yace", "output_potential.yace")),
        )
        results.add(potential)
        members.append(Member(collection="potentials", id=potential.id, role="fit"))
        low, high = interval((12, 8, 1)[place], 12)
        table.append({
            "random_share": share, "functions": 3000, "test_energy_meV_per_atom": 18.5 - place,
            "test_force_meV_per_A": 135.25 - place, "relative_speed": 1.0 + 0.125 * place,
            "success": (12, 8, 1)[place] / 12, "success_low": low, "success_high": high,
        })  # fmt: skip
    plan = {"dataset_id": "synthetic-dataset", "vary": {}, "random_shares": {f"{share:g}": "d" for share in shares}}
    given = {
        "name": "shares",
        "kind": "ablation",
        "state": "finished",
        "plan": plan,
        "members": members,
        "table": table,
    }
    study = Study(**{"_id": "synthetic-ablation", **given, **changes})
    results.add(study)
    return study


def add_melts(results: Results, id: str, potential_id: str, successes: int, **plan: Any) -> Study:
    """A robustness study of one potential: ten runs of two compositions, of which the first `successes` succeed."""
    runs, compositions = 10, ("GeTe", "Sb2Te3")
    written = {"compositions": list(compositions), "runs": 5, "n_atoms": 60, "temperature_K": 3000.0} | plan
    table = []
    members = [Member(collection="potentials", id=potential_id, role="tested")]
    for index in range(runs):
        outcome = "success" if index < successes else "lost atoms"
        found = {"study_id": id, "potential_id": potential_id, "formula": compositions[index % 2], "outcome": outcome}
        run = Trajectory(
            _id=f"{id}-{index}", name=f"robustness {index}", protocol="robustness", stages=[], state="finished",
            potential_id=potential_id, formula=compositions[index % 2], n_atoms=60, timestep_fs=2.0, n_steps=100,
            duration_ps=0.2, n_frames=1, seed=index, analysis={"robustness": found},
        )  # fmt: skip
        results.add(run)
        members.append(Member(collection="trajectories", id=run.id, role="run"))
    name = results.get(Potential, potential_id).name
    low, high = interval(successes, runs)
    table = [{"potential_id": potential_id, "potential": name, "composition": "all", "planned": runs, "runs": runs,
              "successes": successes, "fraction": successes / runs, "low": low, "high": high}]  # fmt: skip
    study = Study(_id=id, name=id, kind="robustness", state="finished", plan=written, members=members, table=table)
    results.add(study)
    return study


def add_analyses(results: Results, cycle: Cycle) -> None:
    """Analyses of first and last frames of a synthetic cycle: k-bar, two grains, growth, gamma."""
    rng = np.random.default_rng(3)
    n_atoms = cycle.n_atoms
    label = np.where(np.arange(n_atoms) < 200, 1.0, np.where(np.arange(n_atoms) < 300, 2.0, 0.0))
    grains = {
        "grain": label, "grain.atoms": np.array([200.0, 100.0]), "grain.diameter_A": np.array([18.0, 14.0]),
        "grain.orientation": np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, np.sin(np.pi / 8), np.cos(np.pi / 8)]]),
    }  # fmt: skip
    for run in (results.get(Trajectory, each.trajectory_id) for each in cycle.operations):
        for name, numbers, arrays in (
            ("k-bar", [{"k_bar_mean": 0.8}] * 3, {"k_bar": rng.random(n_atoms)}),
            ("grains", [{"n_grains": number} for number in (1, 3, 2)], grains),
            ("growth", [{"new_atoms": 90, "grown_atoms": 60, "nucleated_atoms": 30, "growth_share": 2 / 3}] * 3,
             {"origin": rng.integers(0, 5, n_atoms).astype(float)}),
            ("gamma", [{"gamma_max": 2.5, "gamma_above_1": 0.125}] * 3, {}),
        ):  # fmt: skip
            writer = SeriesWriter(results, run, name, {"definition": "invented", "parameters": {}, "versions": {}})
            for share, row in zip((0.0, 0.5, 1.0), numbers, strict=True):
                step = round(share * run.n_steps)
                writer.put(step, {"step": step, "time_ps": share * run.duration_ps, **row}, arrays)


def add_scaling(results: Results, id: str = "synthetic-scaling", mode: str = "size", **changes: Any) -> Study:
    """A scaling study of two potentials on one rank with three sizes; the largest cell is too large for the second."""
    table = []
    for name, speed_us in (("fast", 10.0), ("slow", 200.0)):
        for n_atoms in (1000, 8000, 64000):
            lost = name == "slow" and n_atoms == 64000
            row = dict.fromkeys(NUMBERS) | {
                "mode": mode, "potential": name, "potential_id": None, "pair_style": "pace", "nodes": 0, "ranks": 1,
                "asked_atoms": n_atoms, "n_atoms": n_atoms, "state": "out_of_memory" if lost else "measured",
                "efficiency": None, "reason": "", "repeats": 0 if lost else 3,
            }  # fmt: skip
            if not lost:
                row |= {"us_per_atom_step": speed_us, "us_per_atom_step_low": 0.8 * speed_us, "cpu_use": 1.0,
                        "core_us_per_atom_step": speed_us,
                        "us_per_atom_step_high": 1.25 * speed_us, "steps_per_day": 86400e6 / (speed_us * n_atoms),
                        "comm_share": 0.03, "pair_imbalance": 1.02, "memory_B_per_atom": 900.0, "processor": "X",
                        "peak_rss_MB": 100 + n_atoms // 1100, "load": 0.5, "host": "node-1"}  # fmt: skip
            table.append(row)
    plan = {"mode": mode, "composition": "Ge1Sb2Te4", "repeats": 3}
    given = {"name": id, "kind": "scaling", "state": "finished", "plan": plan, "table": table}
    study = Study(**{"_id": id, **given, **changes})
    results.add(study)
    return study


def add_validation(results: Results, id: str = "synthetic-validation", formulas: tuple[str, ...] = ("SbTe",)) -> Study:
    """A validation of two potentials: "near" is the reference within errors, "far" has longer Sb-Te bonds."""
    table: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    names = {"p-near": "near", "p-far": "far"}
    for formula in formulas:
        there = _local_structure(2.9, 0.0)
        arrays |= there.named(formula, REFERENCE)
        for (potential_id, name), own in zip(
            names.items(), (_local_structure(2.9, 0.01), _local_structure(3.2, 0.3)), strict=True
        ):
            arrays |= own.named(formula, potential_id)
            head = {"potential_id": potential_id, "potential": name, "composition": formula, "runs": 3, "frames": 60}
            table += [{**head, "errors_between_runs": True, **row} for row in structure_differences(there, own)]
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    described = {"fingerprint": FINGERPRINT, "runs": 3, "frames": 60, "errors_between_runs": True, "n_atoms": [40],
                 "density_g_cm3": 5.8, "temperature_K": 300.0, "bonds_A": {"Sb-Te": 3.4, "Te-Te": None}}  # fmt: skip
    study = Study(
        _id=id, name="validation", kind="validation", state="finished", table=table,
        plan=ValidationPlan(compositions=list(formulas)).model_dump(mode="json"),
        outcome={"references": {formula: described for formula in formulas}},
        files=[results.artifacts.put_bytes(stream.getvalue(), "curves.npz")],
    )  # fmt: skip
    results.add(study)
    return study


def _local_structure(bond_A: float, more: float) -> LocalStructure:
    """Curves with one peak, and numbers of which those of the reference are 3 and 0.1."""
    r, deg = np.arange(0.025, 10, 0.05), np.arange(0.5, 180, 1.0)
    values: dict[str, Mean] = {"rdf.total": Mean(np.ones_like(r), np.full_like(r, 0.02))}
    for pair, height in (("Sb-Sb", 1.0), ("Sb-Te", 3.0), ("Te-Te", 1.2)):
        peak = height * np.exp(-((r - bond_A) ** 2) / 0.08) + (r > bond_A)
        values[f"rdf.{pair}"] = Mean(peak, np.full_like(r, 0.05))
    for place, element in enumerate(("Sb", "Te")):
        curve = 0.02 * np.exp(-((deg - 92 - 4 * place - 20 * more) ** 2) / 200)
        values[f"angles.{element}"] = Mean(curve, np.full_like(deg, 0.0005))
    for name in ("coordination_Sb_Sb", "coordination_Sb_Te", "coordination_Te_Sb", "coordination_Te_Te"):
        values[name] = Mean(np.array(3.0 + more), np.array(0.06))
    for name in ("homopolar_share", "tetrahedral_Sb", "tetrahedral_Te"):
        values[name] = Mean(np.array(0.1 + 0.1 * more), np.array(0.01))
    # of frames without straight pairs, the ratio cannot be told
    values |= {"bond_length_ratio": Mean(np.array(np.nan), np.array(np.nan)),
               "squares_per_atom": Mean(np.array(0.3 + more), np.array(np.nan))}  # fmt: skip
    return LocalStructure(values, {"rdf.r_A": r, "angles.deg": deg}, 60, True)
