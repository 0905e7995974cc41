"""The commands behind the runbooks: arguments in, exit status out."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

from nornir.core import Nornir
from nornir.core.task import AggregatedResult

from tasks.errors import FleetError, InventoryError, LockedError, UsageError
from tasks.fleet import open_fleet
from tasks.intent.cron import maintain_words
from tasks.intent.secret import hide
from tasks.log import log_to
from tasks.maintenance.jobs import JOBS, chosen
from tasks.maintenance.maintain import maintain
from tasks.maintenance.restore.task import RESTORE, place_on
from tasks.options import (
    INSTALL_CRON,
    install_options,
    maintain_options,
    provision_options,
    status_options,
)
from tasks.picture.drawing import fleet_picture
from tasks.plan import Plan
from tasks.provision import provision
from tasks.report import (
    EXIT_FAILED,
    EXIT_LOCKED,
    EXIT_OK,
    EXIT_PENDING,
    EXIT_SIGNAL,
    EXIT_USAGE,
    Report,
    as_json,
    write_json,
    write_private,
)
from tasks.run import Run, run_of
from tasks.schedule.entry import Entry, program_of
from tasks.schedule.install import install_schedule, remove_schedule
from tasks.schedule.places import places_of_this_user
from tasks.state import default_state_folder
from tasks.status.read import status
from tasks.terminal.nested import show_nested
from tasks.terminal.present import present, show_plan
from tasks.terminal.progress import Progress
from tasks.terminal.streams import complain, standard_streams, tell
from tasks.walk import OnResult

logger = logging.getLogger(__name__)

Work = Callable[[Nornir, OnResult], Report]


@standard_streams()
def provision_command(argv: Sequence[str] | None = None) -> int:
    """``provision.py``: bring the fleet to what the inventory intends."""
    args = provision_options().parse_args(argv)

    def work(nr: Nornir, on_result: OnResult) -> Report:
        return provision(
            nr,
            phases=args.phase,
            prune=args.prune,
            allow_restart=args.allow_restart,
            move=args.move,
            force=args.force,
            on_result=on_result,
        )

    return _guarded(args.verbose, lambda: _run_locked("provision", args, work))


@standard_streams()
def maintain_command(argv: Sequence[str] | None = None) -> int:
    """``maintain.py``: regular upkeep, for cron; ``install-cron`` has cron call it."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == [INSTALL_CRON]:
        installer = install_options()
        installing = installer.parse_args(words[1:])
        if installing.remove and (installing.jobs or installing.time_limit or installing.systemd):
            installer.error("--remove needs no JOB, --time-limit or --systemd")
        return _guarded(False, lambda: _install(installing))
    parser = maintain_options()
    if words and words[0] not in JOBS and get_close_matches(words[0], [INSTALL_CRON]):
        parser.error(f"unknown job {words[0]}; did you mean {INSTALL_CRON}?")
    args = parser.parse_args(words)
    if INSTALL_CRON in args.jobs:
        parser.error(f"{INSTALL_CRON} is the first word, its options follow")
    if (args.to or args.backup or args.replace) and args.jobs != [RESTORE]:
        parser.error(f"--to, --backup and --replace are for the job {RESTORE}")
    restoring = {"moment": args.backup, "replace_it": args.replace}

    def work(nr: Nornir, on_result: OnResult) -> Report:
        workers = nr.config.runner.options["num_workers"]
        limit = args.time_limit * 60 if args.time_limit else None
        if args.to:
            place_on(nr, args.to)
        return maintain(
            nr,
            args.jobs,
            options={RESTORE: restoring},
            now=args.now,
            workers=workers,
            time_limit=limit,
            on_result=on_result,
        )

    return _guarded(args.verbose, lambda: _run_locked("maintain", args, work))


@standard_streams()
def status_command(argv: Sequence[str] | None = None) -> int:
    """``status.py``: show how the fleet is. Takes no lock and changes nothing."""
    args = status_options().parse_args(argv)
    return _guarded(False, lambda: _show(args))


def _guarded(verbose: bool, command: Callable[[], int]) -> int:
    """Run a command; an operator sees one line for each error, a traceback only with -v."""
    try:
        return command()
    except InventoryError as error:
        complain(*error.mistakes)
        return EXIT_USAGE
    except UsageError as error:
        complain(error)
        return EXIT_USAGE
    except LockedError as error:
        complain(error)
        return EXIT_LOCKED
    except KeyboardInterrupt:  # before or after the run, or in status.py, which has no more to end
        complain("interrupted")
        return EXIT_SIGNAL + signal.SIGINT
    except Exception as error:
        if verbose:
            complain(hide(traceback.format_exc().rstrip()))
        known = isinstance(error, FleetError | OSError)
        complain(hide(str(error) if known else f"internal error: {error!r}; see -v"))
        return EXIT_FAILED


