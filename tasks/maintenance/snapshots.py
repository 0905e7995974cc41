"""Snapshots of containers: take one, and remove those that the retention does not keep.

Ours are told by their name, which holds when they were taken; any other snapshot is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.errors import LxdError
from tasks.intent.maintenance import Retention
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.maintenance.moments import clock, snapshot_name, taken_at
from tasks.maintenance.retention import kept
from tasks.onhost import on_host
from tasks.outcome import converge
from tasks.plan import Plan, Step
from tasks.run import run_of
from tasks.transport import shell_of

TAKE = "snapshot"
PRUNE = "prune-snapshots"
#: Seconds for reading the list of snapshots, and for removing one.
READ_DEADLINE = 60.0
REMOVE_DEADLINE = 600.0


def take_snapshot(task: Task, dry_run: bool | None = None) -> Result:
    """Take a snapshot of a container, named after the moment: ``fleet-20261124T030000Z`` (UTC).

    LXD freezes the container meanwhile where its storage needs that (its driver's
    ``RunningCopyFreeze``). It is without the state of what runs, as after a power cut. Given up
    after the machine's ``maintenance.deadline`` (seconds).

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``snapshot``. Errors are in it, never raised.
    """
    container, host = _container(task)
    name = snapshot_name(clock())

    def plan(_fresh: bool) -> Plan[str]:
        return plan_snapshot(name, snapshots_of(host, container))

    def apply(wanted: Plan[str]) -> None:
        path = f"/1.0/instances/{container.name}/snapshots"
        for step in wanted.steps:
            body = {"name": step.write, "stateful": False}
            api_of(host).post(path, body, deadline=container.maintenance.deadline)

    return converge(task, TAKE, plan=plan, apply=apply, dry_run=dry_run, ready=lambda: api_of(host))


def prune_snapshots(task: Task, dry_run: bool | None = None) -> Result:
    """Remove our snapshots of a container that ``maintenance.snapshots`` does not keep.

    Where the inventory declares none, all are kept. What is kept is said by
    :func:`tasks.maintenance.retention.kept`. Snapshots with another name are never touched.

    Arguments:
        dry_run: overrides Nornir's own dry run.

    ``Result.result`` is the record of phase ``prune-snapshots``. Errors are in it, never raised.
    """
    container, host = _container(task)

    def plan(_fresh: bool) -> Plan[str]:
        rule = container.maintenance.snapshots
        if rule is None:
            return Plan(reason="maintenance.snapshots says nothing, all are kept")
        return plan_pruning(snapshots_of(host, container), rule)

    def apply(wanted: Plan[str]) -> None:
        for step in wanted.steps:
            path = f"/1.0/instances/{container.name}/snapshots/{step.write}"
            api_of(host).delete(path, deadline=REMOVE_DEADLINE)

    return converge(
        task, PRUNE, plan=plan, apply=apply, dry_run=dry_run, ready=lambda: api_of(host)
    )


def snapshots_of(host: Host, container: Container) -> list[str]:
    """The names of a container's snapshots, read over its LXD host's SSH in one exchange."""
    path = f"/1.0/instances/{container.name}/snapshots"
    script = on_host("lxd_client", str(int(READ_DEADLINE / 2)), "query", path)
    done = shell_of(host).run(script, deadline=READ_DEADLINE)
    answer = done.check(host.name, f"reading the snapshots of {container.name}").text
    try:
        return [str(path).rsplit("/", 1)[1] for path in json.loads(answer) or []]
    except (ValueError, IndexError):
        raise LxdError(
            f"LXD's answer on the snapshots of {container.name} is no list of them",
            where=host.name,
            remedy=f"look at: lxc info {container.name}",
        ) from None


def plan_snapshot(name: str, existing: Collection[str]) -> Plan[str]:
    """The step that takes the snapshot of that name, unless it is there."""
    if name in existing:
        return Plan(reason=f"snapshot {name} is there")
    return Plan((Step("create", f"snapshot {name}", name, diff=f"+snapshot {name}"),))


def plan_pruning(existing: Collection[str], rule: Retention) -> Plan[str]:
    """The steps that remove those of ours that the rule does not keep, the oldest first."""
    ours = {name: moment for name in existing if (moment := taken_at(name))}
    keep = kept(ours.values(), rule)
    going = sorted(name for name, moment in ours.items() if moment not in keep)
    steps = tuple(
        Step("delete", f"snapshot {name}", name, diff=f"-snapshot {name}") for name in going
    )
    return Plan(steps, reason="" if steps else f"nothing to remove, {len(ours)} of ours kept")


def _container(task: Task) -> tuple[Container, Host]:
    """The container that a task is run on, and its LXD host."""
    run = run_of(task)
    container = run.intent.containers[task.host.name]
    return container, run.hosts[container.on]
