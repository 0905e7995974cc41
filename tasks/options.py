"""The options that the runbooks have in common."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from tasks.maintenance.jobs import JOBS, REGULAR
from tasks.outcome import PHASES

#: The first word of ``maintain.py`` that is no job.
INSTALL_CRON = "install-cron"


def provision_options() -> argparse.ArgumentParser:
    """The options of ``provision.py``."""
    parser = _parser("Bring LXD hosts and containers to what the inventory intends.")
    parser.add_argument(
        "--phase", action="append", default=[], choices=PHASES, help="only this phase (repeatable)"
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove what we created and the inventory lost"
    )
    parser.add_argument(
        "--allow-restart",
        action="store_true",
        help="restart containers where a change waits for it; of an apart group one at a time",
    )
    parser.add_argument(
        "--move",
        action="append",
        default=[],
        metavar="NAME",
        help="move this container to the LXD host it is declared on (repeatable)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="stop a container hard where it has to stop and does not shut down by itself",
    )
    _add_running(parser)
    return parser


def maintain_options() -> argparse.ArgumentParser:
    """The options of ``maintain.py``."""
    parser = _parser("Regular upkeep of LXD hosts and containers, made for cron.")
    parser.epilog = f"Have cron call it: %(prog)s {INSTALL_CRON} --help"
    parser.add_argument(
        "--now",
        action="store_true",
        help="change machines outside their windows and in freezes too",
    )
    _add_jobs(parser)
    _add_restoring(parser)
    _add_running(parser)
    return parser


def _add_restoring(parser: argparse.ArgumentParser) -> None:
    """What only the job ``restore`` heeds."""
    parser.add_argument(
        "--to", metavar="HOST", help="restore to this LXD host, wherever they are declared"
    )
    parser.add_argument(
        "--backup", metavar="MOMENT", default="", help="restore this backup, not the last one"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="stop and rename the container that is there, and its volumes, and restore over them",
    )


def install_options() -> argparse.ArgumentParser:
    """The options of ``maintain.py install-cron``."""
    parser = argparse.ArgumentParser(
        prog=f"{Path(sys.argv[0]).name} {INSTALL_CRON}",
        description="Have cron, or a systemd timer, call maintain for the user who runs this.",
        allow_abbrev=False,
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--schedule",
        help='as crontab(5) has it: "30 4 * * *"; with --systemd as systemd.time(7): "*-*-* 04:30"',
    )
    wanted.add_argument(
        "--remove", action="store_true", help="call it by the schedule of this name no more"
    )
    parser.add_argument(
        "--name",
        type=_schedule_name,
        default="",
        help="which of several schedules of this inventory it is",
    )
    _add_inventory(parser)
    _add_jobs(parser)
    parser.add_argument("--systemd", action="store_true", help="a timer instead of cron")
    parser.add_argument("--dry-run", action="store_true", help="show the diff, change nothing")
    return parser


def status_options() -> argparse.ArgumentParser:
    """The options of ``status.py``."""
    parser = _parser("Show the fleet: hosts, bridges, profiles, remotes, containers.")
    parser.add_argument("--picture", type=_picture, metavar="FILE.svg", help="draw it as SVG")
    return parser


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    _add_inventory(parser)
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="SELECTOR",
        help="only these: a name, glob, group or key=value; ! before it excludes (repeatable)",
    )
    parser.add_argument(
        "--json", type=_writable, metavar="FILE", help="write the report; - for standard output"
    )
    return parser


def _add_running(parser: argparse.ArgumentParser) -> None:
    """What only runbooks have that change something."""
    parser.add_argument("--dry-run", action="store_true", help="show the plan, change nothing")
    parser.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="machines at work at once, at most (default: config.yaml's num_workers, else 20)",
    )
    parser.add_argument(
        "--host-key",
        action="append",
        default=[],
        type=_host_key,
        metavar="NAME=SHA256:...",
        help="learn a machine's unknown SSH host key, if it has this fingerprint (repeatable)",
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "--quiet", action="store_true", help="print nothing when nothing changed or failed"
    )
    loudness.add_argument("-v", "--verbose", action="store_true", help="show all nested results")


def _add_inventory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inventory", default="inventory/demo", metavar="DIR", help="default: %(default)s"
    )


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    """Which jobs, and for how long."""
    parser.add_argument(
        "jobs",
        nargs="*",
        metavar="JOB",
        help=f"out of {', '.join(JOBS)}; without any the regular ones: {', '.join(REGULAR)}",
    )
    parser.add_argument(
        "--time-limit",
        type=_positive,
        metavar="MINUTES",
        help="begin with no other machine after so many minutes; exit status 1 if any is left",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return int(text)


def _host_key(text: str) -> tuple[str, str]:
    name, _, fingerprint = text.partition("=")
    if not name or not fingerprint.startswith("SHA256:"):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=SHA256:FINGERPRINT")
    return name, fingerprint


def _schedule_name(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of letters, digits, - and _")
    return text


def _writable(text: str) -> str:
    """Refused before the run instead of losing its report after it."""
    path = Path(text)
    if text != "-" and (path.is_dir() or not path.resolve().parent.is_dir()):
        raise argparse.ArgumentTypeError(f"{text} is not a file in a folder that exists")
    return text


def _picture(text: str) -> str:
    if Path(text).suffix.lower() != ".svg":
        raise argparse.ArgumentTypeError(f"{text} does not end in .svg, and SVG is what is drawn")
    return _writable(text)
