from __future__ import annotations

import shutil

import pytest

from gst_jobflow.base.errors import GstError, MissingProgramError
from gst_jobflow.base.settings import Settings
from gst_jobflow.labelling.cp2k import PROGRAMS
from gst_jobflow.launch import doctor
from gst_jobflow.launch.doctor import Check, CheckContext, CheckEntry, CheckResult, can_run, checks, run_check


def asked(project=None, profile="laptop"):
    return CheckContext(project, project.settings if project else Settings(), profile)


def missing(_):
    raise MissingProgramError("no such program", "install it")


def not_importable(_):
    raise ImportError("No module named 'thing'")


def test_outcome_of_a_check():
    assert run_check(CheckEntry("a", lambda _: CheckResult("there", "1.0"), required=("laptop",)), asked()) == Check(
        "a", True, "there", "1.0", "", True
    )
    assert run_check(CheckEntry("a", missing), asked()) == Check("a", False, "no such program", "", "install it", False)
    failed = run_check(CheckEntry("a", not_importable), asked())
    assert not failed.ok and "thing" in failed.found and failed.fix


def test_only_required_checks_decide():
    assert can_run([Check("a", True, "", required=True), Check("b", False, "")])
    assert not can_run([Check("a", False, "", required=True), Check("b", True, "")])


def test_every_check_of_the_table_has_a_name_of_its_own():
    names = [entry.name for entry in doctor.TABLE]
    assert len(names) == len(set(names))
    assert all(set(entry.required) <= set(entry.shown) for entry in doctor.TABLE)


def test_without_a_project_its_checks_are_not_required(monkeypatch):
    table = tuple(entry for entry in doctor.TABLE if entry.name in ("project", "database", "launchpad", "python"))
    monkeypatch.setattr(doctor, "TABLE", table)
    heard = []
    found = checks(None, tell=heard.append)
    assert [check.name for check in found] == [entry.name for entry in table]
    assert can_run(found) and sorted(check.name for check in heard) == sorted(check.name for check in found)
    database = next(check for check in found if check.name == "database")
    assert database.found == "no project" and "gst init" in database.fix


def test_slurm_profile_asks_for_slurm(monkeypatch):
    monkeypatch.setattr(doctor, "TABLE", tuple(entry for entry in doctor.TABLE if entry.look is doctor.slurm))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert checks(None, "laptop") == []
    (check,) = checks(None, "slurm")
    assert not check.ok and check.required and "sbatch" in check.found


@pytest.mark.mongo
def test_database_checks_pass_on_a_prepared_project(project):
    for look in (
        doctor.project_folder,
        doctor.mongod_program,
        doctor.database,
        doctor.check_launchpad,
        doctor.check_job_store,
    ):
        found = look(asked(project))
        assert found.what
    with pytest.raises(GstError, match="this host only"):
        doctor.reachable_from_nodes(asked(project, "slurm"))


def test_locks_of_other_commands_are_no_secrets(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    for name in ("recover.lock", "queue.lock"):
        (project.private_dir / name).touch(0o644)
    assert doctor.project_folder(asked(project)).what


def test_secret_that_others_may_read(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    (project.private_dir / "credentials.json").chmod(0o644)
    with pytest.raises(GstError, match=r"others may read.*chmod 600"):
        doctor.project_folder(asked(project))


def test_stopped_database_names_the_command(new_project, tmp_path):
    with pytest.raises(GstError, match="gst db up"):
        doctor.database(asked(new_project(tmp_path / "p")))


@pytest.mark.lammps
def test_lammps_runs_a_step_of_both_styles():
    found = doctor.lammps(asked())
    assert "pace/extrapolation" in found.what and found.version


def test_zero_energy_or_grade_is_refused():
    doctor._not_zero("GST-FINISHED energy -1.5 gamma 0.3\n", "pace")
    for text in ("GST-FINISHED energy 0 gamma 1\n", "GST-FINISHED energy -1 gamma 0\n", ""):
        with pytest.raises(GstError):
            doctor._not_zero(text, "pace")


@pytest.mark.pacemaker
@pytest.mark.slow
def test_pacemaker_imports_its_evaluator():
    assert "tensorpotential" in doctor.pacemaker(asked()).what


def test_tblite_computes():
    assert "eV" in doctor.tblite(asked()).what


@pytest.mark.cp2k
@pytest.mark.skipif(not any(shutil.which(name) for name in PROGRAMS), reason="CP2K is not installed")
def test_cp2k_is_found_with_its_data():
    assert doctor.cp2k(asked()).version


def test_vasp_without_command_and_without_potcars(new_project, tmp_path, monkeypatch):
    monkeypatch.delenv("PMG_VASP_PSP_DIR", raising=False)
    with pytest.raises(GstError, match=r"vasp\.command"):
        doctor.vasp(asked())
    potcars = tmp_path / "potcars"
    (potcars / "POT_GGA_PAW_PBE_54").mkdir(parents=True)
    for name in ("Ge_d", "Sb"):
        (potcars / "POT_GGA_PAW_PBE_54" / f"POTCAR.{name}.gz").write_bytes(b"")
    project = new_project(tmp_path / "p", f"vasp: {{command: sh, potcar_dir: '{potcars}'}}\n")
    with pytest.raises(GstError, match="for Te"):
        doctor.vasp(asked(project))
    (potcars / "POT_GGA_PAW_PBE_54" / "POTCAR.Te").write_bytes(b"")
    assert str(potcars) in doctor.vasp(asked(project)).what


def test_program_that_fails_or_is_not_there():
    with pytest.raises(MissingProgramError, match="last words"):
        doctor._output(["sh", "-c", "echo last words >&2; exit 3"])
    with pytest.raises(MissingProgramError, match="does not start"):
        doctor._output(["/nonexistent/program"])


def test_full_disk(monkeypatch):
    monkeypatch.setattr(doctor, "_FREE_DISK_GB", 1e9)
    with pytest.raises(GstError, match="GB free"):
        doctor.disk(asked())
