"""The commands behind the runbooks: arguments in, exit status out."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nornir.core import Nornir
from nornir.core.task import AggregatedResult

from tasks.errors import FleetError, InventoryError, LockedError, UsageError
from tasks.fleet import open_fleet
from tasks.log import log_to
from tasks.maintenance import maintain
from tasks.options import maintain_options, provision_options, status_options
from tasks.picture import fleet_picture
from tasks.provision import provision
from tasks.report import EXIT_FAILED, EXIT_LOCKED, EXIT_USAGE, Report, write_json, write_private
from tasks.run import Run, run_of
from tasks.status import status
from tasks.status.view import show_status
from tasks.terminal.present import present
from tasks.terminal.progress import Progress

logger = logging.getLogger(__name__)

OnResult = Callable[[AggregatedResult], None]
Work = Callable[[Nornir, OnResult], Report]


def provision_command(argv: Sequence[str] | None = None) -> int:
    """``provision.py``: bring the fleet to what the inventory intends."""
    args = provision_options().parse_args(argv)

    def work(nr: Nornir, on_result: OnResult) -> Report:
        return provision(nr, phases=args.phase, prune=args.prune, on_result=on_result)

    return _guarded(args.verbose, lambda: _run_locked("provision", args, work))


def maintain_command(argv: Sequence[str] | None = None) -> int:
    """``maintain.py``: regular upkeep, for cron."""
    args = maintain_options().parse_args(argv)

    def work(nr: Nornir, on_result: OnResult) -> Report:
        return maintain(nr, args.jobs, workers=args.workers, on_result=on_result)

    return _guarded(args.verbose, lambda: _run_locked("maintain", args, work))


def status_command(argv: Sequence[str] | None = None) -> int:
    """``status.py``: show how the fleet is. Takes no lock and changes nothing."""
    args = status_options().parse_args(argv)
    return _guarded(False, lambda: _show(args))


def _guarded(verbose: bool, command: Callable[[], int]) -> int:
    """Run a command; an operator sees one line for each error, a traceback only with -v."""
    try:
        return command()
    except InventoryError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    except UsageError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except LockedError as error:
        print(error, file=sys.stderr)
        return EXIT_LOCKED
    except Exception as error:
        if verbose:
            traceback.print_exception(error)
        known = isinstance(error, FleetError | OSError)
        print(str(error) if known else f"internal error: {error!r}; see -v", file=sys.stderr)
        return EXIT_FAILED


def _show(args: argparse.Namespace) -> int:
    nr = open_fleet(args.inventory, limit=args.limit, dry_run=True)
    run = run_of(nr)
    with _closing(run):
        report = status(nr)
    if args.picture:
        write_private(Path(args.picture), fleet_picture(run.intent, run.facts))
    if args.json:
        write_json(report.to_dict(), args.json)
    if args.json != "-":
        show_status(report)
    return report.exit_status()


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
    with _stopping(run) as signals, Progress(quiet=args.quiet or only_json) as progress:
        with _closing(run):
            report = work(nr.with_processors([progress]), nested.append)
        report.interrupted = signals[0] if signals else None
    if args.json:
        write_json(report.to_dict(), args.json)
    if not only_json:
        if args.verbose:
            # only here: importing nornir_utils puts colour codes into pipes
            from nornir_utils.plugins.functions import print_result  # noqa: PLC0415

            for result in nested:
                print_result(result)
        present(report, quiet=args.quiet)
    return report.exit_status()


@contextmanager
def _closing(run: Run) -> Iterator[None]:
    """Close all connections in the end, and with them the locks on the hosts."""
    try:
        yield
    finally:
        for host in run.hosts.values():
            host.close_connections()


@contextmanager
def _stopping(run: Run) -> Iterator[list[int]]:
    """The first signal ends the run after what is under way, a second one at once."""
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        run.stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
