"""How the fleet's status looks to a person, on a terminal or in a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tasks.profiles.across import ProfileComparison
from tasks.status.history_view import changes_of, runs_of
from tasks.status.report import BridgeStatus, ContainerStatus, HostStatus, StatusReport
from tasks.terminal.words import clean

STATE_STYLES = {"running": "green", "stopped": "yellow", "missing": "bold red", "unknown": "cyan"}
#: In a pipe nothing is folded: a line is a line, however long.
PIPE_WIDTH = 500
#: Lines that are shown of how a profile differs.
DIFF_LINES = 12
DIFF_STYLES = {"+": "green", "-": "red"}


def show_status(report: StatusReport, stream: TextIO | None = None) -> None:
    """Write a status to ``stream`` or standard output: with colours only on a terminal."""
    stream = stream or sys.stdout
    if stream.isatty():
        Console(file=stream).print(as_view(report))
    else:
        stream.write(as_plain(report))
        stream.flush()


def as_plain(report: StatusReport) -> str:
    """A status as plain lines."""
    console = Console(file=io.StringIO(), width=PIPE_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(as_view(report))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def as_view(report: StatusReport) -> RenderableType:
    """A status for a console of any width: each host, its containers beneath it, then the rest."""
    parts: list[RenderableType] = []
    for host in report.hosts:
        parts += [*_host(host), Text()]
    if report.machines:
        machines = ", ".join(f"{name} {address}" for name, address in report.machines.items())
        parts.append(_pairs([("other machines", Text(machines))]))
    profiles = list(_profiles(report))
    if profiles:
        parts.append(_pairs([("profiles", profile) for profile in profiles]))
    past = [("last runs", line) for line in runs_of(report.history)]
    past += [("last changed", line) for line in changes_of(report.history)]
    if past:
        parts.append(_pairs(past))
    parts.append(_text(f"{report.inventory}: {_count(report)}; read in {report.seconds:.1f}s"))
    return Group(*parts)


def _host(host: HostStatus) -> Iterator[RenderableType]:
    head = Text.assemble((host.name, "bold"), " ", host.address)
    if not host.reachable:
        head.append("  unreachable", style="bold red")
    elif host.problem:
        head.append("  LXD does not answer", style="bold red")
    elif host.lxd_version:
        listen = host.listen or "no network address"
        package = host.lxd_package or "?"
        head.append(clean(f"  {host.system}, LXD {host.lxd_version} ({package}) on {listen}"))
    else:
        head.append(clean(f"  {host.system}, LXD "))
        head.append("not set up" if host.lxd_package else "not installed", style="yellow")
    yield head
    facts = [("problem", _text(host.problem))] if host.problem else []
    facts += [("bridge", _bridge(bridge)) for bridge in host.bridges]
    lists = {
        "pools": [f"{name} ({driver})" for name, driver in host.pools.items()],
        "images": host.images,
        "profiles": host.profiles,
        **{f"remotes of {user}": remotes for user, remotes in host.remotes.items()},
    }
    facts += [(what, _text(", ".join(items))) for what, items in lists.items() if items]
    facts += [
        (f"remotes of {user}", Text(f"without {', '.join(lost)}", style="bold red"))
        for user, lost in host.lost_remotes.items()
        if host.lxd_version
    ]
    if facts:
        yield Padding(_pairs(facts), (0, 0, 0, 2))
    if host.containers:
        yield Padding(_containers(host.containers), (0, 0, 0, 2))


def _containers(containers: tuple[ContainerStatus, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("container", "state", "addresses", "image", "profiles"):
        table.add_column(column, overflow="fold")
    for container in containers:
        state = Text(clean(container.state), style=STATE_STYLES.get(container.state, ""))
        if not container.declared:
            state.append(", foreign", style="magenta")
        elif container.astray:
            state.append(f", declared {container.wanted}", style="bold red")
        table.add_row(
            _text(container.name),
            state,
            _text("\n".join(container.addresses.values())),
            _text(container.image),
            _assigned(container),
        )
    return table


def _assigned(container: ContainerStatus) -> Text:
    told = _text(", ".join(container.profiles) or "none")
    if container.declared and container.profiles != container.wanted_profiles:
        declared = ", ".join(container.wanted_profiles) or "none"
        told.append(f", declared {declared}", style="bold red")
    return told


def _bridge(bridge: BridgeStatus) -> Text:
    if not bridge.present:
        return Text.assemble(f"{bridge.name} ", ("missing", "bold red"))
    words = [bridge.name, *bridge.addresses, f"over {', '.join(bridge.members) or 'nothing'}"]
    told = _text(" ".join(words) + ("" if bridge.declared else ", foreign"))
    if bridge.lost:
        told.append(f", without {', '.join(bridge.lost)}", style="bold red")
    if bridge.extra:
        told.append(f", {', '.join(bridge.extra)} not declared", style="yellow")
    return told


def _profiles(report: StatusReport) -> Iterator[Text]:
    """A line for those that are the same on as many hosts; one for each other, with its diffs."""
    alike: dict[str, list[str]] = {}
    for profile in report.profiles:
        if not profile.differing and not profile.missing:
            hosts = profile.same
            where = f"on {hosts[0]}" if len(hosts) == 1 else f"the same on {len(hosts)} hosts"
            alike.setdefault(where, []).append(profile.name)
    for where, names in alike.items():
        yield _text(f"{', '.join(names)}: {where}")
    for profile in report.profiles:
        odd = []
        if profile.differing:
            odd.append(f"differs on {', '.join(profile.differing)} from {profile.against}")
        if profile.missing:
            odd.append(f"missing on {', '.join(profile.missing)}")
        if odd:
            yield Text.assemble(clean(profile.name), ": ", ("; ".join(odd), "yellow"))
            yield from _diffs(profile)


def _diffs(profile: ProfileComparison) -> Iterator[Text]:
    """How the hosts differ; what several of them have in common is shown once."""
    by_diff: dict[tuple[str, ...], list[str]] = {}
    for host, diff in profile.diffs.items():
        lines = tuple(line for line in diff.splitlines()[2:] if not line.startswith("@@"))
        by_diff.setdefault(lines, []).append(host)
    for lines, hosts in by_diff.items():
        yield _text(f"  on {', '.join(hosts)}:")
        for line in lines[:DIFF_LINES]:
            yield Text(f"    {clean(line)}", style=DIFF_STYLES.get(line[:1], ""))
        if len(lines) > DIFF_LINES:
            yield _text(f"    and {len(lines) - DIFF_LINES} lines more (--json has them)")


def _count(report: StatusReport) -> str:
    states = [c.state if c.declared else "foreign" for h in report.hosts for c in h.containers]
    counted = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    down = [host.name for host in report.hosts if not host.reachable]
    hosts = f"{len(report.hosts)} LXD host" + ("s" if len(report.hosts) != 1 else "")
    hosts += f", {len(down)} unreachable" if down else ""
    return f"{hosts}; containers: {', '.join(counted) or 'none'}"


def _pairs(pairs: list[tuple[str, Text]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    last = ""
    for name, text in pairs:
        table.add_row("" if name == last else name, text)
        last = name
    return table


def _text(words: str) -> Text:
    return Text(clean(words))
