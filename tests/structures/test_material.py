from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.programme import load_programme
from gst_jobflow.evaluation.robustness import RobustnessPlan
from gst_jobflow.evaluation.scaling import block
from gst_jobflow.evaluation.speed import speed_cell
from gst_jobflow.structures.composition import parse_formula, reduced_formula
from gst_jobflow.structures.crystals import rocksalt, rocksalt_counts, trigonal, trigonal_counts
from gst_jobflow.structures.material import (
    MATERIALS,
    Material,
    OfMaterial,
    default_material,
    load_material,
    shipped_material,
    stored_material,
)

GST, CR = default_material(), shipped_material("cr-sb-te")
SELENIDE = {
    "name": "bi-se",
    "elements": ["Bi", "Se"],
    "anion": "Se",
    "compositions": ["Bi2Se3"],
    "rocksalt_A": 5.8,
    "density_g_cm3": 7.0,
    "volume_per_atom_A3": [20, 32],
    "min_contacts_A": {"Bi-Bi": 2.8, "Bi-Se": 2.6, "Se-Se": 2.2},
}


BISMUTH_SELENIDE = {
    "spacegroup": 166, "a_A": 4.14, "c_A": 28.64, "blocks": 3, "gap_shift": 1 / 6,
    "sites": [["Bi", [0, 0, 0.399]], ["Se", [0, 0, 0]], ["Se", [0, 0, 0.206]]],
}  # fmt: skip
LAYERED = {"spacegroup": 164, "a_A": 4.18, "c_A": 22.8, "blocks": 0, "gap_shift": 0,
           "sites": [["Bi", [0, 0, 0.3]], ["Se", [1 / 3, 2 / 3, 0.1]]]}  # fmt: skip


def written(folder: Path, **changes: object) -> str:
    content = {key: value for key, value in {**SELENIDE, **changes}.items() if value is not None}
    (folder / "own.yaml").write_text(yaml.safe_dump(content))
    return "own.yaml"


def test_the_seven_compositions_run_from_gete_to_sb2te3():
    weights = [GST.cation_weights(formula) for formula in GST.compositions]
    fractions = [each["vacancy"] / (each["vacancy"] + each["Ge"]) for each in weights]
    assert len(fractions) == 7
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[3], fractions[-1]) == (0, pytest.approx(1 / 3), 1)
    assert all(each["Sb"] == 2 * each["vacancy"] for each in weights)


@given(n=st.integers(0, 30), m=st.integers(0, 30))
def test_every_mixture_of_the_ends_is_on_the_line(n, m):
    if n + m:
        formula = reduced_formula(parse_formula(f"{f'(GeTe){n}' if n else ''}{f'(Sb2Te3){m}' if m else ''}"))
        weights = GST.cation_weights(formula)
        assert weights["Ge"] * m == weights["vacancy"] * n
        assert weights["Sb"] == 2 * weights["vacancy"]


@pytest.mark.parametrize(
    "formula", ["Te", "GeTe2", "Ge2Sb2Te4", "GeTeSe", "Ge", "Si1Sb2Te4", "Ge9Te8", "Ge1000Sb1Te1001"]
)
def test_a_formula_off_the_line_is_refused(formula):
    with pytest.raises(InputError, match="not on the GeTe"):
        GST.cation_weights(formula)


def test_without_a_line_any_formula_with_sites_for_its_cations_is_a_crystal():
    assert CR.cation_weights("Cr4Sb32Te48") == {"Cr": 4, "Sb": 32, "vacancy": 12}
    with pytest.raises(InputError, match="more cations than Te"):
        CR.cation_weights("Cr2Sb2Te3")
    with pytest.raises(InputError, match="more cations than Te"):
        CR.cation_weights("Sb")
    with pytest.raises(InputError, match="GeTe has Ge, and cr-sb-te is of Cr, Sb, Te"):
        CR.cation_weights("GeTe")


