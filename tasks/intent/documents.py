"""Read YAML files as plain data with line numbers: syntax errors and duplicate keys are mistakes.

Scalars are read by the core schema of YAML 1.2, as Nornir's own loader does: ``on`` is a key and
not a boolean, ``yes`` and ``10:20:30`` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tasks.mistakes import KeyPath, Mistakes, Place

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML has it
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_TAG = "tag:yaml.org,2002:"
_SCALARS: tuple[tuple[str, str, Iterable[str]], ...] = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^(?:[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15})$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)
#: YAML 1.2, 5.1: what may not stand in a document.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
Kind = Literal["host", "group", "defaults", "config"]


class _Loader(_Base):  # type: ignore[misc]  # its base is chosen at run time
    """A loader that knows YAML 1.2's scalars only."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


@dataclass(frozen=True)
class Document:
    """One inventory file, of hosts, of groups or of defaults, or Nornir's settings.

    ``content`` is plain data, ``lines`` the line of each path in it; ``broken`` says that the
    file could not be read, ``absent`` that there is none.
    """

    file: str
    kind: Kind
    content: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    broken: bool = False
    absent: bool = False

    def place(self, *path: str | int) -> Place:
        """The place of a path in this file; a host's or group's name comes first in it."""
        if self.kind in ("defaults", "config"):
            owner = "defaults" if self.kind == "defaults" else ""
            return Place(self.file, owner, path, lines=self.lines)
        owner = f"{self.kind} {path[0]}" if path else ""
        return Place(self.file, owner, path[1:], root=path[:1], lines=self.lines)


def read_document(path: Path, kind: Kind, mistakes: Mistakes) -> Document:
    """Read a YAML file that holds a mapping; an absent or empty one has empty content."""
    lines: dict[KeyPath, int] = {}
    document = Document(str(path), kind, lines=lines)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return replace(document, absent=True)
    except OSError as error:
        mistakes.add(document.place(), f"cannot be read ({error.strerror})", "make it readable")
        return replace(document, broken=True)
    text = _text(raw, document, lines, mistakes)
    if text is None:
        return replace(document, broken=True)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        lines[()] = _line(error)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        mistakes.add(
            document.place(),
            f"is not YAML: {problem}",
            "mend the indentation, colon or quote on this line or just before it",
        )
        return replace(document, broken=True)
    content = _Reader(document, lines, mistakes).read(node, ()) if node else None
    if content is None or isinstance(content, dict):
        return replace(document, content=content or {})
    mistakes.add(document.place(), "is not a mapping", "write names, each with its keys beneath")
    return replace(document, broken=True)


def _text(
    raw: bytes, document: Document, lines: dict[KeyPath, int], mistakes: Mistakes
) -> str | None:
    """A file's bytes as text that YAML takes; None with a mistake on the line where it is not."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        lines[()] = raw.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8: its byte {raw[error.start]:#04x} on this line is not"
        mistakes.add(document.place(), what, "write this line anew, or save the file as UTF-8")
        return None
    control = _CONTROL.search(text)
    if control:
        lines[()] = text.count("\n", 0, control.start()) + 1
        what = f"holds the control character {ord(control[0]):#04x}, which YAML does not take"
        mistakes.add(document.place(), what, "take it out of this line")
        return None
    return text


def as_document(content: Mapping[str, Any]) -> str:
    """A mapping as the text of a YAML document, its keys in their order, long lines unbroken."""
    text: str = yaml.dump(
        dict(content), Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text


def _line(error: yaml.YAMLError) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return mark.line + 1 if mark else 1


class _Reader:
    """From YAML nodes to plain data, noting the line of each key."""

    def __init__(self, document: Document, lines: dict[KeyPath, int], mistakes: Mistakes) -> None:
        self._document = document
        self._lines = lines
        self._mistakes = mistakes
        self._open: set[int] = set()

    def read(self, node: Node, path: KeyPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._say(path, "an alias refers to what it stands in", "write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.read(item, (*path, n)) for n, item in enumerate(node.value)]
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
            raise AssertionError(node)  # YAML has no fourth kind of node
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode):
                self._say(path, "a key is a list or a mapping", "write the key as one word")
            elif key == "<<":
                self._say(path, "YAML's merge key << is not read", "use a group or the defaults")
            elif key in values:
                lines = {self._lines[(*path, key)], key_node.start_mark.line + 1}
                where = " and ".join(f"line {line}" for line in sorted(lines))
                self._say((*path, key), f"stands twice, on {where}", "keep one of the two")
            else:
                self._lines[(*path, key)] = key_node.start_mark.line + 1
                values[key] = self.read(value_node, (*path, key))
        return values

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        tag, text = node.tag.removeprefix(_TAG), node.value
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int":
            return int(text, 0 if text[:2] in ("0x", "0o") else 10)
        if tag == "float":
            return float(text)
        if tag != "str":
            self._say(path, f"has the unknown YAML tag {node.tag}", "leave the tag out")
        return text

    def _say(self, path: KeyPath, what: str, right: str) -> None:
        self._mistakes.add(self._document.place(*path), what, right)
