"""The lab from the command line: `python -m tests.lab up`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.lab import HOST_NAMES, Lab, LabError, apart


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    options = _parser().parse_args(arguments)
    lab = Lab()
    started = time.monotonic()
    try:
        match options.command:
            case "up":
                lab.up(options.hosts)
            case "down":
                lab.down()
            case "reset":
                lab.reset(options.host)
            case "exec":
                return _exec(lab, options.host, _words(options.words, "exec HOST"))
            case "apart":
                return apart.run(_words(options.words, "apart"))
        if options.command in ("up", "reset", "status"):
            _show(lab)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    if options.command != "status":
        print(f"{options.command}: {time.monotonic() - started:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the lab up, or add what is missing of it")
    up.add_argument(
        "--hosts", type=int, default=2, metavar="N", choices=range(1, len(HOST_NAMES) + 1)
    )
    commands.add_parser("down", help="remove the lab from this machine, but for its cache")
    reset = commands.add_parser("reset", help="make all hosts fresh, or one")
    reset.add_argument("host", nargs="?", choices=HOST_NAMES, metavar="HOST")
    commands.add_parser("status", help="show each host")
    run = commands.add_parser("exec", help="run a command in a host")
    run.add_argument("host", choices=HOST_NAMES, metavar="HOST")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    own = commands.add_parser("apart", help="run a command where it has a lab of its own")
    own.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    return parser


def _words(words: list[str], before: str) -> list[str]:
    command = words[1:] if words[:1] == ["--"] else words
    if not command:
        raise LabError(f"a command is missing: {before} -- COMMAND")
    return command


def _show(lab: Lab) -> None:
    statuses = lab.status()
    if not statuses:
        print("the lab is down")
    for host in statuses:
        state = f"running  pid {host.pid}" if host.running else "off"
        print(f"{host.name}  {host.address}  {state}")


def _exec(lab: Lab, host: str, command: list[str]) -> int:
    given = None if sys.stdin.isatty() else sys.stdin.buffer.read()
    done = lab.exec(host, command, input=given, timeout=600)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