@pytest.mark.parametrize("name", MATERIALS.names())
def test_shipped_materials_build_their_crystals_and_programmes(name):
    material = shipped_material(name)
    assert material.name == name
    counts = rocksalt_counts(material.formula, (3, 3, 3), material)
    atoms = rocksalt(material.formula, (3, 3, 3), material=material)
    assert Counter(atoms.get_chemical_symbols()) == {e: counts[e] for e in material.elements if counts[e]}
    for compound in material.trigonal:
        built = trigonal(compound, (1, 1, 1), material=material)
        assert Counter(built.get_chemical_symbols()) == trigonal_counts(compound, (1, 1, 1), material=material)
        assert reduced_formula(parse_formula(built.get_chemical_formula())) == compound
    for programme in material.programmes:
        plan = load_programme(programme, material)
        assert (plan.name, plan.cell.material, plan.analyse.material) == (programme, material, material)


def test_a_file_of_another_material_is_read(tmp_path):
    material = load_material(written(tmp_path), tmp_path)
    assert (material.cations, material.formula, material.least_contact_A) == (("Bi",), "Bi2Se3", 2.2)
    assert rocksalt("Bi2Se3", (3, 3, 3), material=material).get_chemical_formula() == "Bi72Se108"
    assert load_material(SELENIDE, tmp_path) == material


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"anoin": "Se"}, "own.yaml: unknown key 'anoin' in Material (did you mean 'anion'?)"),
        ({"elements": ["Bi", "Xe2"]}, "'Xe2' is no element"),
        ({"elements": ["Bi", "Zz"]}, "unknown element 'Zz'"),
        ({"elements": ["Bi", "Se", "Se"]}, "named twice"),
        ({"anion": "Te"}, "anion Te is not an element of the material (choose one of Bi, Se)"),
        ({"compositions": ["Bi2Se3", "Bi2Te3"]}, "compositions: Bi2Te3 has Te, and bi-se is of Bi, Se"),
        ({"compositions": ["Bi2Se"], "formula": "bi2"}, "'bi2' is not a chemical formula"),
        ({"compositions": []}, "compositions"),
        ({"tie_line": ["BiSe", "Bi2Sb3"]}, "tie_line: Bi2Sb3 has Sb"),
        ({"min_contacts_A": {"Bi-Bi": 2.8, "Bi-Se": 2.6}}, "min_contacts_A has no Se-Se (add 'Se-Se: …', Å"),
        ({"min_contacts_A": {**SELENIDE["min_contacts_A"], "Bi-Se": -2.6}}, "smallest distance of Bi-Se is -2.6 Å"),
        ({"min_contacts_A": {**SELENIDE["min_contacts_A"], "Bi-Te": 2.6}}, "min_contacts_A names Te"),
        ({"floors_A": {"Bi-Bi": 0}}, "smallest distance of Bi-Bi is 0.0 Å"),
        ({"density_g_cm3": None}, "density_g_cm3: Field required (add density_g_cm3 in own.yaml)"),
        ({"density_g_cm3": float("inf")}, "density_g_cm3: Input should be a finite number"),
        ({"density_g_cm3": 7000}, "density_g_cm3: Input should be less than or equal to 25"),
        ({"volume_per_atom_A3": [1, float("inf")]}, "volume_per_atom_A3.1: Input should be a finite number"),
        ({"min_contacts_A": {**SELENIDE["min_contacts_A"], "Bi-Se": 1e9}}, "min_contacts_A Bi-Se is 1e+09 Å (give"),
        ({"floors_A": {"Se-Bi": 2.7}}, "floors_A Bi-Se is 2.7 Å, above its sound contact of 2.6 Å"),
        ({"tie_line": ["BiSe", "Bi2Se2"]}, "tie_line names BiSe twice"),
        ({"tie_line": ["BiSe", "Bi2Se3"], "formula": "BiSe2"}, "formula BiSe2 is not on the BiSe–Bi2Se3 line"),
        ({"tie_line": ["BiSe", "BiSe2"], "trigonal": {"Bi2Se1": LAYERED}}, "trigonal Bi2Se1 is not on"),
        ({"volume_per_atom_A3": [30, 20]}, "volume_per_atom_A3 30 to 20 is no range"),
    ],
)
def test_a_bad_file_gets_one_line(tmp_path, changes, complaint):
    with pytest.raises(InputError) as caught:
        load_material(written(tmp_path, **changes), tmp_path)
    assert complaint in str(caught.value)
    assert caught.value.message.startswith("own.yaml: ")


