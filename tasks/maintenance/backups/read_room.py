"""Ask an LXD host how much room it has for backups."""

from __future__ import annotations

from collections.abc import Sequence

from nornir.core.inventory import Host

from tasks.actual import LxdFacts
from tasks.errors import LxdError
from tasks.maintenance.backups.room import LxdRoom, parse_room
from tasks.onhost import on_host
from tasks.transport import shell_of

#: Seconds to count the files of a container and its volumes, and without counting any.
DEADLINE = 600.0
QUICK_DEADLINE = 90.0


def read_room(host: Host, facts: LxdFacts, questions: Sequence[str]) -> LxdRoom:
    """Ask an LXD host; ``questions`` are words for ``onhost/lxd_room.sh``. One exchange.

    Raises :class:`CommandError`, :class:`LxdError`, or what ``shell_of`` raises.
    """
    pid = str((facts.server.get("environment") or {}).get("server_pid", ""))
    script = on_host("lxd_room", pid, facts.folder, *questions)
    deadline = DEADLINE if "size" in questions else QUICK_DEADLINE
    done = shell_of(host).run(script, deadline=deadline).check(host.name, "reading LXD's room")
    try:
        return parse_room(done.text)
    except (ValueError, IndexError, KeyError, TypeError):
        raise LxdError(
            "what it says of LXD's room is not understood",
            where=host.name,
            remedy="look at: lxc storage list; df /var/lib/lxd",
        ) from None
