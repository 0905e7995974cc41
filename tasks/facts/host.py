"""One read of an LXD host for all phases."""

from __future__ import annotations

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts
from tasks.errors import FleetError, UnreachableError, UsageError
from tasks.facts.host_document import parse_facts
from tasks.onhost import on_host
from tasks.run import run_of
from tasks.transport import shell_of

#: Seconds for the whole read; LXD itself gets 8 of them (see the script).
DEADLINE = 30.0


def facts_of(host: Host, *, fresh: bool = False) -> HostFacts:
    """The facts of an LXD host, read once a run, or again with ``fresh``.

    Raises :class:`UsageError` for another machine, and :class:`UnreachableError` where the host
    cannot be reached, at once where that is known already; the reason is kept in the run's
    ``unreachable``.
    """
    run = run_of(host)
    if host.name not in run.intent.lxd_hosts:
        raise UsageError(f"{host.name} is no LXD host", remedy="run it on one: nr.filter(name=...)")
    with run.reading(host.name):
        if host.name in run.facts and not fresh:
            return run.facts[host.name]
        if host.name in run.unreachable and not fresh:
            raise UnreachableError(run.unreachable[host.name])
        wanted = run.intent.lxd_hosts[host.name]
        asked = (*wanted.client_users, "--", *wanted.lxd.kernel.keys)
        try:
            answer = shell_of(host).run(on_host("read_host", *asked), deadline=DEADLINE)
            answer.check(host.name, "reading the host")
            facts = parse_facts(host.name, answer.stdout)
        except UnreachableError as error:
            run.unreachable[host.name] = str(error)
            raise
        except FleetError as error:
            run.unread[host.name] = str(error)
            raise
        run.facts[host.name] = facts
        run.unread.pop(host.name, None)
        run.unreachable.pop(host.name, None)
        return facts


def facts_or_none(host: Host) -> HostFacts | None:
    """The facts of an LXD host, as :func:`facts_of` has them; None where it cannot be read, which
    is that host's own failure and none of those that look at it."""
    try:
        return facts_of(host)
    except FleetError:
        return None


def gather_facts(task: Task, refresh: bool = False) -> Result:
    """Read an LXD host. It changes nothing.

    Arguments:
        refresh: read again instead of using what this run has read already.

    ``Result.result`` is the host's :class:`~tasks.actual.HostFacts`.
    """
    return Result(host=task.host, result=facts_of(task.host, fresh=refresh))
