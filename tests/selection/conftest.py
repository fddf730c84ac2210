"""The tiny potential of the tests of dynamics."""

from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401
from tests.flows.conftest import results  # noqa: F401
