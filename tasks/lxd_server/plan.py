"""What has to be done to a host's LXD server, from nothing to what the inventory intends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tasks.actual import HostFacts, LxdFacts
from tasks.intent.model import LxdHost
from tasks.intent.secret import HIDDEN, Secret
from tasks.lxd_server.kernel import kernel_notes, plan_kernel
from tasks.lxd_server.package import (
    moves_empty,
    package_notes,
    plan_package,
    plan_refresh,
    refuse_package,
    unforeseen,
)
from tasks.lxd_server.pools import plan_pool
from tasks.lxd_server.trust import TrustedClient, former_certificates, plan_trust
from tasks.lxd_server.writes import LxdWrite, OnHost, Request
from tasks.plan import Plan, Step, mapping_diff, text_diff

#: The port that LXD takes where its address has none.
DEFAULT_PORT = 8443
#: Server config that LXD never shows while it has its default (LXD, "Server configuration").
DEFAULTS = {
    "backups.compression_algorithm": "gzip",
    "core.metrics_authentication": "true",
    "core.shutdown_timeout": "5",
    "images.auto_update_cached": "true",
    "images.auto_update_interval": "6",
    "images.compression_algorithm": "gzip",
    "images.remote_cache_expiry": "10",
}


def plan_lxd(
    wanted: LxdHost, actual: HostFacts, controller: TrustedClient, *, prune: bool
) -> Plan[LxdWrite]:
    """The steps from LXD as it is, not installed perhaps, to LXD as the inventory intends it.

    Arguments:
        prune: distrust the controller's former certificates, instead of only telling.

    Raises :class:`FleetError` where LXD does not answer, is too old or in a cluster, or where the
    package, a pool or a kernel setting differs in a way that cannot be changed.
    """
    refuse_package(wanted, actual)
    first = (
        *plan_kernel(wanted.lxd.kernel, actual),
        *plan_package(wanted, actual),
        *plan_refresh(wanted, actual),
    )
    kernel = tuple(kernel_notes(wanted.lxd.kernel, actual))
    if unforeseen(wanted, actual):
        return Plan(first, notes=("what LXD still needs is seen once it is moved", *kernel))
    # An LXD that has nothing to carry over is left behind with its config and its trust.
    lxd = LxdFacts() if moves_empty(wanted, actual) else actual.lxd
    then = replace(actual, lxd=lxd)
    former = tuple(former_certificates(then, controller, prune))
    steps = (
        *first,
        *_listen(wanted, then),
        *plan_trust(then, controller),
        *(step for step in former if isinstance(step, Step)),
        *_clients(wanted, actual),
        *(step for pool in wanted.lxd.pools for step in plan_pool(pool, then)),
        *_config(wanted, then),
        *_root_disk(wanted, then),
    )
    notes = (
        *package_notes(wanted, actual),
        *_absent_users(wanted, actual),
        *(note for note in former if isinstance(note, str)),
        *_left_over_password(wanted, then),
        *kernel,
    )
    return Plan(steps, reason="" if steps else "LXD is as wanted", notes=notes)


def _absent_users(wanted: LxdHost, actual: HostFacts) -> Iterable[str]:
    for user in wanted.client_users:
        if user not in actual.clients:
            yield f"user {user} does not exist on it, its LXD client is left for a later run"


def _left_over_password(wanted: LxdHost, actual: HostFacts) -> Iterable[str]:
    """Trust goes by certificates here: a password that nobody declares is only a door left open."""
    key = "core.trust_password"
    if _server_config(actual).get(key) and key not in wanted.lxd.config:
        yield (
            f"{key} is set and not declared, whoever knows it is trusted for good; on the host: "
            f"lxc config unset {key}"
        )


def _listen(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    listen = wanted.lxd.listen
    if listen is None:
        return
    now = _server_config(actual).get("core.https_address", "")
    if _canonical(str(now)) != _canonical(listen):
        yield Step(
            "set",
            "core.https_address",
            OnHost("listen", listen),
            detail=listen,
            diff=text_diff(str(now), listen, "core.https_address"),
        )


def _canonical(address: str) -> str:
    """An address as LXD understands it: all addresses are ``[::]``, the port is 8443."""
    if not address:
        return ""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (host.count(":") and not host.endswith("]")):
        host, port = address, str(DEFAULT_PORT)
    return f"{host.strip('[]') or '::'} {port}"


def _clients(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    for user in wanted.client_users:
        folder = actual.clients.get(user)
        if folder and not folder.certificate:
            yield Step("create", f"client certificate of {user}", OnHost("client", user))


def _config(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """Server config keys. One that LXD only shows as set (core.trust_password) counts as such."""
    now = _server_config(actual)
    for key, value in wanted.lxd.config.items():
        before = now.get(key)
        if before is True and isinstance(value, Secret):
            continue
        wanted_value = value.read() if isinstance(value, Secret) and before else value
        if wanted_value == (DEFAULTS.get(key, "") if before is None else before):
            continue
        hidden = isinstance(value, Secret)
        if isinstance(value, Secret):
            value.read()  # one that cannot be read is told by a dry run already
        shown = HIDDEN if hidden else str(value)
        shown_before = "" if before is None else "(another)" if hidden else str(before)
        yield Step(
            "set",
            key,
            Request(
                "patch",
                "/1.0",
                {"config": {key: value}},
                subject=f"server config key {key}",
                remedy=f"mend or leave out lxd.config: {key} (LXD, Server configuration)",
            ),
            detail=shown,
            diff=text_diff(shown_before, shown, key),
        )


def _root_disk(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """The root disk that ``lxd init`` leaves in the profile default; the profile's other content,
    and all of it where the inventory declares that profile, is not this phase's."""
    if "default" in wanted.profiles or "default" not in {pool.name for pool in wanted.lxd.pools}:
        return
    devices = actual.lxd.profiles.get("default", {}).get("devices", {})
    if any(d.get("type") == "disk" and d.get("path") == "/" for d in devices.values()):
        return
    root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
    yield Step(
        "add",
        "root disk in profile default",
        Request(
            "patch",
            "/1.0/profiles/default",
            {"devices": root},
            subject="root disk in profile default",
            remedy="declare the profile default with its root disk, then this leaves it alone",
        ),
        detail="pool default",
        diff=mapping_diff({}, root, "profile default, devices"),
    )


def _server_config(actual: HostFacts) -> Mapping[str, Any]:
    return actual.lxd.server.get("config") or {}
