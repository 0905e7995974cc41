"""A report as the body of a mail: what ``--quiet`` writes into a pipe, which cron sends on.

Machines to which the very same happened are told of together; those that are as wanted are not.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from tasks.outcome import Record
from tasks.report import HostReport, Report
from tasks.terminal.words import (
    clean,
    count,
    grouped,
    label,
    mesh,
    status_label,
    undone,
    worth_a_line,
)

#: RFC 5322 (2.1.1) asks for no more than 78 characters, which leaves one for a quoting sign.
WIDTH = 78
PACKAGE = "package "
_URGENCY = ("failed", "unreachable", "changed", "pending", "skipped", "ok")


def as_mail(report: Report) -> str:
    """A report as plain lines: one sentence, then who failed, who changed, who was skipped."""
    told = [host for _, host in grouped(report) if _is_told(host)]
    told.sort(key=lambda host: not _lost(host))
    blocks = ["\n".join(_wrapped(_sentence(report)))]
    blocks += _machines(told, report.dry_run)
    blocks += _skipped(host for _, host in grouped(report) if not _is_told(host))
    blocks += ["\n".join(_wrapped(clean(line))) for line in undone(report)]
    if any(
        outcome != "ok" for host in report.hosts.values() for outcome in (host.edges or {}).values()
    ):
        blocks += ["\n".join(_wrapped(line)) for line in mesh(report)]
    started = datetime.fromisoformat(report.started)
    blocks.append(f"Started {started:%Y-%m-%d %H:%M}, took {_duration(report.seconds)}.")
    return "\n\n".join(blocks)


def _sentence(report: Report) -> str:
    """What happened: how many machines ended how, and what ended the run."""
    counts = count(report)
    worst_first = sorted(counts, key=_URGENCY.index)
    told = ", ".join(f"{counts[s]} {'as wanted' if s == 'ok' else s}" for s in worst_first)
    ended = f" ended by {report.ended}" if report.ended else ""
    dry = "; dry run, nothing was changed" if report.dry_run else ""
    of = sum(counts.values())
    machines = f"of {of} machine{'' if of == 1 else 's'}"
    return f"{report.runbook} {report.inventory}{ended}: {machines} {told}{dry}."


def _is_told(host: HostReport) -> bool:
    """Whether it changed or failed; one that only left a phase out is told in few words."""
    return host.changed or _lost(host)


def _lost(host: HostReport) -> bool:
    return host.status in ("failed", "unreachable")


def _machines(hosts: Iterable[HostReport], dry_run: bool) -> Iterator[str]:
    """A block for each thing that happened, with the names of all machines it happened to."""
    alike: dict[tuple[str, str], list[str]] = {}
    for host in hosts:
        phases = [phase for phase in host.phases if worth_a_line(phase)]
        lines = [line for phase in phases for line in _phase(host, phase, dry_run)]
        status = label(host, dry_run)
        if host.changed and status in ("failed", "skipped", "unreachable"):
            status += ", and changed"
        alike.setdefault((status, "\n".join(lines)), []).append(host.name)
    for (status, body), names in alike.items():
        yield "\n".join([*_wrapped(f"{', '.join(names)}: {status}", hang="  "), body])


def _phase(host: HostReport, phase: Record, dry_run: bool) -> Iterator[str]:
    """A phase, its packages from version to version, its other steps, what it has to say."""
    steps = phase["steps"]
    packages = [step for step in steps if step["object"].startswith(PACKAGE)]
    told = [f"{len(packages)} package{'' if len(packages) == 1 else 's'}"] if packages else []
    status = status_label(phase["status"], dry_run)
    yield f"  {phase['phase']} {status}{': ' if told else ''}{''.join(told)}"
    for step in steps:
        yield from _wrapped(_step(step), indent="    ", hang="      ")
    for line in clean(phase["message"].removeprefix(f"{host.name}: ")).splitlines():
        yield from _wrapped(line, indent="    ", hang="    ")
    if dry_run and len(packages) < len(steps):  # what became of packages stands there already
        yield from (f"      {line}" for line in clean(phase["diff"]).splitlines())


def _step(step: Mapping[str, str]) -> str:
    name = step["object"].removeprefix(PACKAGE)
    if name != step["object"]:
        verb = "" if step["action"] == "upgrade" else f"{step['action']} "
        return clean(f"{verb}{name} {step['detail']}")
    detail = f" ({step['detail']})" if step["detail"] else ""
    return clean(f"{step['action']} {step['object']}{detail}")


def _skipped(hosts: Iterable[HostReport]) -> Iterator[str]:
    """One line for each reason for which machines were left out."""
    reasons: dict[str, list[str]] = {}
    for host in hosts:
        for phase in host.phases:
            if phase["status"] == "skipped":
                reasons.setdefault(clean(phase["message"]), []).append(host.name)
                break
    lines = [
        line
        for reason, names in reasons.items()
        for line in _wrapped(f"{', '.join(names)}: {reason}", indent="  ", hang="    ")
    ]
    if lines:
        yield "\n".join(["Skipped:", *lines])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _wrapped(line: str, *, indent: str = "", hang: str = "") -> list[str]:
    """A line folded at its spaces; a word stays whole, however long."""
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=hang,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
