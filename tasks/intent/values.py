"""Kinds of values in an inventory: each takes plain data and gives back what is right of it.

What is wrong is booked as a mistake and left out, so that later stages see right values only.
"""
# ruff: noqa: D102 - what `clean` does is said once, in Value

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tasks.intent.secret import Secret
from tasks.mistakes import Mistakes, Place, nearest

#: What a value's ``clean`` gives back where nothing of it is right.
WRONG: Final = object()


class Value(Protocol):
    """A kind of value."""

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        """What is right of a value, or ``WRONG``."""


def shown(value: object) -> str:
    """A value in a mistake: short, on one line."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def is_reference(value: object) -> bool:
    """Whether a value has the form of a :class:`Reference`, wherever it stands."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((kind, source),) = value.items()
    return kind in ("env", "file") and isinstance(source, str)


@dataclass(frozen=True)
class Scalar:
    """A single value that ``accept`` takes; ``a`` says what it is, ``write`` what to write."""

    accept: Callable[[object], bool]
    a: str
    write: str = ""

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if self.accept(value):
            return value
        if is_reference(value):
            mistakes.add(place, "a reference does not work here", self.write or f"write {self.a}")
            return WRONG
        is_number = isinstance(value, int | float)
        quoted = is_number and self.accept(str(value))
        right = f'put it in quotes: "{value}"' if quoted else self.write or f"write {self.a}"
        mistakes.add(place, f"{shown(value)} is not {self.a}", right)
        return WRONG


@dataclass(frozen=True)
class Free:
    """Anything at all, taken literally: only a reference, which would be, is refused."""

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if is_reference(value):
            mistakes.add(
                place,
                "a reference does not work here: it would be taken literally",
                "write the value out unless it is a secret; where this is no reference, write "
                "the whole as text (|)",
            )
            return WRONG
        items: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
        cleaned = [self.clean(item, place.at(key), mistakes) for key, item in items]
        return WRONG if any(item is WRONG for item in cleaned) else value


@dataclass(frozen=True)
class ListOf:
    """A list of one kind of value."""

    item: Value

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if not isinstance(value, list):
            mistakes.add(place, f"{shown(value)} is not a list", "write [...], or lines with -")
            return WRONG
        items = [self.item.clean(item, place.at(n), mistakes) for n, item in enumerate(value)]
        return [item for item in items if item is not WRONG]


@dataclass(frozen=True)
class MapOf:
    """A mapping of freely chosen keys to one kind of value."""

    key: Scalar
    value: Value

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if not isinstance(value, dict):
            mistakes.add(place, f"{shown(value)} is not a mapping", f"write {self.key.a}: value")
            return WRONG
        if isinstance(self.value, Free) and is_reference(value):
            return self.value.clean(value, place, mistakes)
        right: dict[str, Any] = {}
        for key, item in value.items():
            if self.key.clean(key, place.at(key), mistakes) is WRONG:
                continue
            cleaned = self.value.clean(item, place.at(key), mistakes)
            if cleaned is not WRONG:
                right[key] = cleaned
        return right


@dataclass(frozen=True)
class Table:
    """A mapping with known keys; ``others`` is the kind of all further keys, where there are.

    ``hints`` say of a key that does not belong here where it does. ``needs`` are keys that have to
    be there: only of a mapping that stands in a list, and so is never merged from several layers.
    """

    keys: Mapping[str, Value]
    others: MapOf | None = None
    hints: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if not isinstance(value, dict):
            known = ", ".join(sorted(self.keys)[:6])
            mistakes.add(
                place,
                f"{shown(value)} is not a mapping",
                f"its keys are {known}, ..." if len(self.keys) > 6 else f"its keys are {known}",
            )
            return WRONG
        right: dict[str, Any] = {}
        for key, item in value.items():
            if key in self.keys:
                cleaned = self.keys[key].clean(item, place.at(key), mistakes)
                if cleaned is not WRONG:
                    right[key] = cleaned
            elif self.others is not None:
                right |= self.others.clean({key: item}, place, mistakes)
            else:
                hint = self.hints.get(key) or nearest(key, self.keys)
                mistakes.add(place.at(key), "unknown key", hint)
        for key in self.needs:
            if key not in value:
                mistakes.add(place, f"has no {key}", f"write {key}: ...")
        return right if all(key in right for key in self.needs) else WRONG


@dataclass(frozen=True)
class OneKey:
    """A mapping with exactly one of the known keys."""

    keys: Mapping[str, Value]

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if not isinstance(value, dict) or len(value) != 1:
            mistakes.add(
                place,
                f"{shown(value)} is not one key with its value",
                "write one of " + ", ".join(f"{{{key}: ...}}" for key in self.keys),
            )
            return WRONG
        return Table(self.keys).clean(value, place, mistakes) or WRONG


@dataclass(frozen=True)
class Reference:
    """What comes from elsewhere: ``{env: NAME}`` or ``{file: PATH}``, given back as a Secret; or
    else a plain value, where ``plain`` takes one."""

    plain: Scalar | None = None
    kinds: tuple[str, ...] = ("env", "file")

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        forms = " or ".join({"env": "{env: NAME}", "file": "{file: PATH}"}[k] for k in self.kinds)
        if isinstance(value, dict):
            kind, source = next(iter(value.items()), ("", None))
            if len(value) == 1 and kind in self.kinds and isinstance(source, str) and source:
                return Secret(kind, source)  # type: ignore[arg-type]  # kinds are Secret's own
            mistakes.add(place, "a mapping that refers to nothing", f"write {forms}")
            return WRONG
        if self.plain is None:
            # The value is not shown: it is meant to be a secret.
            mistakes.add(place, "a secret never stands in the inventory", f"write {forms}")
            return WRONG
        return self.plain.clean(value, place, mistakes)


@dataclass(frozen=True)
class Either:
    """One kind for mappings, another for everything else."""

    mapping: Value
    other: Value

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        kind = self.mapping if isinstance(value, dict) else self.other
        return kind.clean(value, place, mistakes)


@dataclass(frozen=True)
class OneOrMore:
    """One value, or a list of such with at least one."""

    value: Value

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        if not isinstance(value, list):
            return self.value.clean(value, place, mistakes)
        if not value:
            mistakes.add(place, "an empty list", "write at least one, or leave the key out")
        return ListOf(self.value).clean(value, place, mistakes) or WRONG


@dataclass(frozen=True)
class OrNull:
    """A value, or null for none."""

    value: Value

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        return None if value is None else self.value.clean(value, place, mistakes)


@dataclass(frozen=True)
class Never:
    """A key that may not stand here; its value is not shown."""

    what: str
    right: str

    def clean(self, value: object, place: Place, mistakes: Mistakes) -> Any:
        mistakes.add(place, self.what, self.right)
        return WRONG
