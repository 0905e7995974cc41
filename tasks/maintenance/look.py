"""A look at whether a machine is well: disk, failed units, and what its inventory declares."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from nornir.core.inventory import Host

from tasks.errors import FleetError, ProofError, UnreachableError
from tasks.intent.health import HealthCheck, HttpCheck, OutsideCheck
from tasks.maintenance.probes.http import probe_http
from tasks.maintenance.probes.sip_exchange import probe_sip
from tasks.maintenance.reading import Interval, asked, found, judge, parse
from tasks.onhost import on_host
from tasks.outcome import Attempt, Record
from tasks.plan import Plan
from tasks.run import run_of
from tasks.transport import connection_to, exec_notes, shell_of

Flaw = TypeVar("Flaw")
PHASE = "health"

logger = logging.getLogger(__name__)
#: How often a machine's health is looked at after a change, and the seconds between: services
#: start.
LOOKS = 4
PAUSE = 3.0
#: Services of one machine that are asked at once.
AT_ONCE = 8


def look_at(host: Host) -> Record:
    """The record of the phase of a machine; see :func:`tasks.maintenance.health.check_health`."""
    run = run_of(host)
    with Attempt(PHASE) as attempt:
        machine = run.intent.machine(host.name)
        try:
            problems, used = _read(host, machine.health)
        except FleetError as error:
            over_ssh = not isinstance(error, UnreachableError)
            attempt.plan = Plan(notes=tuple(_ask(host, machine.health, over_ssh=over_ssh)))
            raise
        problems += _ask(host, machine.health)
        if host.name in run.over_exec and machine.ssh.hostname:
            problems.insert(0, f"SSH does not answer: {run.over_exec[host.name]}")
        if problems:
            raise ProofError("; ".join(problems), where=host.name)
        attempt.plan = Plan(reason=used, notes=exec_notes(host))
    return attempt.entry()


def last_look(look: Callable[[], Flaw], looks: int = LOOKS) -> Flaw:
    """What is wrong by the last of some looks, which is the first that finds nothing wrong."""
    wrong = look()
    for _ in range(looks - 1):
        if not wrong:
            break
        time.sleep(PAUSE)
        wrong = look()
    return wrong


def wrong_in(entry: Record) -> str:
    """What a record of health says is wrong, without the machine's name; empty where it is well."""
    said = str(entry["message"])
    return "" if entry["status"] == "ok" else said.partition(": ")[2] or said


def _read(host: Host, checks: Sequence[HealthCheck]) -> tuple[list[str], str]:
    """What is wrong as seen on the machine, and what was found there."""
    arguments, deadline = asked(checks)
    shell = shell_of(host)
    before = time.time()
    done = shell.run(on_host("health", *arguments), deadline=deadline)
    asked_in = Interval(before, time.time())
    reading = parse(done.check(host.name, "reading the machine's health").text)
    problems = judge(checks, reading, asked_in)
    return problems, "" if problems else found(checks, reading)


def _ask(host: Host, checks: Sequence[HealthCheck], *, over_ssh: bool = True) -> list[str]:
    """What is wrong with the machine's services; ``over_ssh`` is tried where it may be needed."""

    def connect(address: str, port: int, deadline: float) -> socket.socket:
        return connection_to(host, address, port, deadline=deadline, over_ssh=over_ssh)

    def ask(check: OutsideCheck) -> str:
        try:
            if isinstance(check, HttpCheck):
                return probe_http(check, connect)
            return probe_sip(check, connect)
        except Exception as error:  # what else was found is told all the same
            logger.exception("%s: %s", host.name, check)
            return f"internal error: {type(error).__name__}: {error}"

    outside = [check for check in checks if isinstance(check, OutsideCheck)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [problem for problem in pool.map(ask, outside) if problem]
