"""What has to be done to a host's LXD server, from nothing to what the inventory intends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.actual import HostFacts, Json
from tasks.certificate import fingerprint_of
from tasks.errors import FleetError
from tasks.facts.lxd import answering
from tasks.intent.model import LxdHost, Pool
from tasks.intent.secret import Secret
from tasks.ownership import marked
from tasks.plan import Plan, Step, mapping_diff, text_diff

#: The port that LXD takes where its address has none.
DEFAULT_PORT = 8443
SHOWN_SECRET = "(secret)"
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


@dataclass(frozen=True)
class Controller:
    """Who manages the fleet: the name and the client certificate that LXD shall trust.

    ``certificate`` is None where it is still to be made, as in a dry run before the first run.
    """

    name: str
    certificate: str | None


@dataclass(frozen=True)
class OnHost:
    """A step done by ``onhost/setup_lxd.sh``: the word and its argument."""

    word: Literal["install", "listen", "trust", "client"]
    argument: str


@dataclass(frozen=True)
class Request:
    """A step done over LXD's API. A :class:`Secret` in ``config`` is read when it is sent."""

    method: Literal["post", "patch"]
    path: str
    body: Mapping[str, Any]


LxdWrite = OnHost | Request


def plan_lxd(wanted: LxdHost, actual: HostFacts, controller: Controller) -> Plan[LxdWrite]:
    """The steps from LXD as it is, not installed perhaps, to LXD as the inventory intends it.

    Raises :class:`FleetError` where LXD does not answer, or where a pool or the package differs in
    a way that cannot be changed.
    """
    _refuse_what_cannot_be(wanted, actual)
    steps = (
        *_install(wanted, actual),
        *_listen(wanted, actual),
        *_trust(actual, controller),
        *_clients(wanted, actual),
        *(step for pool in wanted.lxd.pools for step in _pool(pool, actual)),
        *_config(wanted, actual),
        *_root_disk(wanted, actual),
    )
    absent = [user for user in wanted.client_users if user not in actual.clients]
    notes = tuple(
        f"user {user} does not exist on it, its LXD client is left for a later run"
        for user in absent
    )
    return Plan(steps, reason="" if steps else "LXD is as wanted", notes=notes)


def _refuse_what_cannot_be(wanted: LxdHost, actual: HostFacts) -> None:
    lxd = actual.lxd
    if lxd.package and lxd.package != wanted.lxd.package:
        raise FleetError(
            f"LXD is installed as {lxd.package}, the inventory wants {wanted.lxd.package}",
            where=wanted.name,
            remedy=f"set lxd.package to {lxd.package}, or move it by hand (lxd.migrate)",
        )
    if lxd.package:
        answering(wanted.name, lxd)


def _install(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    if not actual.lxd.package:
        package = wanted.lxd.package
        yield Step("install", "LXD", OnHost("install", package), detail=f"its {package} package")


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


def _trust(actual: HostFacts, controller: Controller) -> Iterable[Step[LxdWrite]]:
    fingerprint = fingerprint_of(controller.certificate) if controller.certificate else None
    if fingerprint not in {entry["fingerprint"] for entry in actual.lxd.certificates}:
        detail = fingerprint[:12] if fingerprint else "(certificate to be made)"
        yield Step(
            "trust", f"certificate {controller.name}", OnHost("trust", controller.name), detail
        )


def _clients(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    for user in wanted.client_users:
        folder = actual.clients.get(user)
        if folder and not folder.certificate:
            yield Step("create", f"client certificate of {user}", OnHost("client", user))


def _pool(pool: Pool, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    now = actual.lxd.pools.get(pool.name)
    path = f"/1.0/storage-pools/{pool.name}"
    if now is None:
        body = {"name": pool.name, "driver": pool.driver, "config": marked(pool.name, pool.config)}
        yield Step(
            "create",
            f"pool {pool.name}",
            Request("post", "/1.0/storage-pools", body),
            detail=pool.driver,
            diff=mapping_diff({}, {"driver": pool.driver, **pool.config}, f"pool {pool.name}"),
        )
        return
    _refuse_another_pool(pool, now, actual.name)
    before = {key: now["config"].get(key) for key in pool.config if key != "source"}
    after = {key: value for key, value in pool.config.items() if key != "source"}
    if before != after:
        yield Step(
            "update",
            f"pool {pool.name}",
            Request("patch", path, {"config": after}),
            diff=mapping_diff(before, after, f"pool {pool.name}"),
        )


def _refuse_another_pool(pool: Pool, now: Json, where: str) -> None:
    remedy = "a pool's driver and source never change; declare a pool of another name"
    if now["driver"] != pool.driver:
        raise FleetError(
            f"pool {pool.name} has the driver {now['driver']}, the inventory wants {pool.driver}",
            where=where,
            remedy=remedy,
        )
    # LXD keeps what it was created with under volatile.initial_source where it derives another.
    sources = {now["config"].get(key) for key in ("source", "volatile.initial_source")}
    source = pool.config.get("source")
    if source and source not in sources:
        raise FleetError(
            f"pool {pool.name} has the source {now['config'].get('source')}, "
            f"the inventory wants {source}",
            where=where,
            remedy=remedy,
        )


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
        shown = SHOWN_SECRET if hidden else str(value)
        shown_before = "" if before is None else "(another)" if hidden else str(before)
        yield Step(
            "set",
            key,
            Request("patch", "/1.0", {"config": {key: value}}),
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
        Request("patch", "/1.0/profiles/default", {"devices": root}),
        detail="pool default",
        diff=mapping_diff({}, root, "profile default, devices"),
    )


def _server_config(actual: HostFacts) -> Mapping[str, Any]:
    return actual.lxd.server.get("config") or {}
