"""The kinds of work that want different machines: workers, queues and resources are chosen by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

Category = Literal["labels", "fits", "md", "analysis"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""labels: many small CPU jobs; fits: a GPU or one node; md: many nodes; analysis and all that is short: one core."""

_ATTRIBUTE = "gst_category"
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def in_category(category: Category) -> Callable[[_Decorated], _Decorated]:
    """Decorate a Maker, or a function below jobflow's `@job`: its jobs are of this kind."""

    def mark(decorated: _Decorated) -> _Decorated:
        setattr(decorated, _ATTRIBUTE, category)
        return decorated

    return mark


def category_of(job: Any) -> Category | None:
    """Return the kind of a jobflow Job: as it was marked, else analysis for ours; None for those of other packages."""
    origin = type(job.maker) if job.maker is not None else job.function
    marked = getattr(origin, _ATTRIBUTE, None)
    if marked is not None:
        return marked
    ours = str(getattr(origin, "__module__", "")).split(".")[0] == __name__.split(".")[0]
    return "analysis" if ours else None
