"""Colours and markers of a report, the same in all figures and tables.

They are distinguishable with the common forms of colour blindness (Okabe and Ito 2008 for elements and pulses, Paul
Tol's "muted" scheme for config types) and in grey print.
"""

from __future__ import annotations

from ase.data import atomic_numbers

ELEMENTS = {"Ge": "#0072B2", "Sb": "#D55E00", "Te": "#F0D264"}
OTHER_ELEMENTS = ("#009E73", "#CC79A7", "#56B4E9", "#8A8A8A")
"""Colours of all other elements, in turn by atomic number, so that neighbours in the periodic table differ."""

OPERATIONS = {"RESET": "#C8451B", "SET": "#00796B", "HOLD": "#7A7A7A", "READ": "#56B4E9"}
OTHER_OPERATION = "#7A7A7A"

_LOOKS = {
    "crystal": ("#332288", "s"),
    "aimd": ("#88CCEE", "o"),
    "melt_quench": ("#44AA99", "D"),
    "phase_transition": ("#117733", "^"),
    "hard_sphere": ("#CC6677", "o"),
    "rss": ("#AA4499", "v"),
    "device": ("#999933", "P"),
    "failure": ("#882255", "p"),
    "isolated_atom": ("#DDCC77", "*"),
    "other": ("#888888", "X"),
}
CONFIG_TYPES = {name: colour for name, (colour, _) in _LOOKS.items()}
MARKERS = {name: marker for name, (_, marker) in _LOOKS.items()}

# Okabe and Ito 2008; methods in descending order of their number of labels
METHODS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

CRYSTALLINE = "#5E4FA2"
DISORDERED = "#C9CCD1"


def element(symbol: str) -> str:
    """Return the colour of an element."""
    return ELEMENTS.get(symbol) or OTHER_ELEMENTS[atomic_numbers[symbol] % len(OTHER_ELEMENTS)]


def method(place: int) -> str:
    """Return the colour of a method, potential or curve by its place in the legend."""
    return METHODS[place % len(METHODS)]


def operation(kind: str) -> str:
    """Return the colour of an operation."""
    return OPERATIONS.get(kind, OTHER_OPERATION)


def config_type(name: str) -> str:
    """Return the colour of a config type."""
    return CONFIG_TYPES.get(name, CONFIG_TYPES["other"])


def marker(name: str) -> str:
    """Return the matplotlib marker of a config type."""
    return MARKERS.get(name, "X")


def rgb(colour: str, lightened: float = 0.0) -> tuple[float, float, float]:
    """Return red, green, blue (0 to 1) of `#RRGGBB`, mixed with white by `lightened` (0 to 1)."""
    values = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (value + (1 - value) * lightened for value in values)
    return red, green, blue
