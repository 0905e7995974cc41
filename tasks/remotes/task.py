"""The phase ``remotes``."""

from __future__ import annotations

from nornir.core.task import Result, Task

from tasks.actual import HostFacts
from tasks.answering import answering
from tasks.errors import FleetError
from tasks.facts.host import facts_of, facts_or_none
from tasks.onhost import on_host
from tasks.outcome import converge
from tasks.plan import Plan
from tasks.remotes.peer import Peer
from tasks.remotes.plan import plan_remotes
from tasks.remotes.writes import RemotesWrite, script_input
from tasks.run import Run, run_of
from tasks.transport import lock_host, shell_of


def sync_remotes(task: Task, dry_run: bool | None = None, prune: bool = False) -> Result:
    """Bring an LXD host's trust store and its users' remotes to the mesh of the inventory.

    Every LXD host of the fleet is a remote under its inventory name for each client user, with the
    server certificate pinned that was read on that host in this run; the users' client certificates
    of all hosts are trusted. No password, no prompt, no certificate accepted blindly. The remote of
    an unreachable peer is left exactly as it is.

    Arguments:
        dry_run: plan only, whatever Nornir's own setting says.
        prune: remove remotes and trust that we made and the inventory no longer has, instead of
            only reporting them.

    ``Result.result`` is the record of the phase ``remotes`` (see :func:`tasks.outcome.record`).
    """
    host = task.host
    run = run_of(task)
    wanted = run.intent.lxd_hosts[host.name]
    dry = task.is_dry_run(dry_run)

    def plan(fresh: bool) -> Plan[RemotesWrite]:
        facts = facts_of(host, fresh=fresh)
        answering(host.name, facts.lxd)
        return plan_remotes(wanted, facts, _peers(run, facts), dry=dry, prune=prune)

    def ready() -> None:
        lock_host(host)

    def apply(planned: Plan[RemotesWrite]) -> None:
        facts = facts_of(host)
        script = on_host("sync_remotes", facts.lxd.client)
        done = shell_of(host).run(script, stdin=script_input(facts, planned), deadline=60)
        if done.status == 14:
            raise FleetError(
                done.stderr.decode(errors="replace").strip(),
                where=host.name,
                remedy="someone uses lxc remote there at this moment; run again",
            )
        done.check(host.name, "writing remotes and trust")

    return converge(task, "remotes", plan=plan, apply=apply, dry_run=dry_run, ready=ready)


def _peers(run: Run, own: HostFacts) -> list[Peer]:
    """All LXD hosts with what this run has read of them; one that was not read yet is read now."""
    return [
        Peer(wanted, own if name == own.name else facts_or_none(run.hosts[name]))
        for name, wanted in run.intent.lxd_hosts.items()
    ]
