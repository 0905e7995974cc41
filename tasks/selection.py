"""Selectors: which machines of a fleet a run may change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from tasks.errors import UsageError
from tasks.intent.model import Intent, Machine
from tasks.mistakes import nearest


def select(intent: Intent, selectors: Sequence[str]) -> frozenset[str]:
    """The names of the machines that selectors choose.

    A selector is a name, a glob of names, a group, or ``key=value`` on the merged data (dotted
    keys go deeper, the value may be a glob; ``kind`` is lxd, container or machine). The chosen add
    up, those after ``!`` are left out; with only such ones, or none, all others are chosen.
    Raises :class:`UsageError` with the nearest names where a selector or all of them match nothing.
    """
    including = [selector for selector in selectors if not selector.startswith("!")]
    chosen = {name for selector in including for name in _matches(intent, selector)}
    everything = frozenset(intent.names())
    selected = (frozenset(chosen) if including else everything) - excluded(intent, selectors)
    if not selected:
        raise UsageError(
            f"{' '.join(selectors)} leaves no machine to work on", remedy="exclude fewer"
        )
    return selected


def excluded(intent: Intent, selectors: Sequence[str]) -> frozenset[str]:
    """The names of the machines that selectors leave out (see :func:`select`)."""
    leaving_out = [selector[1:] for selector in selectors if selector.startswith("!")]
    return frozenset(name for selector in leaving_out for name in _matches(intent, selector))


def _matches(intent: Intent, selector: str) -> set[str]:
    machines = [intent.machine(name) for name in intent.names()]
    key, equals, value = selector.partition("=")
    if equals:
        found = {
            m.name for m in machines if any(fnmatchcase(text, value) for text in _values(m, key))
        }
        remedy = "" if found else _nearest_value(machines, key, value)
    else:
        found = {m.name for m in machines if m.name == selector}
        found = found or {m.name for m in machines if selector in m.groups}
        found = found or {m.name for m in machines if fnmatchcase(m.name, selector)}
        names = {m.name for m in machines} | {group for m in machines for group in m.groups}
        remedy = "" if found else nearest(selector, names)
    if not found:
        raise UsageError(f"no machine matches {selector or 'an empty selector'}", remedy=remedy)
    return found


def _values(machine: Machine, key: str) -> Iterator[str]:
    """The values under a dotted key, as text; a list counts with each of its items."""
    if key == "kind":
        yield machine.kind
    if key == "name":
        yield machine.name
    yield from _texts(machine.data, key)


def _texts(value: object, key: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if key == name:
                yield from _texts(inner, "")
            elif key.startswith(f"{name}."):
                yield from _texts(inner, key[len(name) + 1 :])
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif not key and isinstance(value, str | int | float):
        yield str(value).lower() if isinstance(value, bool) else str(value)


def _nearest_value(machines: Sequence[Machine], key: str, value: str) -> str:
    values = {text for machine in machines for text in _values(machine, key)}
    if values:
        return nearest(value, values)
    keys = {"kind", "name"} | {name for machine in machines for name in machine.data}
    return f"no machine has the key {key}, {nearest(key, keys)}"
