"""Read every LXD host once and hold it against the inventory."""

from __future__ import annotations

import time

from nornir.core import Nornir
from nornir.core.task import Result, Task

from tasks.errors import FleetError
from tasks.facts.host import facts_of
from tasks.profiles.across import compare_across
from tasks.report import now
from tasks.run import run_of
from tasks.status.compare import host_status
from tasks.status.history import read_history
from tasks.status.report import StatusReport


def status(nr: Nornir) -> StatusReport:
    """Read every LXD host that the run selects, or that carries a selected container, in parallel.

    Takes no lock and changes nothing; containers are seen through their hosts, never contacted. A
    host that is selected shows all its containers, but those that the limit excludes.

    Arguments:
        nr: from ``open_fleet``, whose ``limit`` holds here.

    Returns the report; a host that does not answer is in it as such. What the last runs did to
    these machines comes from this controller's own reports.
    """
    started, began = now(), time.monotonic()
    run = run_of(nr)
    shown = run.selected | {
        c.name
        for c in run.intent.containers.values()
        if c.on in run.selected and c.name not in run.excluded
    }
    carrying = {c.on for c in run.intent.containers.values() if c.name in run.selected}
    names = [h for h in run.intent.lxd_hosts if h in run.selected or h in carrying]
    problems: dict[str, str] = {}

    def read(task: Task) -> Result:
        try:
            facts_of(task.host)
        except FleetError as error:
            problems[task.host.name] = str(error)
        return Result(host=task.host)

    if names:
        part = nr.filter(filter_func=lambda host: host.name in names)
        for name, results in part.run(task=read, name="read", on_failed=True).items():
            if results.exception:
                problems[name] = f"internal error: {results.exception}"
    told_of = [n for n in run.intent.names() if n in shown or n in names]
    history = read_history(run.state.reports, told_of)
    facts = {name: run.facts[name] for name in names if name in run.facts}
    return StatusReport(
        inventory=run.intent.name,
        started=started,
        seconds=time.monotonic() - began,
        hosts=tuple(
            host_status(run.intent, name, facts.get(name), problems.get(name, ""), shown)
            for name in names
        ),
        profiles=compare_across(run.intent, facts),
        machines={m.name: m.ssh.hostname for m in run.intent.machines.values()},
        history=history,
    )
