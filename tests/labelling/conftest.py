"""What tests of VASP share: made-up POTCARs. No licensed file is here."""

from __future__ import annotations

from pathlib import Path

import pytest

HEADER = """  {title}
  4.00000000000000
 parameters from PSCTR are:
   VRHFIN ={element}: made up
   LEXCH  = PE
   EATOM  =   100.0000 eV,    1.0000 Ry

   TITEL  = {title}
   LULTRA =        F    use ultrasoft PP ?
   RPACOR =    2.000    partial core radius
   POMASS =   72.610; ZVAL   =    4.000    mass and valenz
   ENMAX  =  300.000; ENMIN  =  200.000 eV
END of PSCTR-controll parameters
 local part
   1.0
 End of Dataset
"""


@pytest.fixture
def potcars(tmp_path, monkeypatch) -> Path:
    from pymatgen.io.vasp import inputs

    from gst_jobflow.labelling.vasp import VaspSettings

    folder = tmp_path / "psp"
    settings = VaspSettings()
    for element, symbol in settings.potcars.items():
        place = folder / inputs.PotcarSingle.functional_dir["PBE_54"] / f"POTCAR.{symbol}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(HEADER.format(title=settings.potcar_titles[element], element=element))
    monkeypatch.setitem(inputs.SETTINGS, "PMG_VASP_PSP_DIR", str(folder))
    return folder
