"""What a run does where nobody listens, or where somebody wants it to stop."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Result

from tasks.terminal.nested import show_nested

ROOT = Path(__file__).parent.parent
#: provision.py with a provision of the tests' own: on one host, with more output than a pipe holds.
SCRIPT = """
import sys, threading
from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Result
from tasks import command
from tasks.outcome import record
from tasks.report import Report
from tasks.run import run_of

def provision(nr, *, on_result, **_):
    report = Report("provision", "voice")
    report.declare("voice-01", "lxd")
    report.add("voice-01", record("check", STATUS, message="told " * 50000))
    one = MultiResult("provision")
    one.append(Result(host=Host("voice-01"), result="check", changed=True))
    for result in (AggregatedResult("empty"), AggregatedResult("provision", **{"voice-01": one})):
        on_result(result)
    if WAITS:
        few = nr.filter(filter_func=lambda host: host.name in ("voice-01", "voice-02"))
        few.run(task=lambda task: task.run(task=upgrade)[0])
    return report

both = threading.Barrier(2, lambda: print("at work", flush=True))

def upgrade(task):
    both.wait(20)
    run_of(task).stop.wait(20)
    return Result(host=task.host)

command.provision = provision
sys.exit(command.provision_command(sys.argv[1:]))
"""
VOICE = ("--inventory", str(ROOT / "inventory" / "voice"))


def script(status: str = "changed", *, waits: bool = False) -> str:
    return SCRIPT.replace("STATUS", repr(status)).replace("WAITS", str(waits))


def environment(folder: Path) -> dict[str, str]:
    """State in a folder of the test's; Python buffers what it writes, as it does by default."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return {**kept, "XDG_STATE_HOME": str(folder), "HOME": str(folder)}


def run(folder: Path, redirection: str, *arguments: str, status: str = "changed") -> Any:
    """The script as a shell starts it; what its standard output became is not looked at."""
    file = folder / "run.py"
    file.write_text(script(status))
    command = [sys.executable, str(file), *VOICE, *arguments]
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}', "bash", *command],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("status", ["changed", "failed"])
@pytest.mark.parametrize("arguments", [(), ("--json", "-"), ("-v",)], ids=" ".join)
@pytest.mark.parametrize(
    ("redirection", "why"),
    [
        (">/dev/full", "No space left on device"),
        (">&-", "Bad file descriptor"),
        ("| head -c 1", "Broken pipe"),
    ],
)
def test_a_run_is_as_it_was_though_nobody_can_be_told(
    tmp_path: Path, redirection: str, why: str, arguments: tuple[str, ...], status: str
) -> None:
    done = run(tmp_path, redirection, *arguments, status=status)
    assert done.returncode == (1 if status == "failed" else 0)
    assert done.stderr == f"not everything is told: {why} (standard output)\n"
    kept = list((tmp_path / "nornir-lxd-fleet" / "voice" / "reports").iterdir())
    assert len(kept) == 1


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_wrong_usage_is_wrong_usage_though_nobody_can_be_told(
    tmp_path: Path, redirection: str
) -> None:
    done = run(tmp_path, redirection, "--limit", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_help_into_a_full_disk(tmp_path: Path) -> None:
    done = run(tmp_path, ">/dev/full", "--help")
    assert done.stderr == "not everything is told: No space left on device (standard output)\n"


def test_a_report_that_cannot_be_written_is_told_with_its_file(tmp_path: Path) -> None:
    done = run(tmp_path, "", "--json", "/dev/full")
    assert done.returncode == 1
    assert done.stderr == "/dev/full is not written: No space left on device\n"
    assert "voice-01 changed" in done.stdout


def test_verbose_writes_no_colours_into_a_pipe_and_no_empty_block(tmp_path: Path) -> None:
    done = run(tmp_path, "", "-v")
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "empty***" not in done.stdout
    assert "provision***" in done.stdout
    assert done.stdout.index("voice-01 ** changed") < done.stdout.index("voice-01 changed")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_verbose_on_a_terminal_ends_each_colour_on_its_line() -> None:
    before = sys.stdout, sys.stderr
    stream = _Terminal()
    one = MultiResult("provision")
    one.append(Result(host=Host("voice-01"), result="plain"))
    show_nested([AggregatedResult("provision", **{"voice-01": one})], stream)
    coloured = [line for line in stream.getvalue().splitlines() if "\x1b" in line]
    assert coloured
    assert all(line.endswith("\x1b[0m") for line in coloured)
    assert "plain" in stream.getvalue().splitlines()
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_a_run_is_told_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", script(waits=True), *VOICE],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        told = process.stderr.readline()
        process.stdout.read()
        assert told == (
            "stopping after what is under way (upgrade of voice-01, voice-02); once more: at once\n"
        )
        assert process.wait(30) == 128 + number


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3])
def test_an_interrupt_while_it_starts_is_no_traceback(tmp_path: Path, delay: float) -> None:
    with subprocess.Popen(
        [sys.executable, str(ROOT / "runbooks" / "status.py"), *VOICE, "--limit", "nobody"],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    if said.startswith("Fatal Python error: init"):
        return  # Python itself was not up yet
    assert "Traceback" not in said
    assert process.returncode in (130, -signal.SIGINT, 2)  # 2: it was faster, or heeds none
