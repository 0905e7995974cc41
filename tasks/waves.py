"""The machine that a run is controlled from, when it is itself part of the fleet."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

from tasks.intent.model import Intent


def in_waves(intent: Intent, machines: Iterable[str]) -> list[list[str]]:
    """The machines in at most two waves: others first, the controlling ones last."""
    last = controlling(intent)
    names = list(machines)
    waves = [[n for n in names if n not in last], [n for n in names if n in last]]
    return [wave for wave in waves if wave]


def controlling(intent: Intent, known: Mapping[str, str] = {}) -> set[str]:
    """The machine that has this machine's address and, for a container, its LXD host.

    What breaks them ends the run. ``known`` are the last good addresses, by name: the inventory
    may give a machine another one.
    """
    found = {name for name in intent.names() if _is_local(intent.machine(name).ssh.hostname)}
    found |= {name for name, address in known.items() if _is_local(address)}
    return found | {intent.containers[name].on for name in found if name in intent.containers}


def _is_local(address: str) -> bool:
    """Whether an address is one of this machine's: only those can be bound to."""
    if not address:
        return False  # none is declared; to bind to it is to bind to all
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
