"""The Nornir task that brings the profiles of an LXD host to what the inventory declares."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.answering import answering
from tasks.apply import apply_all
from tasks.errors import LxdError
from tasks.facts.host import facts_of
from tasks.instances import InstanceName
from tasks.lxd_api.connection import api_of
from tasks.outcome import converge
from tasks.ownership import CREATED_KEY, marked
from tasks.plan import Plan, Step
from tasks.profiles.plan import plan_profiles
from tasks.profiles.plugging import plug, unplug
from tasks.profiles.writes import ProfileWrite, Write
from tasks.run import run_of
from tasks.transport import shell_of

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi

PHASE = "profiles"
#: Seconds that LXD may take to carry a changed profile into the instances that use it.
UPDATE_DEADLINE = 120.0
#: LXD's line for each instance that a saved profile could not be carried into.
_REFUSED = re.compile(
    r"^ - Project: (\S+), Instance: (\S+): (.*?)(?: \(HTTP \d+\))?$", re.MULTILINE
)


def sync_profiles(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Create and update the profiles that an LXD host declares, and plug in the NICs they give.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.
        prune: delete profiles that we created, that left the inventory and that nothing uses.

    The Result holds the record of :func:`tasks.outcome.record`. A step's detail names what changes
    in a profile, which instances of this host use it, where NICs change at once and where
    cloud-init runs anew at the next start; the diff says of each what happens to it. Profiles that
    the inventory does not name are left alone.

    A profile update reaches the instances at once; LXD saves it even where one of them refuses
    it, which is a failure with LXD's own list
    (https://documentation.ubuntu.com/lxd/stable-5.0/api/, ``PUT /1.0/profiles/{name}``). What then
    is missing of NICs in bridges is a step of every later run, until it is there.
    """
    intent = run_of(task).intent

    def plan(fresh: bool) -> Plan[Write]:
        facts = facts_of(task.host, fresh=fresh)
        answering(task.host.name, facts.lxd)
        return plan_profiles(intent, facts, prune=prune)

    def ready() -> LxdApi:
        return api_of(task.host)

    def apply(wanted: Plan[Write]) -> None:
        api = api_of(task.host)
        apply_all((step.object, partial(_write, task.host, api, step)) for step in wanted.steps)

    return converge(task, PHASE, plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _write(host: Host, api: LxdApi, step: Step[Write]) -> None:
    write = step.write
    if isinstance(write, ProfileWrite):
        _write_profile(api, write)
    elif write.method == "unplug":
        unplug(shell_of(host), write)
    else:
        plug(api, write)


def _write_profile(api: LxdApi, write: ProfileWrite) -> None:
    try:
        _send_profile(api, write)
    except LxdError as error:
        if type(error) is not LxdError or error.remedy:  # unreachable, refused by an instance, ...
            raise
        remedy = f"mend the profile {write.profile} in groups.yaml"
        raise LxdError(error.what, where=error.where, remedy=remedy) from error


def _send_profile(api: LxdApi, write: ProfileWrite) -> None:
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
        refused = [
            f"{InstanceName(instance, project)} ({reason})"
            for project, instance, reason in sorted(_REFUSED.findall(error.what))
        ]
        raise LxdError(
            f"it is saved, and LXD could not carry it into {', '.join(refused) or error.what}",
            where=error.where,
            remedy="every run plugs in what NICs are missing there; whatever else was changed acts "
            "there at the next restart",
        ) from error
