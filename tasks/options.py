"""The options that the runbooks have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks.maintenance import JOBS
from tasks.outcome import PHASES


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
    parser.add_argument(
        "--now",
        action="store_true",
        help="change machines outside their windows and in freezes too",
    )
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help=f"out of {', '.join(JOBS)}; all without any"
    )
    _add_running(parser)
    return parser


def status_options() -> argparse.ArgumentParser:
    """The options of ``status.py``."""
    parser = _parser("Show the fleet: hosts, bridges, profiles, remotes, containers.")
    parser.add_argument("--picture", type=_picture, metavar="FILE.svg", help="draw it as SVG")
    return parser


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--inventory", default="inventory/demo", metavar="DIR", help="default: %(default)s"
    )
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


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 up")
    return int(text)


def _host_key(text: str) -> tuple[str, str]:
    name, _, fingerprint = text.partition("=")
    if not name or not fingerprint.startswith("SHA256:"):
        raise argparse.ArgumentTypeError(f"{text} is not NAME=SHA256:FINGERPRINT")
    return name, fingerprint


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
