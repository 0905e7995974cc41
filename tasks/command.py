"""The command line that the runbooks share: arguments in, exit status out."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

from nornir.core import Nornir
from nornir.core.task import AggregatedResult

from tasks.errors import FleetError, InventoryError, LockedError, UsageError
from tasks.fleet import open_fleet
from tasks.log import log_to
from tasks.maintenance import JOBS, maintain
from tasks.outcome import PHASES
from tasks.present import present
from tasks.progress import Progress
from tasks.provision import provision
from tasks.report import EXIT_FAILED, EXIT_LOCKED, Report, write_json
from tasks.run import run_of

logger = logging.getLogger(__name__)

EXIT_USAGE = 2

OnResult = Callable[[AggregatedResult], None]
Work = Callable[[Nornir, OnResult], Report]


def provision_command(argv: Sequence[str] | None = None) -> int:
    """``provision.py``: bring the fleet to what the inventory intends. Returns the exit status."""
    parser = _parser("Bring LXD hosts and containers to what the inventory intends.")
    parser.add_argument(
        "--phase", action="append", default=[], choices=PHASES, help="only this phase (repeatable)"
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove what we created and the inventory lost"
    )
    args = parser.parse_args(argv)

    def work(nr: Nornir, on_result: OnResult) -> Report:
        return provision(nr, phases=args.phase, prune=args.prune, on_result=on_result)

    return _run("provision", args, work)


def maintain_command(argv: Sequence[str] | None = None) -> int:
    """``maintain.py``: regular upkeep, for cron. Returns the exit status."""
    parser = _parser("Regular upkeep of LXD hosts and containers, made for cron.")
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help=f"out of {', '.join(JOBS)}; all without any"
    )
    args = parser.parse_args(argv)

    def work(nr: Nornir, on_result: OnResult) -> Report:
        return maintain(nr, args.jobs, workers=args.workers, on_result=on_result)

    return _run("maintain", args, work)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--inventory", default="inventory/demo", metavar="DIR")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="SELECTOR",
        help="change only these: a name, glob, group or key=value; ! before it excludes",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    parser.add_argument("--workers", type=_positive, default=20, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write the report; - for standard output")
    parser.add_argument(
        "--host-key",
        action="append",
        default=[],
        type=_host_key,
        metavar="NAME=SHA256:...",
        help="learn the SSH host key of a machine, if it has this fingerprint",
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="silence when nothing happened")
    loudness.add_argument("-v", "--verbose", action="store_true", help="all nested results")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _host_key(text: str) -> tuple[str, str]:
    name, _, fingerprint = text.partition("=")
    if not name or not fingerprint.startswith("SHA256:"):
        raise argparse.ArgumentTypeError("must be NAME=SHA256:FINGERPRINT")
    return name, fingerprint


def _run(runbook: str, args: argparse.Namespace, work: Work) -> int:
    try:
        nr = open_fleet(
            args.inventory,
            limit=args.limit,
            dry_run=args.dry_run,
            workers=args.workers,
            host_keys=dict(args.host_key),
        )
    except InventoryError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return EXIT_USAGE
    except UsageError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    state = run_of(nr).state
    try:
        state.prepare()
        with state.lock(), log_to(state.logs, runbook):
            return _locked_run(nr, args, work)
    except LockedError as error:
        print(error, file=sys.stderr)
        return EXIT_LOCKED
    except UsageError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except Exception as error:  # an operator sees one line, the log has the rest
        logger.error("the run ended with an error", exc_info=error)
        if args.verbose:
            traceback.print_exception(error)
        known = isinstance(error, FleetError)
        text = str(error) if known else f"internal error: {type(error).__name__}: {error}"
        print(f"{text}; the log is in {state.logs}", file=sys.stderr)
        return EXIT_FAILED


def _locked_run(nr: Nornir, args: argparse.Namespace, work: Work) -> int:
    run = run_of(nr)
    report_to_stdout = args.json == "-"
    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        """The first signal ends the run after what is under way, a second one at once."""
        signals.append(number)
        run.stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    nested: list[AggregatedResult] = []
    with Progress(quiet=args.quiet or report_to_stdout) as progress:
        try:
            report = work(nr.with_processors([progress]), nested.append)
        finally:
            for host in run.hosts.values():
                host.close_connections()
    if signals:
        report.interrupted = signals[0]
    if args.json:
        write_json(report.to_dict(), args.json)
    if not report_to_stdout:
        if args.verbose:
            # only here: importing nornir_utils puts colour codes into pipes
            from nornir_utils.plugins.functions import print_result  # noqa: PLC0415

            for result in nested:
                print_result(result)
        present(report, quiet=args.quiet)
    return report.exit_status()
