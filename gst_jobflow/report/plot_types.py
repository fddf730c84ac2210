"""Types of matplotlib for annotations; importing them would take longer than most commands."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
else:
    Axes = Axis = Figure = Any

__all__ = ["Axes", "Axis", "Figure"]
