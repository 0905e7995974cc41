"""The phase ``lxd``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts
from tasks.errors import CommandError, DeadlineError, LxdError
from tasks.facts.host import facts_of
from tasks.intent.secret import Secret
from tasks.lxd_api.connection import api_of
from tasks.lxd_server.plan import plan_lxd
from tasks.lxd_server.trust import TrustedClient
from tasks.lxd_server.writes import LxdWrite, Move, OnHost, Request
from tasks.onhost import on_host, script_of
from tasks.outcome import converge
from tasks.ownership import own_trust_name
from tasks.plan import Plan
from tasks.run import Run, run_of
from tasks.transport import disconnect, lock_host, shell_of

#: Seconds for installing LXD, waiting for dpkg's lock included, and for the rest on the host.
INSTALL_DEADLINE = 900.0
SETUP_DEADLINE = 180.0
#: The words of ``onhost/setup_lxd.sh`` that install something.
LONG = frozenset({"install", "channel"})
#: Seconds that a move to the snap is waited for, most of them for data that is copied; it goes on
#: by itself after them. The second figure is for ending the wait.
MOVE_WAIT, MOVE_DEADLINE = 1800, 1830.0
#: The exit status of ``onhost/move_lxd.sh`` while the move is under way.
STILL_MOVING = 75


def setup_lxd(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Bring LXD on a host to what the inventory intends, from its installation on.

    Installation, listen address, trust in the controller and the client certificates of its users
    go over SSH in one exec, kernel settings with them; pools, server config and the root disk in
    the profile default go over LXD's API, whose certificate is pinned first as read over SSH. A
    move from the Debian package to the snap comes first, in an exec of its own, and what is left to
    do is planned anew after it; its containers stop meanwhile.

    Arguments:
        dry_run: plan only, whatever Nornir's own setting says.
        prune: distrust certificates that this controller had before, instead of only telling.

    ``Result.result`` is the record of the phase ``lxd`` (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    wanted = run.intent.lxd_hosts[host.name]
    dry = task.is_dry_run(dry_run)

    def plan(fresh: bool) -> Plan[LxdWrite]:
        facts = facts_of(host, fresh=fresh)
        if not dry:
            _pin(run, host, facts)
        return plan_lxd(wanted, facts, _controller(run, create=not dry), prune=prune)

    def ready() -> None:
        lock_host(host)

    def apply(planned: Plan[LxdWrite]) -> Plan[LxdWrite]:
        for step in planned.steps:
            if isinstance(step.write, Move):
                _move(host, step.write, wanted.client_users)
                rest = plan(True)
                planned = replace(rest, steps=(step, *rest.steps), reason="")
                break
        writes = [step.write for step in planned.steps]
        _apply_on_host(host, run, [write for write in writes if isinstance(write, OnHost)])
        _apply_requests(host, [write for write in writes if isinstance(write, Request)])
        return planned

    return converge(task, "lxd", plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _controller(run: Run, *, create: bool) -> TrustedClient:
    certificate = run.state.client_certificate(create=create)
    pem = certificate.pem if certificate else None
    return TrustedClient(own_trust_name(), pem, run.state.next_certificate())


def _pin(run: Run, host: Host, facts: HostFacts) -> None:
    """Keep the pin equal to the server's certificate, which was read over a trusted connection."""
    if facts.lxd.certificate:
        _write_pin(run, host, facts.lxd.certificate)


def _write_pin(run: Run, host: Host, pem: str) -> None:
    pin = run.state.pin(host.name)
    if pin is None or pin.read_text() != pem:
        run.state.write_pin(host.name, pem)
        disconnect(host, "lxd")


def _move(host: Host, move: Move, users: Iterable[str]) -> None:
    done = shell_of(host).run(
        on_host("move_lxd", str(MOVE_WAIT), move.channel, *users),
        stdin=script_of("migrate_lxd").encode(),
        deadline=MOVE_DEADLINE,
    )
    if done.status == STILL_MOVING:
        raise DeadlineError(
            done.stderr.decode(errors="replace").strip(),
            where=host.name,
            remedy="run again: the next run waits for its end",
        )
    done.check(host.name, "moving LXD to its snap", remedy="run again once its cause is mended")


def _apply_on_host(host: Host, run: Run, writes: Iterable[OnHost]) -> None:
    words = [word for write in writes for word in (write.word, write.argument)]
    if not words:
        return
    certificate = run.state.client_certificate(create=True)
    done = shell_of(host).run(
        on_host("setup_lxd", *words),
        stdin=certificate.pem.encode() if certificate else b"",
        deadline=INSTALL_DEADLINE if LONG.intersection(words) else SETUP_DEADLINE,
    )
    done.check(host.name, "setting up LXD", remedy="run again once its cause is mended")
    if "BEGIN CERTIFICATE" not in done.text:
        raise CommandError("LXD has made no server certificate", where=host.name)
    _write_pin(run, host, done.text)


def _apply_requests(host: Host, writes: Iterable[Request]) -> None:
    for write in writes:
        body = {key: _revealed(value) for key, value in write.body.items()}
        try:
            if write.method == "post":
                api_of(host).post(write.path, body)
            else:
                api_of(host).patch(write.path, body)
        except LxdError as error:
            if type(error) is not LxdError:  # unreachable, untrusted, ...
                raise
            # Without what led to it: LXD's own words may have a secret's value in them.
            raise LxdError(
                f"{write.subject}: {error.what}", where=host.name, remedy=write.remedy
            ) from None


def _revealed(value: Any) -> Any:
    """A request's value with the secrets in it read, at the last moment."""
    if isinstance(value, Secret):
        return value.read()
    if isinstance(value, dict):
        return {key: _revealed(inner) for key, inner in value.items()}
    return value
