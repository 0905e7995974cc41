"""What a step on an LXD server writes, and how: on the host itself, or over LXD's API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Move:
    """A step done by ``onhost/move_lxd.sh``: from the Debian package to the snap of a channel."""

    channel: str


@dataclass(frozen=True)
class OnHost:
    """A step done by ``onhost/setup_lxd.sh``: the word and its argument."""

    word: Literal[
        "kernel", "install", "channel", "refresh", "listen", "trust", "distrust", "client"
    ]
    argument: str


@dataclass(frozen=True)
class Request:
    """A step done over LXD's API. A :class:`Secret` in ``config`` is read when it is sent.

    ``subject`` is what it is about and ``remedy`` what can be done, should LXD refuse it.
    """

    method: Literal["post", "patch"]
    path: str
    body: Mapping[str, Any]
    subject: str
    remedy: str


LxdWrite = Move | OnHost | Request
