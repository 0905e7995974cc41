"""Storage pools: made where they are missing, their options brought to what is declared.

What an option means and when it can change: LXD, "Storage drivers",
https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/storage_drivers/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tasks.actual import LXD_FOLDERS, HostFacts, Json
from tasks.errors import FleetError
from tasks.intent.model import Pool
from tasks.lxd_server.writes import LxdWrite, Request
from tasks.ownership import marked
from tasks.plan import Step, mapping_diff

#: Options that LXD takes at creation only. Some of them it would store later on without effect.
FIXED = frozenset({
    "ceph.cluster_name",
    "ceph.osd.pool_name",
    "lvm.thinpool_metadata_size",
    "lvm.use_thinpool",
    "zfs.pool_name",
})  # fmt: skip
#: The API extension of an LXD that can grow a pool on a file of its own.
RESIZE = "storage_pool_loop_resize"
#: Where LXD's snap sees the host's own files, as ``lxd.migrate`` writes it into a pool's source.
SNAP_VIEW = "/var/lib/snapd/hostfs"


def plan_pool(pool: Pool, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """The step that makes a pool, or changes the declared options that differ.

    What LXD wrote into a pool by itself is left alone. Raises :class:`FleetError` where the pool
    there has another driver or source, or where an option differs that cannot be changed.
    """
    now = actual.lxd.pools.get(pool.name)
    name = f"pool {pool.name}"
    if now is None:
        body = {"name": pool.name, "driver": pool.driver, "config": marked(pool.name, pool.config)}
        yield Step(
            "create",
            name,
            _request("post", "/1.0/storage-pools", body, name),
            detail=pool.driver,
            diff=mapping_diff({}, {"driver": pool.driver, **pool.config}, name),
        )
        return
    _refuse_another_pool(pool, now, actual.name)
    config: Mapping[str, str] = now["config"]
    after = {
        key: value
        for key, value in pool.config.items()
        if key != "source" and not _same(key, config.get(key, ""), value)
    }
    if not after:
        return
    _refuse_fixed_options(pool, after, config, actual)
    before = {key: config[key] for key in after if key in config}
    yield Step(
        "update",
        name,
        _request("patch", f"/1.0/storage-pools/{pool.name}", {"config": after}, name),
        detail=", ".join(
            f"{key} {value}" if value else f"no {key}" for key, value in after.items()
        ),
        diff=mapping_diff(before, {key: value for key, value in after.items() if value}, name),
    )


def _request(
    method: Literal["post", "patch"], path: str, body: Mapping[str, Any], name: str
) -> Request:
    remedy = "mend it in lxd.pools, or what its driver needs on the host (LXD, Storage drivers)"
    return Request(method, path, body, subject=name, remedy=remedy)


def _refuse_another_pool(pool: Pool, now: Json, where: str) -> None:
    remedy = "a pool's driver and source never change; declare a pool of another name"
    if now["driver"] != pool.driver:
        raise FleetError(
            f"pool {pool.name} has the driver {now['driver']}, the inventory wants {pool.driver}",
            where=where,
            remedy=remedy,
        )
    # LXD keeps what it was created with under volatile.initial_source where it derives another.
    sources = [now["config"].get(key, "") for key in ("source", "volatile.initial_source")]
    source = pool.config.get("source")
    if source and _plain(source) not in map(_plain, sources):
        raise FleetError(
            f"pool {pool.name} has the source {sources[0]}, the inventory wants {source}",
            where=where,
            remedy=remedy,
        )


def _plain(source: str) -> str:
    """A source as it was before a move to the snap rewrote it."""
    snap = LXD_FOLDERS["snap"]
    if source.startswith(f"{snap}/"):
        return LXD_FOLDERS["deb"] + source.removeprefix(snap)
    return source.removeprefix(SNAP_VIEW)


def _refuse_fixed_options(
    pool: Pool, after: Mapping[str, str], now: Mapping[str, str], actual: HostFacts
) -> None:
    for key, value in after.items():
        before = now.get(key) or "nothing"
        reason = ""
        if key in FIXED:
            reason = "LXD takes it when a pool is made, and never after"
        elif key == "size":
            reason = _why_not_resized(now.get(key, ""), value, actual)
        if reason:
            raise FleetError(
                f"pool {pool.name} has {key} {before}, the inventory wants {value}: {reason}",
                where=actual.name,
                remedy=f"declare {key}: {before}, or a pool of another name"
                if now.get(key)
                else f"leave {key} out, or declare a pool of another name",
            )


def _why_not_resized(now: str, wanted: str, actual: HostFacts) -> str:
    before, after = _bytes(now), _bytes(wanted)
    if before is None:
        return "a pool that is on no file of LXD's own has no size to set"
    if RESIZE not in actual.lxd.extensions:
        return f"this LXD cannot resize a pool (it has no {RESIZE})"
    if after is not None and after < before:
        return "a pool never shrinks"
    return ""


def _same(key: str, now: str, wanted: str) -> bool:
    size = _bytes(wanted) if key == "size" else None
    return now == wanted or (size is not None and size == _bytes(now))


_UNITS = ("", "k", "M", "G", "T", "P", "E")
_SIZE = re.compile(r"(\d+) ?([kKMGTPE]?)(i?)B?")


def _bytes(size: str) -> int | None:
    """A size as LXD reads it, with a power of 1000 or (``GiB``) of 1024; None for anything else."""
    found = _SIZE.fullmatch(size)
    if not found:
        return None
    factor = 1024 if found[3] else 1000
    return int(found[1]) * int(factor ** _UNITS.index(found[2].replace("K", "k")))
