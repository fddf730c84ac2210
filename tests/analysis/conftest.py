"""Run jobs inside a project with a real database, as the flows' tests do."""

from tests.flows.conftest import results, run  # noqa: F401
