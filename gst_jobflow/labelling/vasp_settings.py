"""Settings of VASP labels, and the INCAR keys that are their physics."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from gst_jobflow.base.strict import StrictModel
from gst_jobflow.structures.material import default_material

# Functionals for PBE's PAW data sets, by INCAR tags. A meta-GGA needs the non-spherical gradient corrections inside the
# spheres, LASPH (vasp.at/wiki, METAGGA).
FUNCTIONALS: dict[str, dict[str, Any]] = {
    "PBE": {"GGA": "PE"},
    "PBEsol": {"GGA": "PS"},
    "RPBE": {"GGA": "RP"},
    "r2SCAN": {"METAGGA": "R2SCAN", "LASPH": True},
}
# INCAR keys that do not change energy and forces of given atoms: algorithms, mixing, symmetry detection,
# parallelisation, files, motion of atoms. Keys that add to the energy (PSTRESS, SCALEE) or a bias (HILLS_*, VALUE_*)
# are not among them.
PATH_KEYS = frozenset(
    {
        *("ALGO", "IALGO", "NELM", "NELMIN", "NELMDL", "ISEARCH", "TIME", "NBANDS", "ISTART", "ICHARG"),
        *("AMIX", "BMIX", "AMIN", "AMIX_MAG", "BMIX_MAG", "IMIX", "MAXMIX", "LMAXMIX", "LMIXTAU"),
        *("ISYM", "SYMPREC", "ISIF", "NSW", "IBRION", "POTIM", "EDIFFG"),
        *("NCORE", "NPAR", "KPAR", "NSIM", "LPLANE", "LSCALU"),
        *("TEBEG", "TEEND", "SMASS", "MDALGO", "NBLOCK", "KBLOCK", "NPACO", "APACO", "POMASS", "PMASS", "NFREE"),
        *("LANGEVIN_GAMMA", "LANGEVIN_GAMMA_L", "ANDERSEN_PROB", "CSVR_PERIOD", "RANDOM_SEED", "RANDOM_GENERATOR"),
        *("NSUBSYS", "TSUBSYS", "PSUBSYS", "NHC_NCHAINS", "NHC_PERIOD", "NHC_NRESPA", "NHC_NS", "IWAVPR"),
        *("LWAVE", "LCHARG", "LVTOT", "LVHAR", "LAECHG", "LELF", "LORBIT", "NWRITE", "NEDOS", "SYSTEM"),
    }
)


class VaspSettings(StrictModel):
    """Settings of a single point with VASP; the defaults are the paper's PBE.

    Attributes
    ----------
    encut_eV, ediff_eV, kspacing_per_A, functional
        The paper's: 600 eV, 1e-7 eV a cell, automatic mesh of 0.2 1/Å, PBE (doi 10.1038/s41467-025-63732-4). Other
        functionals are other methods with the same PAW data sets; see `FUNCTIONALS`.
    potcar_functional, potcars
        PAW data set and symbol by element.
    potcar_titles
        TITEL of each element's POTCAR, part of the fingerprint.
    kgamma, ismear, sigma_eV, ispin, prec, lreal, lasph
        Our choice, not the paper's: Gamma-centred mesh, Gaussian smearing of 0.05 eV, no spin, Accurate, projectors in
        reciprocal space, spherical gradient corrections (r2SCAN: always non-spherical).
    algo, nelm, ncore, kpar
        Not part of the method. `algo` None: Normal, or All with r2SCAN.
    max_kpoints
        Refuse cells whose full mesh has more points.
    command
        Starts VASP, e.g. "srun vasp_std", or "srun --exact -n {cores} vasp_std" with `cores`.
    cores
        Cores of one label, of which as many run at a time as fit into the job; None: all of the job, one by one.
    wall_limit_s, max_errors, polling_s
        Limits of one label, and custodian's polling time.
    frozen_s
        End a run that printed nothing for so long.
    allow_stand_in
        Accept a stand-in program (version with "standin") in tests; its labels have a method of their own.
    """

    encut_eV: float = Field(600.0, gt=0)
    ediff_eV: float = Field(1e-7, gt=0)
    kspacing_per_A: float = Field(0.2, gt=0)
    functional: Literal["PBE", "PBEsol", "RPBE", "r2SCAN"] = "PBE"
    potcar_functional: str = "PBE_54"
    potcars: dict[str, str] = Field(default_factory=lambda: default_material().labels["vasp"]["potcars"])
    potcar_titles: dict[str, str] = Field(default_factory=lambda: default_material().labels["vasp"]["potcar_titles"])
    kgamma: bool = True
    ismear: int = 0
    sigma_eV: float = Field(0.05, gt=0)
    ispin: Literal[1, 2] = 1
    prec: Literal["Normal", "Accurate"] = "Accurate"
    lreal: bool = False
    lasph: bool = False
    algo: Literal["Normal", "Fast", "VeryFast", "All"] | None = None
    nelm: int = Field(100, ge=1)
    ncore: int | None = Field(None, ge=1)
    kpar: int | None = Field(None, ge=1)
    max_kpoints: int = Field(2_000, ge=1)
    command: str = "vasp_std"
    cores: int | None = Field(None, ge=1)
    wall_limit_s: float = Field(6 * 3600.0, gt=0)
    max_errors: int = Field(5, ge=1)
    polling_s: float = Field(2.0, gt=0)
    frozen_s: float = Field(3600.0, gt=0)
    allow_stand_in: bool = False

    @model_validator(mode="after")
    def _a_title_for_every_element(self) -> VaspSettings:
        if set(self.potcars) != set(self.potcar_titles):
            odd = sorted(set(self.potcars) ^ set(self.potcar_titles))
            raise ValueError(f"potcars and potcar_titles name different elements: {', '.join(odd)}")
        if self.cores is None and "{cores}" in self.command:
            raise ValueError(f"the command '{self.command}' needs a number of cores: set cores=8")
        return self

    @property
    def full_command(self) -> str:
        """The command with the number of cores in it."""
        return self.command.replace("{cores}", str(self.cores))


def physics(settings: VaspSettings) -> dict[str, Any]:
    """Return the INCAR keys of the method."""
    keys = {
        "ENCUT": settings.encut_eV,
        "EDIFF": settings.ediff_eV,
        "PREC": settings.prec,
        "ISMEAR": settings.ismear,
        "SIGMA": settings.sigma_eV,
        "KSPACING": settings.kspacing_per_A,
        "KGAMMA": settings.kgamma,
        "ISPIN": settings.ispin,
        "LREAL": settings.lreal,
        "LASPH": settings.lasph,
    }
    return keys | FUNCTIONALS[settings.functional]
