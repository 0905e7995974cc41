"""Bring this machine's schedule about: read, plan, apply unless dry, read again."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, ItemsView, Iterable, Sequence
from pathlib import Path

from tasks.atomic_file import replace_text
from tasks.errors import DeadlineError, FleetError, UsageError
from tasks.intent.controller import SETTINGS
from tasks.intent.cron import maintain_words
from tasks.machine.managed import cron_command
from tasks.plan import Plan
from tasks.schedule.entry import Entry
from tasks.schedule.places import Places
from tasks.schedule.plan import (
    MODE,
    Actual,
    FileThere,
    RemoveFile,
    Systemctl,
    Write,
    WriteCrontab,
    WriteFile,
    plan_removal,
    plan_schedule,
)

#: Where cron lies, also where PATH has no folders of daemons.
DAEMONS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
#: Seconds for each call of crontab or systemctl.
DEADLINE = 30.0
#: What crontab -l says of a user without any, with status 1.
NO_CRONTAB = "no crontab for"


def install_schedule(
    entry: Entry, places: Places, *, systemd: bool = False, dry_run: bool = False
) -> Plan[Write]:
    """Have cron, or a systemd timer, call ``maintain`` as an entry says.

    Arguments:
        entry: what is called when.
        places: for whom.
        systemd: a timer instead of cron.
        dry_run: only say what would be done.

    Returns what was done. Raises :class:`UsageError` for a schedule that cannot be, or where what
    would call it is not there, and :class:`FleetError` where it cannot be brought about.
    """
    entry.check(systemd=systemd)
    _check_there(entry, places, systemd=systemd)

    def plan() -> Plan[Write]:
        actual = _read(entry, places, systemd=systemd, crontab=not systemd)
        return plan_schedule(entry, places, actual, systemd=systemd)

    return _converge(plan, places, dry_run=dry_run)


def remove_schedule(entry: Entry, places: Places, *, dry_run: bool = False) -> Plan[Write]:
    """Have nothing of ours call ``maintain`` at the schedule of this name any more.

    Returns what was done, with ``dry_run`` what would be. Raises :class:`FleetError` where it
    cannot be brought about.
    """
    timer = places.unit(entry.file, "timer").exists()  # then there is nothing in cron

    def plan() -> Plan[Write]:
        return plan_removal(entry, places, _read(entry, places, systemd=False, crontab=not timer))

    return _converge(plan, places, dry_run=dry_run)


def _converge(plan: Callable[[], Plan[Write]], places: Places, *, dry_run: bool) -> Plan[Write]:
    wanted = plan()
    if dry_run or not wanted.changed:
        return wanted
    for step in wanted.steps:
        _apply(step.write, places)
    plan().see_that_nothing_is_left("this machine", "look who else writes there, and run again")
    return wanted


def _check_there(entry: Entry, places: Places, *, systemd: bool) -> None:
    """What shall call ``maintain`` is here, and takes a timer's schedule."""
    if systemd:
        if not shutil.which("systemctl"):
            raise UsageError("there is no systemctl here", remedy="leave --systemd out, for cron")
        done = _run(["systemd-analyze", "calendar", "--", entry.schedule])
        if done.returncode:
            raise UsageError(
                f"{entry.schedule!r} is no calendar event of systemd",
                where="--schedule",
                remedy='write it as systemd.time(7) has it: "*-*-* 04:30"',
            )
        return
    if not (places.cron_d.is_dir() if places.system else shutil.which("crontab")):
        raise UsageError("there is no cron here", remedy="install cron, or give --systemd")


def _read(entry: Entry, places: Places, *, systemd: bool, crontab: bool) -> Actual:
    """What there is; ``crontab`` says whether it has to be possible to read the user's."""
    timer = places.unit(entry.file, "timer")
    paths = [places.unit(entry.file, "service"), timer]
    paths += [places.cron_file(entry.file)] if places.system else []
    files = {
        path: FileThere(path.read_text(errors="replace"), path.stat().st_mode & 0o7777)
        for path in paths
        if path.exists()
    }
    return Actual(
        files=files,
        crontab="" if places.system else _crontab(needed=crontab),
        timer=systemd and timer in files and _is_on(timer, places),
        daemon=any(shutil.which(name, path=DAEMONS) for name in ("cron", "crond")),
        lingers=places.linger.exists(),
        controller=_controller_entry(entry.environment, places),
    )


def _controller_entry(environment: str, places: Places) -> Path | None:
    """What calls it for this environment since the inventory makes this machine a controller."""
    words = maintain_words((), f"{SETTINGS}/{environment}", ())
    for path in places.controller_files():
        if cron_command(shlex.join(words)) in path.read_text(errors="replace"):
            return path
    return None


def _crontab(*, needed: bool) -> str:
    if not shutil.which("crontab"):
        return ""
    done = _run(["crontab", "-l"])
    if done.returncode and needed and NO_CRONTAB not in done.stderr:
        raise _failed("crontab -l", done)
    return "" if done.returncode else done.stdout


def _is_on(timer: Path, places: Places) -> bool:
    """Enabled, active, and loaded as its file is now, which its service has to be as well."""
    loaded = {"NeedDaemonReload": "no"}
    units = {
        timer.name: {"UnitFileState": "enabled", "ActiveState": "active", **loaded},
        timer.with_suffix(".service").name: loaded,
    }
    return all(wanted.items() <= _shown(unit, wanted, places) for unit, wanted in units.items())


def _shown(unit: str, names: Iterable[str], places: Places) -> ItemsView[str, str]:
    properties = [f"--property={name}" for name in names]
    shown = _systemctl(places, "show", *properties, unit)
    return dict(line.partition("=")[::2] for line in shown.splitlines()).items()


def _apply(write: Write, places: Places) -> None:
    match write:
        case WriteFile(path, text):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text, mode=MODE)
        case RemoveFile(path):
            path.unlink(missing_ok=True)
        case WriteCrontab(text):
            done = _run(["crontab", "-"], text)
            if done.returncode:
                raise _failed("crontab -", done)
        case Systemctl(calls):
            for arguments in calls:
                _systemctl(places, *arguments)


def _systemctl(places: Places, *arguments: str) -> str:
    words = ["systemctl", *([] if places.system else ["--user"]), *arguments]
    done = _run(words)
    if done.returncode:
        raise _failed(" ".join(words), done)
    return done.stdout


def _run(words: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words,
            input=given.encode(errors="surrogateescape"),
            capture_output=True,
            timeout=DEADLINE,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise DeadlineError(f"{' '.join(words)} did not end within {DEADLINE:g} s") from None
    except FileNotFoundError:
        raise UsageError(f"there is no {words[0]} here", remedy="install it") from None
    # line ends as they are: a crontab's own stay
    output, errors = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(words, done.returncode, output, errors)


def _failed(what: str, done: subprocess.CompletedProcess[str]) -> FleetError:
    said = done.stderr.strip() or f"exit status {done.returncode}"
    return FleetError(said, where=what)