@pytest.mark.parametrize(
    ("formula", "changes", "complaint"),
    [
        ("Bi2Se3", {"sites": BISMUTH_SELENIDE["sites"][::2]}, "its sites build Bi6Se6, which is BiSe"),
        ("Bi2Se3", {"sites": BISMUTH_SELENIDE["sites"] + [["Se", [0, 0, 1]]]}, "two of its sites are one place"),
        ("Bi2Se3", {"spacegroup": 160}, "its sites build Bi3Se6, which is Bi1Se2"),
        ("Bi2Se3", {"blocks": 2}, "2 blocks cannot share 15 atoms"),
        ("Bi2Se3", {"gap_shift": float("nan")}, "gap_shift: Input should be a finite number"),
    ],
)
def test_a_trigonal_phase_that_is_not_its_name_gets_one_line(tmp_path, formula, changes, complaint):
    with pytest.raises(InputError, match=f"^own.yaml: trigonal.{formula}.*{complaint}"):
        load_material(written(tmp_path, trigonal={formula: BISMUTH_SELENIDE | changes}), tmp_path)


def test_a_primitive_cell_without_blocks_has_the_counts_of_what_is_built(tmp_path):
    material = load_material(written(tmp_path, trigonal={"BiSe": LAYERED}), tmp_path)
    built = Counter(trigonal("BiSe", (1, 2, 1), material=material).get_chemical_symbols())
    assert built == trigonal_counts("BiSe", (1, 2, 1), material=material) == {"Bi": 8, "Se": 8}


def test_a_wrong_phase_is_refused_when_a_plan_is_read_and_never_built():
    content = {**SELENIDE, "trigonal": {"Bi2Se3": {**BISMUTH_SELENIDE, "sites": BISMUTH_SELENIDE["sites"][::2]}}}
    for read in (OfMaterial.model_validate, RobustnessPlan.model_validate, stored_material):
        with pytest.raises(InputError, match=r"^material: trigonal.Bi2Se3: its sites build Bi6Se6"):
            read({"material": content})
    wrong = Material.model_validate(content)
    for make in (trigonal, trigonal_counts):
        with pytest.raises(InputError, match="its sites build Bi6Se6"):
            make("Bi2Se3", (1, 1, 1), material=wrong)


def test_a_plan_with_a_right_phase_of_its_own_is_read():
    content = {**SELENIDE, "trigonal": {"Bi2Se3": BISMUTH_SELENIDE}}
    assert trigonal_counts("Bi2Se3", (1, 1, 1), material=stored_material({"material": content})) == {"Bi": 12, "Se": 18}


@pytest.mark.parametrize(
    ("text", "complaint"), [("[a", "own.yaml is not YAML"), ("- a", "own.yaml is not a mapping"), (None, "no material")]
)
def test_what_is_no_material_file_gets_one_line(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match=complaint):
        load_material("own.yaml", tmp_path)


def test_specifications_carry_another_material_and_leave_the_default_out():
    assert "material" not in RobustnessPlan().model_dump()
    own = RobustnessPlan(material=SELENIDE)
    assert (own.compositions, own.density_g_cm3, own.min_distance_A) == (["Bi2Se3"], 7.0, 2.2)
    assert RobustnessPlan.from_dict(own.as_dict()) == own
    assert RobustnessPlan(material="cr-sb-te").floors(["Cr", "Cr"]).matrix_A[0, 0] == 1.4


def test_documents_without_a_material_are_of_ge_sb_te():
    assert stored_material({"formula": "GeTe"}) == GST
    assert stored_material({"material": CR.model_dump(mode="json")}) == CR
    assert OfMaterial.model_validate({}).material is GST


def test_speed_is_measured_on_rock_salt_of_any_shipped_material():
    assert speed_cell(["Cr", "Sb", "Te"]).get_chemical_formula() == block("Cr1Sb8Te12", CR).get_chemical_formula()
    assert set(speed_cell(["Bi", "Se"]).get_chemical_symbols()) == {"Bi", "Se"}
    assert len(speed_cell(["Ge", "Sb", "Te"])) == 448


def test_a_material_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Material.model_validate(SELENIDE).name = "x"
