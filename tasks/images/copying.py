"""Images from one LXD host of the fleet to another: the one fetches it from the other."""

from __future__ import annotations

from nornir.core.inventory import Host

from tasks.errors import FleetError, LxdError
from tasks.lxd_api.connection import api_of
from tasks.ownership import image_mark
from tasks.run import run_of

#: Seconds for one image to come from another host, from here, or from an image server.
DEADLINE = 600.0
#: Seconds without any progress after which a download is given up. LXD tells of each percent: one
#: that takes longer would not be done within the deadline.
STALL = 30.0


def copy_image(target: Host, source: str, fingerprint: str) -> bool:
    """Have an LXD host fetch an image from another one, without an alias; nothing if it has it.
    Returns whether it was fetched.

    The certificate that SSH has read of the other one is pinned for it, and what it presents is
    valid once (LXD 5.0 REST API, ``POST /1.0/images`` with ``mode: pull``).

    Arguments:
        target: the Nornir host that shall have it.
        source: the name of the LXD host that has it.

    Raises :class:`LxdError` where the one does not get it from the other, or what
    :func:`~tasks.lxd_api.connection.api_of` raises for either.
    """
    api = api_of(target)
    if api.has_image(fingerprint):
        return False
    run = run_of(target)
    there = run.intent.lxd_hosts[source]
    try:
        secret = api_of(run.hosts[source]).image_secret(fingerprint)
    except FleetError as error:
        raise LxdError(
            f"it cannot be copied from {source}: {error.what}",
            where=target.name,
            remedy=error.remedy,
        ) from error
    body = {
        "source": {
            "type": "image",
            "mode": "pull",
            "protocol": "lxd",
            "server": f"https://{there.api_address}",
            "certificate": run.facts[source].lxd.certificate or "",
            "fingerprint": fingerprint,
            "secret": secret,
        },
        "auto_update": False,
        "properties": image_mark(target.name),
    }
    try:
        api.post("/1.0/images", body, deadline=DEADLINE, stall=STALL)
    except LxdError as error:
        raise LxdError(
            f"it cannot be copied from {source}: {error.what}",
            where=target.name,
            remedy=f"see whether this host reaches {there.api_address}",
        ) from error
    return True
