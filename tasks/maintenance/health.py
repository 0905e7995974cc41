"""Check that a machine is well: disk, failed units, and what its inventory declares."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from nornir.core.task import Result, Task

from tasks.errors import ProofError
from tasks.intent.model import HealthCheck
from tasks.onhost import on_host
from tasks.outcome import failure, record, result_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import exec_notes, shell_of

PHASE = "health"
#: Percent of / that may be in use where the inventory declares nothing.
FULL = 90
#: Seconds for the one exchange.
DEADLINE = 60.0


@dataclass(frozen=True)
class Reading:
    """What a machine said: ``disk`` and ``inodes`` in percent of / in use, None where unread."""

    disk: int | None = None
    inodes: int | None = None
    failed: tuple[str, ...] = ()
    silent: bool = False
    services: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)


def check_health(task: Task) -> Result:
    """Look at disk space and inodes of /, failed systemd units, and the declared health checks.

    Reads only, in one exchange, so that it runs in a dry run as well. A container that has an
    address for SSH and does not answer there is read through its LXD host, and is not well.

    ``Result.result`` is the record of phase ``health``: ok with what was found, or failed with
    everything that is wrong. Errors are in the record, never raised.
    """
    started = time.monotonic()
    name = task.host.name
    run = run_of(task)
    try:
        checks = run.intent.machine(name).health
        asked = [f"{c.kind}:{c.argument}" for c in checks if c.kind != "disk"]
        done = shell_of(task.host).run(on_host("health", *asked), deadline=DEADLINE)
        reading = parse(done.check(name, "reading the machine's health").text)
        problems = judge(checks, reading)
        if name in run.over_exec and run.intent.machine(name).ssh.hostname:
            problems.insert(0, f"SSH does not answer: {run.over_exec[name]}")
        if problems:
            raise ProofError("; ".join(problems), where=name)
    except Exception as error:
        return result_of(task, failure(PHASE, error, seconds=time.monotonic() - started))
    used = f"disk {reading.disk} %, inodes {reading.inodes} %"
    plan: Plan[None] = Plan(reason=used, notes=exec_notes(task.host))
    return result_of(task, record(PHASE, "ok", plan=plan, seconds=time.monotonic() - started))


def parse(output: str) -> Reading:
    """The lines of ``onhost/health.sh``."""
    words = [line.split() for line in output.splitlines() if line.strip()]
    percent = {w[0]: int(w[1]) for w in words if w[0] in ("disk", "inodes")}
    return Reading(
        disk=percent.get("disk"),
        inodes=percent.get("inodes"),
        failed=tuple(w[1] for w in words if w[0] == "failed"),
        silent=["systemd", "silent"] in words,
        services={w[1]: w[2] for w in words if w[0] == "service"},
        ports={w[1]: w[2] for w in words if w[0] == "port"},
    )


def judge(checks: Sequence[HealthCheck], reading: Reading) -> list[str]:
    """All that is wrong, in words; empty for a machine that is well."""
    limit = min((int(c.argument) for c in checks if c.kind == "disk"), default=FULL)
    problems = []
    for what, used in (("disk", reading.disk), ("inodes", reading.inodes)):
        if used is None:
            problems.append(f"{what}: not known")
        elif used > limit:
            problems.append(f"{what}: / is {used} % full, more than {limit} %")
    if reading.failed:
        problems.append(f"failed units: {', '.join(reading.failed)}")
    if reading.silent:
        problems.append("systemd does not answer")
    for check in checks:
        if check.kind == "service":
            state = reading.services.get(check.argument, "unknown")
            if state != "active":
                problems.append(f"service {check.argument} is {state}")
        elif check.kind == "port" and reading.ports.get(check.argument) != "open":
            problems.append(f"nothing listens on TCP port {check.argument}")
    return problems
