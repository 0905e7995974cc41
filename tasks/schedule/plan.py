"""What has to be written so that ``maintain`` is called as wanted, and once; pure.

Cron and a timer would call it twice: who installs one takes our other one of that name away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import FleetError, UsageError
from tasks.plan import Plan, Step, text_diff
from tasks.schedule.crontab import with_block
from tasks.schedule.entry import Entry
from tasks.schedule.places import Places
from tasks.schedule.texts import cron_text, crontab_line, header_of, service_text, timer_text

#: cron(8) ignores what others may write; systemd warns of what it alone can read.
MODE = 0o644


@dataclass(frozen=True)
class FileThere:
    """A file as it is."""

    text: str
    mode: int = MODE


@dataclass(frozen=True)
class Actual:
    """What there is. ``timer`` says whether systemd has the timer enabled, active and as its file
    is now; ``controller`` the file in which the inventory has had cron call ``maintain`` here,
    ``daemon`` whether cron is installed."""

    files: Mapping[Path, FileThere] = field(default_factory=dict)
    crontab: str = ""
    timer: bool = False
    lingers: bool = False
    controller: Path | None = None
    daemon: bool = True


@dataclass(frozen=True)
class WriteFile:
    """Write a file whole."""

    path: Path
    text: str


@dataclass(frozen=True)
class RemoveFile:
    """Remove a file."""

    path: Path


@dataclass(frozen=True)
class WriteCrontab:
    """Replace the user's crontab."""

    text: str


@dataclass(frozen=True)
class Systemctl:
    """Call systemctl with these arguments, one call after the other."""

    calls: tuple[tuple[str, ...], ...]


Write = WriteFile | RemoveFile | WriteCrontab | Systemctl


def plan_schedule(entry: Entry, places: Places, actual: Actual, *, systemd: bool) -> Plan[Write]:
    """The steps to a schedule as it is wanted.

    Raises :class:`UsageError` where a controller's entry calls it already, :class:`FleetError`
    where a file of that name, or a block of the crontab, is not as we write it.
    """
    if actual.controller:
        raise UsageError(
            f"cron calls maintain for {entry.environment} already: this machine is a controller",
            where=str(actual.controller),
            remedy="change the inventory's `controller: {maintain: ...}` instead",
        )
    wanted = _cron(entry, places, actual, wanted=not systemd)
    timer = _timer(entry, places, actual) if systemd else _no_timer(entry, places, actual)
    steps = [*timer, *wanted]  # a timer that cannot be ended is no second schedule then
    notes = []
    if not systemd and not actual.daemon:
        notes.append("nothing calls it: there is no cron daemon here; install cron, or --systemd")
    if systemd and not places.system and not actual.lingers:
        notes.append(
            f"the timer runs while {places.user} is logged in; for always, as root: "
            f"loginctl enable-linger {places.user}"
        )
    return Plan(tuple(steps), reason="" if steps else "it is called so already", notes=tuple(notes))


def plan_removal(entry: Entry, places: Places, actual: Actual) -> Plan[Write]:
    """The steps until nothing of ours calls it at the schedule of this name; raises as
    :func:`plan_schedule` for what is not as we write it."""
    steps = (*_no_timer(entry, places, actual), *_cron(entry, places, actual, wanted=False))
    there = f"; {actual.controller} does, as the inventory has it" if actual.controller else ""
    return Plan(steps, reason="" if steps else f"nothing calls it by this schedule{there}")


def _cron(entry: Entry, places: Places, actual: Actual, *, wanted: bool) -> list[Step[Write]]:
    if places.system:
        path = places.cron_file(entry.file)
        content = cron_text(entry, places.user) if wanted else None
        return list(_file(entry, path, content, actual))
    line = crontab_line(entry) if wanted else None
    text = with_block(actual.crontab, entry.title, line)
    if text.rstrip("\n") == actual.crontab.rstrip("\n"):
        return []
    object_ = f"crontab of {places.user}"
    diff = text_diff(actual.crontab, text, object_)
    return [Step("update", object_, WriteCrontab(text), diff=diff)]


def _timer(entry: Entry, places: Places, actual: Actual) -> list[Step[Write]]:
    service, timer = (places.unit(entry.file, kind) for kind in ("service", "timer"))
    content = service_text(entry, places.user, system=places.system)
    steps = [
        *_file(entry, service, content, actual),
        *_file(entry, timer, timer_text(entry), actual),
    ]
    if steps or not actual.timer:
        calls = Systemctl((("daemon-reload",), ("enable", timer.name), ("restart", timer.name)))
        steps.append(Step("start", f"timer {timer.name}", calls))
    return steps


def _no_timer(entry: Entry, places: Places, actual: Actual) -> list[Step[Write]]:
    service, timer = (places.unit(entry.file, kind) for kind in ("service", "timer"))
    removed = [*_file(entry, timer, None, actual), *_file(entry, service, None, actual)]
    if not removed:
        return []
    stop: list[Step[Write]] = []
    if timer in actual.files:
        calls = Systemctl((("disable", "--now", timer.name),))
        stop = [Step("stop", f"timer {timer.name}", calls)]
    return [*stop, *removed, Step("reload", "systemd units", Systemctl((("daemon-reload",),)))]


def _file(entry: Entry, path: Path, text: str | None, actual: Actual) -> Iterator[Step[Write]]:
    """A file with this text, or none; a stranger's under our name stays."""
    there = actual.files.get(path)
    if there and not there.text.startswith(header_of(entry)):
        raise FleetError("is not ours", where=str(path), remedy="move it away and run again")
    before = there.text if there else ""
    diff = text_diff(before, text or "", str(path))
    if text is None:
        if there:
            yield Step("remove", f"file {path}", RemoveFile(path), diff=diff)
    elif there is None:
        yield Step("create", f"file {path}", WriteFile(path, text), diff=diff)
    elif there.text != text:
        yield Step("update", f"file {path}", WriteFile(path, text), diff=diff)
    elif there.mode != MODE:
        detail = f"mode {there.mode:04o} -> {MODE:04o}"
        yield Step("update", f"file {path}", WriteFile(path, text), detail=detail)
