"""A report in words, for plain lines and for tables alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.outcome import Record
from tasks.report import HostReport, Report

STYLES = {
    "ok": "green",
    "changed": "yellow",
    "pending": "yellow",
    "skipped": "cyan",
    "failed": "bold red",
    "unreachable": "bold red",
}
#: What a machine says may reach a terminal: no control characters but the new line and the tab.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def as_text(report: Report) -> str:
    """A report as plain lines: LXD hosts, under each its containers, then the other machines."""
    lines = []
    for depth, host in grouped(report):
        indent = "  " * depth
        lines.append(f"{indent}{host.name} {label(host, report.dry_run)} {host.seconds:.1f}s")
        for phase in host.phases:
            if not worth_a_line(phase):
                continue
            said = what_happened(host, phase).replace("\n", f"\n{indent}      ")
            status = status_label(phase["status"], report.dry_run)
            lines.append(f"{indent}  {phase['phase']} {status}{': ' if said else ''}{said}")
            if report.dry_run and phase["diff"]:
                lines += [f"{indent}    {line}" for line in clean(phase["diff"]).splitlines()]
    return "\n".join([*lines, totals(report), *undone(report), *mesh(report), *minutes(report)])


def grouped(report: Report) -> Iterator[tuple[int, HostReport]]:
    """All machines with their depth: an LXD host (0), its containers (1), other machines (0).

    A container whose LXD host is not in the report stands by itself.
    """
    hosts = list(report.hosts.values())
    carried = {h.name: [c for c in hosts if c.on == h.name] for h in hosts if h.kind == "lxd"}
    for host in hosts:
        if host.on in carried:
            continue
        yield 0, host
        for container in carried.get(host.name, []):
            yield 1, container


def newsworthy(host: HostReport) -> bool:
    """Whether a machine is more than as wanted."""
    return host.status != "ok"


def worth_a_line(phase: Record) -> bool:
    """A phase that did something, could not, or has a note gets a line of its own."""
    return phase["status"] != "ok" or bool(phase.get("notes"))


def label(host: HostReport, dry_run: bool) -> str:
    """A machine's status in words; in a dry run a change is only pending."""
    lost = host.status in ("failed", "unreachable")
    return "pending" if dry_run and host.changed and not lost else host.status


def status_label(status: str, dry_run: bool) -> str:
    """A phase's status in words; in a dry run a change is only pending."""
    return "pending" if dry_run and status == "changed" else status


def what_happened(host: HostReport, phase: Record) -> str:
    """A phase in a line: its steps with their details, and what it has to say.

    A message that begins with the machine's own name stands without it, beneath that name.
    """
    steps = [
        f"{s['action']} {s['object']}" + (f" ({s['detail']})" if s["detail"] else "")
        for s in phase["steps"]
    ]
    message = phase["message"].removeprefix(f"{host.name}: ")
    return clean("; ".join(part for part in (", ".join(steps), message) if part))


def count(report: Report) -> dict[str, int]:
    """How many machines ended how, by label; those that none did are left out."""
    labels = [label(host, report.dry_run) for host in report.hosts.values()]
    order = ("ok", "changed", "pending", "failed", "unreachable", "skipped")
    return {each: labels.count(each) for each in order if each in labels}


def totals(report: Report) -> str:
    """How the run ended, in one line."""
    counts = [f"{number} {status}" for status, number in count(report).items()]
    parts = [", ".join(counts) or "no machines"]
    if report.dry_run:
        parts.append("dry run, nothing was changed")
    if report.ended:
        parts.append(f"ended by {report.ended}")
    return f"{report.runbook} {report.inventory}: {'; '.join(parts)}; {report.seconds:.1f}s"


def undone(report: Report) -> list[str]:
    """What a maintenance left undone, in one line or none."""
    jobs = [f"{job} on {', '.join(names)}" for job, names in report.undone.items()]
    return [f"left undone, first in the next run: {'; '.join(jobs)}"] if jobs else []


def mesh(report: Report) -> list[str]:
    """How many edges between LXD hosts were proven, and by name those that were not; one line or
    none where none was asked."""
    edges = [
        (host.name, peer, outcome)
        for host in report.hosts.values()
        for peer, outcome in (host.edges or {}).items()
    ]
    if not edges:
        return []
    missed: dict[str, list[str]] = {}
    for name, peer, outcome in edges:
        if outcome != "ok":
            missed.setdefault(outcome, []).append(f"{name} to {peer}")
    proven = sum(outcome == "ok" for _, _, outcome in edges)
    parts = [f"{proven} of {len(edges)} edges proven"]
    parts += [f"{outcome}: {', '.join(missed[outcome])}" for outcome in sorted(missed)]
    silent = [h.name for h in report.hosts.values() if h.kind == "lxd" and h.edges is None]
    if silent:
        parts.append(f"those from {', '.join(silent)} were not asked")
    return [f"remotes: {'; '.join(parts)}"]


def minutes(report: Report) -> list[str]:
    """Where the time went: seconds by phase over all machines, longest first; one line or none."""
    spent = sorted(report.seconds_by_phase().items(), key=lambda item: -item[1])
    told = [f"{phase} {seconds:.1f}s" for phase, seconds in spent if seconds >= 0.05]
    return [f"by phase, over all machines: {', '.join(told)}"] if told else []


def clean(text: str) -> str:
    """Text of a machine without control characters, which could drive a terminal."""
    return CONTROL.sub("", text)
