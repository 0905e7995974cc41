"""The Nornir task that brings the profiles of an LXD host to what the inventory declares."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nornir.core.task import Result, Task

from tasks.apply import apply_all
from tasks.errors import LxdError
from tasks.facts.lxd import lxd_facts_of
from tasks.lxd_api.connection import api_of
from tasks.outcome import converge
from tasks.ownership import CREATED_KEY, marked
from tasks.plan import Plan, Step
from tasks.profiles.plan import ProfileWrite, plan_profiles
from tasks.run import run_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "profiles"
#: Seconds that LXD may take to carry a changed profile into the instances that use it.
UPDATE_DEADLINE = 120.0


def sync_profiles(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Create and update the profiles that an LXD host declares.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.
        prune: delete profiles that we created, that left the inventory and that nothing uses.

    The Result holds the record of :func:`tasks.outcome.record`; a step's detail names what changes
    and which instances of this host use it. Profiles that the inventory does not name are left
    alone.

    A profile update reaches the instances at once; LXD saves it even where one of them refuses
    it, which is reported as a failure with LXD's own list
    (https://documentation.ubuntu.com/lxd/stable-5.0/api/, ``PUT /1.0/profiles/{name}``).
    """
    intent = run_of(task).intent
    host = intent.lxd_hosts[task.host.name]

    def plan(fresh: bool) -> Plan[ProfileWrite]:
        facts = lxd_facts_of(task.host, fresh=fresh)
        return plan_profiles(host, intent.profiles, facts, prune=prune)

    def ready() -> LxdApi:
        return api_of(task.host)

    def apply(wanted: Plan[ProfileWrite]) -> None:
        api = api_of(task.host)
        apply_all((step.object, partial(_write, api, step)) for step in wanted.steps)

    return converge(task, PHASE, plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _write(api: LxdApi, step: Step[ProfileWrite]) -> None:
    write = step.write
    path = f"/1.0/profiles/{write.profile}"
    if write.method == "create":
        config = marked(write.profile, write.body["config"])
        body = {**write.body, "name": write.profile, "config": config}
        api.post("/1.0/profiles", body)
    elif write.method == "delete":
        api.delete(path)
    else:
        _update(api, path, write)


def _update(api: LxdApi, path: str, write: ProfileWrite) -> None:
    def change(current: dict[str, Any]) -> dict[str, Any]:
        mark = {k: v for k, v in (current.get("config") or {}).items() if k == CREATED_KEY}
        return {**write.body, "config": {**write.body["config"], **mark}}

    try:
        api.update(path, change, deadline=UPDATE_DEADLINE)
    except LxdError as error:
        if "change still saved" not in error.what:
            raise
        raise LxdError(
            error.what,
            where=error.where,
            remedy="the profile itself is changed and the next run sees no difference: mend or "
            "restart the instances named here",
        ) from error
