"""For those who act upon what was read of LXD: one that is silent is not empty."""

from __future__ import annotations

from tasks.actual import LxdFacts
from tasks.errors import LxdError


def answering(host: str, lxd: LxdFacts) -> LxdFacts:
    """The facts of the LXD host of that name.

    Raises :class:`LxdError` where its LXD does not answer.
    """
    if not lxd.problem:
        return lxd
    if lxd.move:
        raise LxdError(
            f"LXD does not answer ({lxd.problem}), its move to the snap is not over",
            where=host,
            remedy=f"run provision.py --phase lxd --limit {host}, which finishes it",
        )
    raise LxdError(
        f"LXD does not answer ({lxd.problem})",
        where=host,
        remedy=f"on that host: systemctl status {lxd.unit}; journalctl -u {lxd.unit}; "
        f"systemctl start {lxd.unit}",
    )
