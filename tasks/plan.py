"""Steps and diffs: what has to be done to a host, decided before anything is done."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import yaml

from tasks.errors import ProofError

Write = TypeVar("Write")


@dataclass(frozen=True)
class Step(Generic[Write]):
    """One change: ``action`` (create, update, delete, restart, ...) on ``object`` ("profile demo").

    ``detail`` says why or what in few words, ``diff`` shows it, ``write`` holds what applying
    needs; ``write`` never reaches a report, since it may hold secrets.
    """

    action: str
    object: str
    write: Write = field(repr=False)
    detail: str = ""
    diff: str = ""

    @property
    def what(self) -> str:
        """What is done, in words: "update profile demo"."""
        return f"{self.action} {self.object}"


@dataclass(frozen=True)
class Plan(Generic[Write]):
    """All steps for one object of management, in the order in which they are done.

    ``reason`` says why there is nothing to do; ``notes`` are reported and never acted upon, such
    as objects that left the inventory.
    """

    steps: tuple[Step[Write], ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether applying this plan changes anything."""
        return bool(self.steps)

    @property
    def diff(self) -> str:
        """The steps' diffs, one after the other."""
        return "\n".join(step.diff for step in self.steps if step.diff)

    @property
    def told(self) -> str:
        """What its steps do, in one line."""
        return ", ".join(step.what for step in self.steps)

    def noted(self, *notes: str) -> Plan[Write]:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def see_that_nothing_is_left(self, where: str, remedy: str) -> None:
        """Raise :class:`ProofError` where this, planned anew after all was applied, has steps."""
        if self.steps:
            what = f"applied, but read again there is still to do: {self.told}"
            raise ProofError(what, where=where, remedy=remedy)


def text_diff(before: str, after: str, name: str) -> str:
    """A unified diff of two texts, without a line where they are equal."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (now)", f"{name} (wanted)", lineterm=""
    )
    return "\n".join(lines)


def mapping_diff(before: Mapping[str, object], after: Mapping[str, object], name: str) -> str:
    """A unified diff of two mappings as YAML with sorted keys."""
    return text_diff(as_yaml(before), as_yaml(after), name)


class _Readable(yaml.SafeDumper):
    """Texts of several lines as they are, not quoted and wrapped."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Readable.add_representer(str, _text)


def as_yaml(value: Mapping[str, object]) -> str:
    """A mapping as YAML text with sorted keys; empty for an empty mapping."""
    if not value:
        return ""
    return yaml.dump(dict(value), Dumper=_Readable, sort_keys=True, default_flow_style=False)
