"""The command line of ``status.py``: arguments in, exit status out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.errors import FleetError, InventoryError, UsageError
from tasks.fleet import open_fleet
from tasks.log import quiet_libraries
from tasks.picture import fleet_picture
from tasks.report import EXIT_FAILED, write_json, write_private
from tasks.run import run_of
from tasks.status.read import status
from tasks.status.view import show_status

EXIT_USAGE = 2


def status_command(argv: Sequence[str] | None = None) -> int:
    """``status.py``: show how the fleet is. Changes nothing; returns the exit status."""
    args = _arguments(argv)
    quiet_libraries()
    try:
        nr = open_fleet(args.inventory, limit=args.limit, dry_run=True)
    except InventoryError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return EXIT_USAGE
    except UsageError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    try:
        report = status(nr)
        run = run_of(nr)
        if args.picture:
            write_private(Path(args.picture), fleet_picture(run.intent, run.facts))
        if args.json:
            write_json(report.to_dict(), args.json)
        if args.json != "-":
            show_status(report)
    except (FleetError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    finally:
        for host in nr.inventory.hosts.values():
            host.close_connections()
    return report.exit_status()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Show the fleet: hosts, bridges, profiles, remotes, containers.",
        allow_abbrev=False,
    )
    parser.add_argument("--inventory", default="inventory/demo", metavar="DIR")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="SELECTOR",
        help="show only these: a name, glob, group or key=value; ! before it excludes",
    )
    parser.add_argument("--json", metavar="FILE", help="write the status; - for standard output")
    parser.add_argument("--picture", metavar="FILE.svg", help="draw the fleet as SVG")
    return parser.parse_args(argv)
