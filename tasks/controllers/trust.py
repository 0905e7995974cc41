"""Trust of LXD hosts in the controllers of the fleet."""

from __future__ import annotations

from collections.abc import Iterator

from nornir.core.task import Result, Task

from tasks.actual import HostFacts
from tasks.controllers.known import former_controllers, known_controllers
from tasks.facts.host import facts_of
from tasks.lxd_server.trust import (
    TrustedClient,
    departed_certificates,
    former_certificates,
    plan_trust,
)
from tasks.lxd_server.writes import LxdWrite, OnHost
from tasks.onhost import on_host
from tasks.outcome import converge
from tasks.ownership import own_trust_name
from tasks.plan import Plan, Step
from tasks.run import Run, run_of
from tasks.transport import lock_host, shell_of

#: Seconds for one certificate.
DEADLINE = 120.0

#: What ``onhost/setup_lxd.sh`` is to do, and the certificate on its standard input.
TrustWrite = tuple[LxdWrite, str]


def trust_controllers(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Have the LXD of a host trust the client certificates of the fleet's controllers.

    It is the same trust, under the same name and remembered in the same way, as a run from inside
    such a controller would make in the phase ``lxd``.

    Arguments:
        dry_run: plan only, whatever Nornir's own setting says.
        prune: distrust certificates that a controller had before, and those of machines that are
            controllers no longer, instead of only telling.

    ``Result.result`` is the record of the phase ``lxd`` (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    dry = task.is_dry_run(dry_run)

    def plan(fresh: bool) -> Plan[TrustWrite]:
        facts = facts_of(host, fresh=fresh)
        if not facts.lxd.running and not dry:
            return Plan(notes=("LXD does not answer, its trust in controllers is left as it is",))
        found = [*_wanted(run, facts, dry=dry, prune=prune), *_departed(run, facts, prune=prune)]
        steps = tuple(step for step in found if isinstance(step, Step))
        notes = tuple(note for note in found if isinstance(note, str))
        return Plan(steps, "" if steps else "the fleet's controllers are trusted", notes)

    def ready() -> None:
        lock_host(host)

    def apply(planned: Plan[TrustWrite]) -> None:
        for step in planned.steps:
            write, certificate = step.write
            assert isinstance(write, OnHost)  # as all that is planned here
            script = on_host("setup_lxd", write.word, write.argument)
            done = shell_of(host).run(script, stdin=certificate.encode(), deadline=DEADLINE)
            done.check(host.name, step.what, remedy="run again")

    return converge(task, "lxd", plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _wanted(
    run: Run, facts: HostFacts, *, dry: bool, prune: bool
) -> Iterator[Step[TrustWrite] | str]:
    known = {identity.name: identity for identity in known_controllers(run)}
    for machine in run.intent.controllers:
        identity = known.get(machine.name)
        if identity is None or not (identity.certificate or dry):
            yield f"controller {machine.name} is not known yet: trusted once it is bootstrapped"
            continue
        controller = TrustedClient(identity.trust_name, identity.certificate)
        yield from _with(controller, plan_trust(facts, controller))
        if identity.trust_name != own_trust_name():
            yield from _with(controller, former_certificates(facts, controller, prune))


def _departed(run: Run, facts: HostFacts, *, prune: bool) -> Iterator[Step[TrustWrite] | str]:
    """What was trusted under its name, and its certificate under any other. A machine that was
    renamed may have kept either, and is a controller still."""
    known = known_controllers(run)
    names = {own_trust_name(), *(identity.trust_name for identity in known)}
    kept = {identity.certificate for identity in known}
    for identity in former_controllers(run):
        certificate = identity.certificate
        departed = TrustedClient(identity.trust_name, certificate)
        by_name = TrustedClient(identity.trust_name, certificate if certificate in kept else None)
        if identity.trust_name not in names:
            yield from _with(by_name, former_certificates(facts, by_name, prune))
        if certificate not in kept:
            yield from _with(departed, departed_certificates(facts, departed, prune))


def _with(
    controller: TrustedClient, found: Iterator[Step[LxdWrite] | str] | Iterator[Step[LxdWrite]]
) -> Iterator[Step[TrustWrite] | str]:
    for one in found:
        if isinstance(one, str):
            yield one
        else:
            write = (one.write, controller.certificate or "")
            yield Step(one.action, one.object, write, one.detail, one.diff)
