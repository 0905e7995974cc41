"""Whether machines differ from their inventory: a dry run of provision, a line for each of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import groupby

from nornir.core import Nornir
from nornir.core.inventory import Defaults, Host, Hosts, Inventory
from nornir.core.state import GlobalState
from nornir.core.task import Result, Task

from tasks.errors import UsageError
from tasks.outcome import Record, failure, record, result_of
from tasks.provision import provision
from tasks.report import HostReport
from tasks.run import RUN_KEY, Run, run_of

PHASE = "drift"
#: Steps that are told of one machine; the dry run itself tells all of them.
FEW = 8
REMEDY = "provision.py --dry-run shows how"


def find_drift(task: Task) -> Result:
    """Say whether a machine differs from the inventory, and in which steps of a provision.

    What is compared is all that was selected when the fleet was opened, as a dry run of
    ``provision`` does it: once a run, by whoever asks first, while the others wait for it. It takes
    no lock on a host and changes nothing, so that it runs in a dry run as well.

    ``Result.result`` is the record of phase ``drift``: ok; or failed, with the steps that a
    provision would take in its message and all their diffs in ``diff``, or with what kept it from
    being seen; a machine that provision leaves out is skipped. Errors are in it, never raised.
    """
    run = run_of(task)
    try:
        if task.host.name not in run.selected:
            raise UsageError(
                f"{task.host.name} is not among what was selected",
                remedy="open the fleet with a limit that has it",
            )
        with run.comparing():
            if run.drift is None:
                run.drift = _compared(task.nornir, run)
        entry = run.drift[task.host.name]
    except Exception as error:  # an error ends this machine's job, never the run
        entry = failure(PHASE, error)
    return result_of(task, entry)


def summary_of(machine: HostReport) -> Record:
    """One machine of a dry run of provision as a record of phase ``drift``."""
    troubles = [p for p in machine.phases if p["status"] in ("failed", "unreachable")]
    steps = list(_steps(machine))
    said = [*_told(steps), *(f"{p['phase']}: {p['message']}" for p in troubles)]
    if troubles:
        unreachable = all(phase["status"] == "unreachable" for phase in troubles)
        entry = record(PHASE, "unreachable" if unreachable else "failed", message="; ".join(said))
    elif steps:
        entry = record(PHASE, "failed", message="; ".join((*said, REMEDY)))
    elif machine.status == "skipped":
        reason = next(p["message"] for p in machine.phases if p["status"] == "skipped")
        entry = record(PHASE, "skipped", message=reason)
    else:
        entry = record(PHASE, "ok", message="as the inventory has it")
    diff = "\n".join(phase["diff"] for phase in machine.phases if phase["diff"])
    return {**entry, "diff": diff, "seconds": machine.seconds}


def _steps(machine: HostReport) -> Iterator[tuple[str, str]]:
    """What a provision would do, each with its phase."""
    for phase in machine.phases:
        if phase["changed"]:
            yield from ((phase["phase"], f"{s['action']} {s['object']}") for s in phase["steps"])


def _told(steps: list[tuple[str, str]]) -> Iterator[str]:
    """The first of the steps by phase, in one text; nothing where there is none."""
    if not steps:
        return
    parts = [
        f"{phase}: {', '.join(step for _, step in group)}"
        for phase, group in groupby(steps[:FEW], key=lambda step: step[0])
    ]
    more = f" and {len(steps) - FEW} more" if len(steps) > FEW else ""
    yield f"differs from the inventory in {'; '.join(parts)}{more}"


def _compared(nr: Nornir, run: Run) -> Mapping[str, Record]:
    """A dry run of provision over what is selected: machine -> its record."""
    try:
        report = provision(_twin(nr, run))
    except Exception as error:  # nobody needs to try it again
        return dict.fromkeys(run.selected, failure(PHASE, error))
    return {name: summary_of(machine) for name, machine in report.hosts.items()}


def _twin(nr: Nornir, run: Run) -> Nornir:
    """The same fleet over the same connections, as a dry run of its own.

    It counts its exchanges with this run, and ends when this run shall. What was read of LXD hosts
    is read anew where this run has a lock, and so may have changed them. Without this run's
    processors: the progress that it shows is this job's.
    """
    dry = Run(
        run.intent,
        run.state,
        selected=run.selected,
        excluded=run.excluded,
        facts={} if run.locks else dict(run.facts),
        unreachable=dict(run.unreachable),
        host_keys=run.host_keys,
        exchanges=run.exchanges,
        stop=run.stop,
        dry_run=True,
    )
    defaults = copy.copy(nr.inventory.defaults)
    defaults.data = {**defaults.data, RUN_KEY: dry}
    dry.hosts = Hosts({name: _with(host, defaults) for name, host in run.hosts.items()})
    return Nornir(
        Inventory(Hosts(dry.hosts), nr.inventory.groups, defaults),
        runner=nr.runner,
        config=nr.config,
        data=GlobalState(dry_run=True),
    )


def _with(host: Host, defaults: Defaults) -> Host:
    """A host that shares all with another one, its open connections among it, but the defaults."""
    twin = copy.copy(host)
    twin.defaults = defaults
    return twin
