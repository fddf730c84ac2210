"""Define categories of work; each has its own workers, queue and resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

Category = Literal["labels", "fits", "md", "analysis"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""labels: many small CPU jobs; fits: a GPU or one node; md: many nodes; analysis and other short work: one core."""

_ATTRIBUTE = "gst_category"
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def in_category(category: Category) -> Callable[[_Decorated], _Decorated]:
    """Put the jobs of a Maker, or of a function below jobflow's `@job`, into a category."""

    def mark(decorated: _Decorated) -> _Decorated:
        setattr(decorated, _ATTRIBUTE, category)
        return decorated

    return mark


def category_of(job: Any) -> Category | None:
    """Return the category of a jobflow Job; unmarked jobs of this package count as analysis, foreign ones as None."""
    origin = type(job.maker) if job.maker is not None else job.function
    marked = getattr(origin, _ATTRIBUTE, None)
    if marked is not None:
        return marked
    ours = str(getattr(origin, "__module__", "")).split(".")[0] == __name__.split(".")[0]
    return "analysis" if ours else None
