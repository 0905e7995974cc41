"""One read of an LXD host for all phases, and what must be true before one of them begins."""

from __future__ import annotations

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from tasks.actual import HostFacts, Link
from tasks.errors import FleetError, UnreachableError, UsageError
from tasks.facts.host_document import parse_facts
from tasks.intent.model import LxdHost
from tasks.onhost import on_host
from tasks.outcome import Attempt
from tasks.run import run_of
from tasks.transport import shell_of

#: Seconds for the whole read; LXD itself gets 8 of them (see the script).
DEADLINE = 30.0
#: With less free space than this, in bytes, neither a file nor LXD's database is written safely.
LEAST_FREE = 50 * 1024**2


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
        except UnreachableError as error:
            run.unreachable[host.name] = str(error)
            raise
        answer.check(host.name, "reading the host")
        facts = parse_facts(host.name, answer.stdout)
        run.facts[host.name] = facts
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


def check_host(task: Task) -> Result:
    """Read an LXD host and see whether the other phases can begin. It changes nothing.

    ``Result.result`` is the record of the phase ``check`` (see :func:`tasks.outcome.record`); what
    is in the way is its message and fails the task.
    """
    with Attempt("check") as attempt:
        see_that_it_can_be_managed(task.host)
    return attempt.result(task)


def see_that_it_can_be_managed(host: Host) -> None:
    """Read an LXD host; raises :class:`FleetError` with all that is in the way of its phases."""
    obstacles = obstacles_of(run_of(host).intent.lxd_hosts[host.name], facts_of(host))
    if obstacles:
        raise FleetError("; ".join(obstacles), where=host.name)


def obstacles_of(wanted: LxdHost, actual: HostFacts) -> list[str]:
    """What stands in the way of managing this host, each with its remedy; empty when nothing."""
    obstacles = []
    if not actual.root:
        obstacles.append("commands there do not run as root, log in as root or allow sudo -n")
    if not actual.systemd:
        obstacles.append("it does not run systemd, which LXD hosts are managed with")
    if actual.os_id not in ("debian", "ubuntu"):
        obstacles.append(f"it runs {actual.os_id or 'an unknown system'}, not Debian or Ubuntu")
    if wanted.bridges and not actual.netplan_version:
        obstacles.append("netplan is missing, apt-get install netplan.io")
    nics = sorted(link.name for link in actual.links.values() if _could_be_a_nic(link))
    for role, nic in wanted.nics.items():
        if nic not in actual.links:
            there = ", ".join(nics) or "none"
            obstacles.append(f"there is no NIC {nic} for {role}; its NICs are: {there}")
    for mount, free in actual.free.items():
        if free < LEAST_FREE:
            obstacles.append(f"only {free // 1024**2} MB free on {mount}, make room there")
    return obstacles


def _could_be_a_nic(link: Link) -> bool:
    """A bridge, a vlan or a container's end is none; a bond or a virtual machine's NIC may be."""
    made_by_us = link.kind in ("bridge", "vlan") or link.name.startswith("veth")
    return not made_by_us and link.name != "lo"
