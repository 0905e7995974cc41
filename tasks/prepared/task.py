"""The Nornir task that prepares the images of an LXD host."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.errors import FleetError, UnreachableError
from tasks.facts.lxd import lxd_facts_of
from tasks.images.copying import copy_image
from tasks.images.targets import targets_of
from tasks.images.task import others_of
from tasks.lxd_api.connection import api_of
from tasks.outcome import Attempt
from tasks.plan import Plan, Step
from tasks.prepared.builder import delete_builder, prepare_image
from tasks.prepared.plan import PreparedWrite, plan_prepared, waiting_for
from tasks.run import Run, run_of

PHASE = "images"
#: Images that one host prepares at once: each is a container with a package manager at work.
AT_ONCE = 2

logger = logging.getLogger(__name__)


def prepare_images(task: Task, dry_run: bool | None = None) -> Result:
    """Bootstrap an image once for the containers that are about to be created from it.

    Made is what ``prepare`` of an image asks for and what the host lacks: by the first host of a
    run in a container of its own, which is deleted again; the others wait for it and copy.

    Arguments:
        dry_run: plan only; None follows Nornir's own setting.

    The Result holds the record of :func:`tasks.outcome.record`. What cannot be prepared is said in
    its message and fails nothing: the containers start from the image itself then, and each says by
    itself what is wrong.
    """
    with Attempt(PHASE) as attempt:
        attempt.plan = plan = _plan(run_of(task), task.host)
        if plan.changed and not task.is_dry_run(dry_run):
            api_of(task.host)
            attempt.begun = True
            attempt.plan = _apply(task.host, plan)
            lxd_facts_of(task.host, fresh=True)
    return attempt.result(task)


def leave_waiting(host: Host) -> bool:
    """Note the containers of an LXD host that start from images which are still to be prepared.

    Returns whether there are any, and others besides that need not wait for them; the next
    ``raise_containers`` then leaves them to the one after it.
    """
    run = run_of(host)
    containers = [c for c in run.intent.containers_on(host.name) if c.name in run.selected]
    try:
        facts = lxd_facts_of(host)
        plan = _plan(run, host)
    except FleetError:
        return False  # whoever comes next says so
    others = others_of(run, host.name)
    waiting = waiting_for(
        plan, containers, run.intent.images, run.intent.profiles, facts, others=others
    )
    if not waiting or len(waiting) == len(containers):
        return False
    run.waiting[host.name] = waiting
    return True


def _plan(run: Run, host: Host) -> Plan[PreparedWrite]:
    return plan_prepared(
        [c for c in run.intent.containers_on(host.name) if c.name in run.selected],
        run.intent.images,
        run.intent.profiles,
        lxd_facts_of(host),
        others=others_of(run, host.name),
        now=datetime.now(timezone.utc),
    )


def _apply(host: Host, plan: Plan[PreparedWrite]) -> Plan[PreparedWrite]:
    """Carry out the steps side by side; those that were done, with a note on each that was not."""
    left = [step for step in plan.steps if step.write.method == "delete"]  # in the others' way
    new = [step for step in plan.steps if step.write.method != "delete"]
    refusals = [_tried(host, step) for step in left]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        refusals += pool.map(partial(_tried, host), new)
    steps = zip((*left, *new), refusals, strict=True)
    done = tuple(step for step, refusal in steps if not refusal)
    notes = (*plan.notes, *filter(None, refusals))
    return Plan(done, reason="" if done else plan.reason, notes=notes)


def _tried(host: Host, step: Step[PreparedWrite]) -> str:
    """Carry out one step; what is to be said where it could not be, "" where it was."""
    try:
        _write(host, step.write)
    except FleetError as error:
        if isinstance(error, UnreachableError) and error.where == host.name:
            raise
        logger.warning("%s: %s", host.name, error, exc_info=error)
        return f"{step.object} is not prepared: {error}"
    return ""


def _write(host: Host, write: PreparedWrite) -> None:
    api = api_of(host)
    if write.method == "delete":
        delete_builder(api, write.builder)
    elif write.method == "alias":
        api.point_alias(write.alias, write.fingerprint)
    else:
        _have(host, write)


def _have(host: Host, write: PreparedWrite) -> None:
    """Copy it from the host that has it, by now perhaps; else make it."""
    run = run_of(host)
    assert write.container is not None  # what it is prepared for
    base = targets_of(lxd_facts_of(host)).get(write.container.image, "")
    known = f"{write.alias} of {base}"
    with run.fetching(known):
        source, fingerprint = run.fetched.get(known) or (write.source, write.fingerprint)
        if source:
            copy_image(host, source, fingerprint)
            api_of(host).point_alias(write.alias, fingerprint)
        else:
            made = prepare_image(host, write.container, write.alias, base)
            run.fetched[known] = (host.name, made)
