"""Carrying out one container's plan, in whichever way each of its steps is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.actual import LxdFacts
from tasks.containers.migration import move, move_back
from tasks.containers.replugging import not_there_again
from tasks.containers.restarting import out_of_service, see_that_it_is_up
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import apply_steps, restart
from tasks.errors import FleetError
from tasks.facts.lxd import lxd_facts_of
from tasks.images.targets import targets_of
from tasks.intent.model import Container
from tasks.lxd_api.connection import api_of
from tasks.plan import Plan, Step
from tasks.run import Run

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi


def carry_out(
    api: LxdApi,
    run: Run,
    container: Container,
    plan: Plan[ContainerWrite],
    *,
    force: bool,
    allow_restart: bool,
) -> tuple[str, ...]:
    """Carry out the steps of a container in order; the first that fails ends it.

    Arguments:
        api: of the LXD host that the container is declared on.
        force: stop hard what does not shut down by itself.
        allow_restart: restart it where a NIC that was plugged in anew has not got its addresses
            again by itself.

    Returns what is to be noted of it.
    """
    source = next((step.write.host for step in plan.steps if step.action == "move"), "")
    steps = [step for step in plan.steps if step.action != "move"]
    if source:
        with out_of_service(run, container):
            move(run, container, source, force=force)
            try:
                apply_steps(api, [step for step in steps if not step.write.host], force=force)
                see_that_it_is_up(run, container)
            except FleetError as error:
                raise move_back(run, container, source, error) from error
        steps = [step for step in steps if step.write.host]
    for step in steps:
        if step.action == "restart":
            _restart(api, run, container, force=force)
        elif step.write.host:
            see_that_it_is_up(run, container)
            _let_go_there(run, step)
        else:
            apply_steps(api, [step], force=force)
    plugged = [nic for step in steps for nic in step.write.plugged if container.running]
    missing = not_there_again(run, container, plugged)
    if not missing:
        return ()
    said = f"{', '.join(missing)} did not come back by itself after that"
    if any(step.action == "restart" for step in steps):
        return (f"{said}, nor by its restart",)
    if not allow_restart:
        ours = run.intent.images[container.image].network_config is None
        how = "the phase bootstrap sees to it" if ours else f"lxc restart {container.name} does"
        return (f"{said}; {how}",)
    _restart(api, run, container, force=force)
    still = not_there_again(run, container, plugged)
    return (f"{said}, so it was restarted{', which did not help' if still else ''}",)


def _restart(api: LxdApi, run: Run, container: Container, *, force: bool) -> None:
    with out_of_service(run, container):
        restart(api, container.name, force=force)
        see_that_it_is_up(run, container)


def _let_go_there(run: Run, step: Step[ContainerWrite]) -> None:
    there = run.hosts[step.write.host]
    apply_steps(api_of(there), [step])
    lxd_facts_of(there, fresh=True)


def check_sources(
    run: Run, container: Container, plan: Plan[ContainerWrite], facts: LxdFacts
) -> None:
    """See that the image and the profiles of a container are on its LXD host.

    Raises :class:`FleetError` naming what is missing there, and why this run did not bring it.
    """
    host = container.on
    aliases = targets_of(facts)
    for write in (step.write for step in plan.steps):
        if write.action == "create" and write.image not in aliases:
            why = run.no_images.get((host, write.image), "")
            raise _missing(f"image {write.image}", "images", host, why)
        needed = container.profiles if write.action == "move" else write.profiles
        for profile in needed or ():
            if profile not in facts.profiles:
                raise _missing(f"profile {profile}", "profiles", host)


def _missing(what: str, phase: str, host: str, why: str = "") -> FleetError:
    return FleetError(
        f"{what} is not on this host" + (f": {why}" if why else ""),
        where=host,
        remedy=f"look at what the phase {phase} says there, or run it first",
    )