def _install(args: argparse.Namespace) -> int:
    places = places_of_this_user()
    if args.remove:  # also for an inventory that is gone
        entry = Entry(Path(args.inventory).expanduser().resolve().name, name=args.name)
        return _scheduled(remove_schedule(entry, places, dry_run=args.dry_run), args)
    run = run_of(open_fleet(args.inventory))
    by_hand = [name for name, job in chosen(args.jobs).items() if job.by_hand]
    if by_hand:
        raise UsageError(f"{by_hand[0]} is done by hand", remedy="leave it out")
    name = run.intent.name
    # links stay: the inventory may be one that a release changes
    inventory = os.path.abspath(Path(args.inventory).expanduser())  # noqa: PTH100
    program = program_of(sys.argv[0], sys.executable)
    home = os.environ.get("XDG_STATE_HOME")  # which neither cron nor a timer would know
    needed = home and run.state.path == default_state_folder(name)
    entry = Entry(
        name,
        args.schedule,
        maintain_words(program, inventory, args.jobs, time_limit=args.time_limit),
        {"XDG_STATE_HOME": os.path.abspath(home)} if home and needed else {},  # noqa: PTH100
        args.name,
    )
    plan = install_schedule(entry, places, systemd=args.systemd, dry_run=args.dry_run)
    return _scheduled(plan, args)


def _scheduled(plan: Plan[Any], args: argparse.Namespace) -> int:
    tell(lambda: show_plan(plan, dry_run=args.dry_run))
    return EXIT_PENDING if args.dry_run and plan.changed else EXIT_OK


def _show(args: argparse.Namespace) -> int:
    nr = open_fleet(args.inventory, limit=args.limit, dry_run=True)
    run = run_of(nr)
    with _closing(run):
        report = status(nr)
    written = True
    if args.picture:
        picture = fleet_picture(run.intent, run.facts)
        written = _written(args.picture, lambda: write_private(Path(args.picture), picture))
    written = _write_report(args.json, report.to_dict()) and written
    if args.json != "-":
        # only here: what a terminal shows takes its time to import
        from tasks.status.view import show_status  # noqa: PLC0415

        tell(lambda: show_status(report))
    return report.exit_status() or (EXIT_OK if written else EXIT_FAILED)


def _write_report(destination: str | None, content: Mapping[str, Any]) -> bool:
    """Write ``--json``; whether the file that was asked for is there."""
    if destination == "-":
        tell(lambda: write_json(content, "-"))
        return True
    return not destination or _written(destination, lambda: write_json(content, destination))


def _written(file: str, write: Callable[[], None]) -> bool:
    """Write a file, or say why not: what was done is to be told all the same."""
    try:
        write()
    except OSError as error:
        complain(f"{file} is not written: {error.strerror or error}")
        return False
    return True


def _run_locked(runbook: str, args: argparse.Namespace, work: Work) -> int:
    nr = open_fleet(
        args.inventory,
        limit=args.limit,
        dry_run=args.dry_run,
        workers=args.workers,
        host_keys=dict(args.host_key),
    )
    run = run_of(nr)
    run.state.prepare()
    with run.state.lock(), log_to(run.state.logs, runbook):
        try:
            return _run(nr, args, work)
        except Exception:
            logger.exception("the run ended with an error")
            raise


def _run(nr: Nornir, args: argparse.Namespace, work: Work) -> int:
    run = run_of(nr)
    only_json = args.json == "-"
    nested: list[AggregatedResult] = []
    with (
        Progress(quiet=args.quiet or only_json) as progress,
        _stopping(run, progress.under_way) as signals,
    ):
        with _closing(run):
            report = work(nr.with_processors([progress]), nested.append)
        report.interrupted = signals[0] if signals else None
    written = _write_report(args.json, report.to_dict())
    if not only_json:
        if args.verbose:
            tell(lambda: show_nested(nested))
        tell(lambda: present(report, quiet=args.quiet))
    if not report.dry_run:
        _keep(run, report)
    return report.exit_status() or (EXIT_OK if written else EXIT_FAILED)


def _keep(run: Run, report: Report) -> None:
    """Keep the report of a real run in the state folder. A run is as it was also without it."""
    started = datetime.fromisoformat(report.started)
    name = f"{report.runbook}-{started:%Y%m%dT%H%M%S}"
    try:
        run.state.keep_report(name, as_json(report.to_dict()))
    except FleetError as error:
        complain(f"the report is not kept: {error}")


@contextmanager
def _closing(run: Run) -> Iterator[None]:
    """Close all connections in the end, and with them the locks on the hosts."""
    try:
        yield
    finally:
        for host in run.hosts.values():
            host.close_connections()


@contextmanager
def _stopping(run: Run, under_way: Callable[[], str]) -> Iterator[list[int]]:
    """The first signal ends the run after what is under way, which it names; a second at once."""
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        run.stop.set()
        signal.signal(number, signal.SIG_DFL)
        with suppress(OSError):  # by number: what it interrupts may be writing to sys.stderr
            what = f" ({doing})" if (doing := under_way()) else ""
            os.write(2, f"stopping after what is under way{what}; once more: at once\n".encode())

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # one that is ignored from the start shall be: nohup, or a shell's background job
    heeded = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    before = {n: signal.signal(n, stop) for n in heeded}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
