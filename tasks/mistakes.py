"""Mistakes in an inventory: collected, not raised, so that all come out at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

KeyPath = tuple[str | int, ...]
#: A key that cannot be taken for anything else in a dotted path.
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Place:
    """A key in an inventory file: ``path`` beneath ``owner`` ("host web-01", "group demo").

    ``lines`` maps paths of the whole document to line numbers, ``root`` is the owner's own path
    in it.
    """

    file: str
    owner: str = ""
    path: KeyPath = ()
    root: KeyPath = field(default=(), compare=False)
    lines: Mapping[KeyPath, int] = field(default_factory=dict, compare=False, repr=False)

    def at(self, *keys: str | int) -> Place:
        """The place of a key beneath this one."""
        return replace(self, path=(*self.path, *keys))

    @property
    def line(self) -> int:
        """The line of the key, or of the nearest one around it; 0 where it has none."""
        path = (*self.root, *self.path)
        return next(
            (self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 0
        )

    @property
    def key(self) -> str:
        """The dotted path; a key that is more than letters, digits, - and _ stands in quotes."""
        text = ""
        for part in self.path:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                text += ("." if text else "") + (part if _PLAIN.fullmatch(part) else f'"{part}"')
        return text

    def __str__(self) -> str:
        """FILE:LINE: OWNER: KEY, as far as there are."""
        file = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (file, self.owner, self.key) if part)


@dataclass(frozen=True)
class Mistake:
    """One mistake: where, what is wrong, what would be right."""

    place: Place
    what: str
    right: str = ""

    def line(self, hosts: Iterable[str]) -> str:
        """The mistake on one line, with the hosts that it concerns beside its owner."""
        others = [host for host in hosts if self.place.owner != f"host {host}"]
        what = f"{self.what} ({', '.join(others)})" if others else self.what
        text = f"{self.place}: {what}; {self.right}" if self.right else f"{self.place}: {what}"
        return " ".join(text.splitlines())


class Mistakes:
    """The mistakes found so far, each once."""

    def __init__(self) -> None:
        """None so far."""
        self._found: dict[Mistake, dict[str, None]] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._found)

    def add(self, place: Place, what: str, right: str = "", *, host: str = "") -> None:
        """Book a mistake: ``what`` is wrong at ``place``, and what would be ``right``.

        ``host`` is whom it concerns; the same mistake of a group's many hosts stays one line.
        """
        hosts = self._found.setdefault(Mistake(place, what, right), {})
        if host:
            hosts[host] = None

    def within(self, place: Place) -> bool:
        """Whether something at or beneath a place is wrong already, so that what follows from it
        need not be said as well."""
        return any(path[: len(place.path)] == place.path for path in self.of(place))

    def of(self, place: Place) -> list[KeyPath]:
        """The paths of the mistakes that an owner has."""
        return [
            m.place.path
            for m in self._found
            if (m.place.file, m.place.owner) == (place.file, place.owner)
        ]

    def lines(self) -> tuple[str, ...]:
        """One line for each mistake, in the order of files and lines."""
        ordered = sorted(self._found.items(), key=lambda m: (m[0].place.file, m[0].place.line))
        return tuple(mistake.line(hosts) for mistake, hosts in ordered)


def nearest(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """What would be right instead of an unknown name: "did you mean X?", or the known names."""
    names = set(names)
    ratio = {known: difflib.SequenceMatcher(None, name, known).ratio() for known in names}
    best = max(ratio.values(), default=0.0)
    if best >= 0.6:
        close = sorted(known for known in names if ratio[known] > best - 0.05)
        return f"did you mean {' or '.join(close[:3])}?"
    return listed(names) or otherwise


def listed(names: Iterable[str]) -> str:
    """The known names, or the first of them; nothing where there is none."""
    known = sorted(set(names))
    return f"known: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else ""
