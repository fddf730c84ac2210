"""Device cells: a crystal with a frozen amorphous heat barrier, as cross-point or mushroom cell.

The reference paper (doi 10.1038/s41467-025-63732-4, Figs. 3 and 4) simulates both. Building one takes three steps:
`barrier_spec` gives the random start of the barrier, or of a block that it is tiled of; that is melted and quenched
elsewhere with the potential of the study; `build_device` joins crystal and barrier.
"""

from gst_jobflow.devices.cell.barrier import barrier_spec, barrier_tiling, fit_barrier
from gst_jobflow.devices.cell.build import build_device
from gst_jobflow.devices.cell.plan import DevicePlan, check_cutoff, plan_device
from gst_jobflow.devices.cell.spec import (
    CrossPointSpec,
    DeviceCell,
    DeviceSpec,
    Electrode,
    Layer,
    MushroomSpec,
    device_counts,
)
