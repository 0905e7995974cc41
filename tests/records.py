"""What a phase's record says (see ``tasks.outcome.record``), as tests compare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def steps(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A record's steps as action and object."""
    return [(step["action"], step["object"]) for step in record["steps"]]


def told(record: Mapping[str, Any]) -> list[str]:
    """A record's steps as an operator reads them."""
    return [f"{action} {object_}" for action, object_ in steps(record)]
