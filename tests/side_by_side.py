"""Tests side by side (``pytest -n 2``): each worker has a lab of its own.

A worker gets whole modules, since their tests share what they have raised; those of the demo fleet
all go to one. What takes longest is begun first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import execnet
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.lab import why_not

DEMO = "demo"


def kind_of(item: pytest.Item) -> str:
    """What a test needs: "unit", "demo", "lab" or "vm"."""
    marks = {mark.name for mark in item.iter_markers()}
    kind = "vm" if "vm" in marks else "lab" if "lab" in marks else "unit"
    return DEMO if kind == "lab" and DEMO in getattr(item, "fixturenames", ()) else kind


def pytest_addoption(parser: pytest.Parser) -> None:
    """Fewer tests."""
    parser.addoption("--brief", action="store_true", help="of exhaustive tests take one case each")


def one_of_each(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """All tests, but of those that are exhaustive the case in the middle."""
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        exhaustive = item.get_closest_marker("exhaustive") is not None
        by_test.setdefault(item.nodeid.split("[")[0] if exhaustive else item.nodeid, []).append(
            item
        )
    return [cases[len(cases) // 2] for cases in by_test.values()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast ones come first, last where they fill in; the demo keeps its hosts until other modules
    make them fresh."""
    if config.option.brief:
        left = one_of_each(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left
    workers = hasattr(config, "workerinput")
    order = (DEMO, "vm", "lab", "unit") if workers else ("unit", DEMO, "lab", "vm")
    items.sort(key=lambda item: order.index(kind_of(item)))
    if workers:
        for item in items:
            if kind_of(item) == DEMO:
                item._nodeid = f"{item.nodeid}@{DEMO}"  # type: ignore[attr-defined]


class Modules(LoadScopeScheduling):  # type: ignore[misc]  # ships no types
    """Whole modules, in the order of the tests; all that needs the demo fleet as one."""

    def _split_scope(self, nodeid: str) -> str:
        return DEMO if nodeid.endswith(f"@{DEMO}") else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Modules:
    """Who gets what."""
    config.option.loadscopereorder = False
    return Modules(config, log)


def pytest_xdist_setupnodes(specs: list[execnet.XSpec]) -> None:
    """Start each worker where it has a lab of its own, on a machine that can host one."""
    if why_not() is None:
        python = f"{sys.executable} -m tests.lab apart -- {sys.executable}"
        specs[:] = [execnet.XSpec(f"popen//id={spec.id}//python={python}") for spec in specs]
