"""Both cells of the reference paper at full size, with a hard-sphere barrier: counts, box, densities, contacts."""

from collections import Counter

import numpy as np
import pytest
from matscipy.neighbours import neighbour_list

from gst_jobflow.devices.cell import CrossPointSpec, MushroomSpec, barrier_spec, build_device, device_counts
from gst_jobflow.structures.hard_sphere import generate


@pytest.fixture(scope="module", params=[CrossPointSpec.paper(), MushroomSpec.paper()], ids=["cross-point", "mushroom"])
def cell(request):
    spec = request.param
    return spec, build_device(spec, generate(barrier_spec(spec)))


def closest(atoms, first=None, within=3.1):
    """Smallest distance, or the smallest between the mask `first` and the others."""
    i, j, d = neighbour_list("ijd", atoms, within)
    if first is not None:
        d = d[first[i] != first[j]]
    return d.min()


def test_counts_are_the_papers_and_groups_tell_them(cell):
    spec, device = cell
    counts = Counter(device.atoms.get_chemical_symbols())
    assert counts == device_counts(spec)
    # Ge1Sb2Te4 to the last atom, in the whole, in the barrier and so in the crystal
    for some in (counts, device.report["barrier_counts"]):
        assert (some["Sb"], some["Te"]) == (2 * some["Ge"], 4 * some["Ge"])
    total, barrier = {"cross-point": (532_980, 35_532), "mushroom": (794_808, 99_351)}[spec.kind]
    assert len(device.atoms) == total
    assert device.groups["mobile"] == (1, total - barrier)
    assert device.groups["barrier"] == (total - barrier + 1, total)
    assert sum(layer.count() for layer in device.layers) == total - barrier
    if spec.kind == "mushroom":
        # 4 atomic layers of 66 columns of half cells reach 1 nm; 20 nm wide, 54 Å deep
        first, last = device.groups["electrode"]
        assert first == 1 and last == pytest.approx(4 * 33.2 * 9 * 3.5, rel=0.25)


def test_box_and_densities(cell):
    spec, device = cell
    box = device.atoms.cell.lengths()
    if spec.kind == "cross-point":
        # 47 a, 27 √3 a, 28 of 30 blocks of c/3 and a barrier of 5.9 g/cm3
        assert box == pytest.approx([200.789, 199.786, 418.506], abs=1e-3)
        assert device.report["crystal_density_g_cm3"] == pytest.approx(6.249, abs=1e-3)
    else:
        # 166 and 9 cells, 133 layers of a/2 (40.1 nm) and a barrier of 6.1 nm
        assert box == pytest.approx([1000.98, 54.27, 461.774], abs=1e-3)
        assert device.report["crystal_density_g_cm3"] == pytest.approx(6.260, abs=1e-3)
    assert device.report["barrier_density_g_cm3"] == pytest.approx(5.9)


def test_no_contact_is_below_the_stated_distance(cell):
    spec, device = cell
    is_barrier = device.atoms.get_tags() == 1
    assert closest(device.atoms, is_barrier) == pytest.approx(device.report["seam_contact_A"], abs=1e-9)
    assert device.report["seam_contact_share"] >= 1
    # tiles to tiles, too
    assert closest(device.atoms[is_barrier]) >= 0.995 * min(spec.min_contact_A.values())
    assert closest(device.atoms) == pytest.approx(device.report["min_distance_A"], abs=1e-6)


def test_the_crystal_is_where_it_belongs(cell):
    spec, device = cell
    mobile = device.atoms.positions[: device.groups["mobile"][1]]
    z = mobile[:, 2]
    assert (z >= device.layers[0].z_A[0]).all() and (z <= device.layers[-1].z_A[1]).all()
    assert (mobile >= 0).all() and (mobile < device.atoms.cell.lengths()).all()
    if spec.kind == "mushroom":
        cations = device.atoms.numbers[: len(mobile)] != 52
        # on average three cations on four sites, everywhere alike: 5 standard deviations of a tenth of the cell
        shares, _ = np.histogram(mobile[cations, 0], bins=10, range=(0, 1000.98 - 9.045))
        sites = 133 * 9 * 2 * 164.5 / 10
        assert shares / sites == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / sites) ** 0.5 + 0.02)
