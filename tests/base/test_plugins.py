"""Entry points of other packages: what is found, and what is refused in one line."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from gst_jobflow.base import plugins
from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.plugins import known, offered, resolve
from gst_jobflow.base.settings import check_profile

Offer = Callable[..., None]


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """`offer((name, value, package), …)` installs entry points of one group, "figures"."""

    def install(*points: tuple[str, str, str]) -> None:
        found = []
        for name, value, package in points:
            point = importlib.metadata.EntryPoint(name, value, "gst_jobflow.figures")
            vars(point)["dist"] = SimpleNamespace(name=package)
            found.append(point)
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda group: found if group == "gst_jobflow.figures" else []
        )
        offered.cache_clear()

    yield install
    offered.cache_clear()


def test_ours_are_found_without_a_look_at_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "offered", lambda kind: pytest.fail("looked at plugins"))
    assert resolve("figures", "rdf", {"rdf": 1}) == 1


def test_what_a_plugin_offers_is_imported_when_it_is_asked_for(offer: Offer) -> None:
    offer(("tau", "math:tau", "a"))
    assert known("figures", ["rdf"]) == ["rdf", "tau"]
    assert resolve("figures", "tau", {"rdf": 1}) == pytest.approx(6.2832, abs=1e-4)


def test_the_nearest_name_is_given(offer: Offer) -> None:
    offer(("coordination", "math:tau", "a"))
    with pytest.raises(InputError, match=r"no figure 'cordination' \(did you mean 'coordination'"):
        resolve("figures", "cordination", {"rdf": 1})


@pytest.mark.parametrize("value", ["no_such_module_here:x", "math:no_such_name"])
def test_a_plugin_that_cannot_be_imported_is_named_with_the_way_out(offer: Offer, value: str) -> None:
    offer(("broken", value, "bad-package"))
    with pytest.raises(MissingProgramError) as caught:
        resolve("figures", "broken", {})
    assert "figure 'broken' of bad-package cannot be imported: " in caught.value.message
    assert "pip uninstall bad-package" in caught.value.fix and "\n" not in str(caught.value)


def test_a_name_of_ours_is_refused(offer: Offer) -> None:
    offer(("rdf", "math:tau", "bad-package"))
    with pytest.raises(InputError, match="bad-package offers figure 'rdf', which gst_jobflow has itself"):
        known("figures", ["rdf"])


def test_a_name_that_two_packages_offer_is_refused(offer: Offer) -> None:
    offer(("x", "math:tau", "one"), ("x", "math:pi", "other"))
    with pytest.raises(InputError, match="one and other both offer figure 'x'"):
        resolve("figures", "x", {})


def test_the_same_entry_point_seen_twice_is_one(offer: Offer) -> None:
    offer(("x", "math:tau", "one"), ("x", "math:tau", "one"))
    assert list(offered("figures")) == ["x"]


def test_an_unknown_profile_gets_the_nearest_name() -> None:
    assert check_profile("slurm") == "slurm"
    with pytest.raises(InputError, match=r"no profile 'slrum' \(did you mean 'slurm'"):
        check_profile("slrum")
