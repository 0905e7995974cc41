"""Imports run one way, and what decides knows nothing of Nornir (by the source, nothing is run)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "tasks").rglob("*.py"))
}
#: What plans, compares or is compared, besides all of the intent and its checks.
PURE = sorted(
    name
    for name in FILES
    if name.startswith(("tasks.intent", "tasks.checks"))
    or name.endswith((".plan", ".render", ".stage", ".retention", ".obstacles", ".instances"))
    or name in ("tasks.actual", "tasks.shell", "tasks.bridges.compare", "tasks.profiles.across")
)


def imported(name: str) -> Iterator[str]:
    """The modules that one imports when it is loaded."""
    tree = ast.parse(FILES[name].read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from _with_packages(inner if inner in FILES else node.module)


def _with_packages(module: str) -> Iterator[str]:
    """A module and the packages that are loaded before it; the outermost offers all of it."""
    yield module
    while (module := module.rpartition(".")[0]) not in ("", "tasks"):
        yield module


IMPORTS = {name: set(imported(name)) for name in FILES}


def reached(start: str) -> dict[str, str]:
    """Everything that a module leads to, each with who imports it."""
    found: dict[str, str] = {}
    todo = [start]
    while todo:
        name = todo.pop()
        for each in IMPORTS.get(name, ()):
            if each not in found:
                found[each] = name
                todo.append(each)
    return found


def way(found: dict[str, str], start: str, end: str) -> str:
    names = [end]
    while names[-1] != start or len(names) == 1:
        names.append(found[names[-1]])
    return " < ".join(names)


def test_no_module_imports_itself_in_a_circle() -> None:
    circles = [way(reached(name), name, name) for name in FILES if name in reached(name)]
    assert circles == []


@pytest.mark.parametrize("name", PURE)
def test_what_decides_knows_nothing_of_nornir(name: str) -> None:
    found = reached(name)
    ways = [way(found, name, each) for each in found if each.split(".")[0] == "nornir"]
    assert ways == []


def test_there_is_much_that_decides() -> None:
    assert len(PURE) > 50
