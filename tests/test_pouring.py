"""Output of one machine that is the input of another, against a real sshd of this machine."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import DeadlineError
from tasks.ssh.connection import CHANNELS, SshShell
from tests.sshd import Sshd, why_no_sshd

pytestmark = pytest.mark.skipif(bool(why_no_sshd()), reason=why_no_sshd())
BYTES = 60_000_000


@pytest.fixture
def shells(sshd: Sshd) -> Iterator[tuple[SshShell, SshShell]]:
    both = sshd.shell(), sshd.shell()
    yield both
    for shell in both:
        shell.close()


def test_all_of_it_arrives_and_little_is_here(
    shells: tuple[SshShell, SshShell], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(BYTES))
    giver, taker = shells
    giver.pour("head -c 1000000 /dev/zero", taker, "cat >/dev/null", deadline=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gave, took, poured = giver.pour(
        f"echo beside >&2; cat {source}", taker, "sha256sum; echo done >&2", deadline=120
    )
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert gave is not None
    assert (gave.status, gave.stdout, gave.stderr) == (0, b"", b"beside\n")
    assert (took.status, took.stderr, poured) == (0, b"done\n", BYTES)
    assert took.text == giver.run(f"sha256sum <{source}", deadline=60).text
    assert grown < BYTES / 1024 / 2


def test_a_taker_that_ends_says_why_itself(shells: tuple[SshShell, SshShell]) -> None:
    giver, taker = shells
    gave, took, _ = giver.pour("cat /dev/zero", taker, "echo full >&2; exit 3", deadline=30)
    assert gave is None
    assert (took.status, took.stderr) == (3, b"full\n")


def test_a_giver_that_fails_is_told_from_one_that_does_not(
    shells: tuple[SshShell, SshShell],
) -> None:
    giver, taker = shells
    gave, took, poured = giver.pour("echo half; exit 5", taker, "cat", deadline=30)
    assert gave is not None
    assert (gave.status, took.status, took.stdout, poured) == (5, 0, b"half\n", 5)


@pytest.mark.parametrize(("giving", "taking"), [("sleep 60", "cat"), ("cat /dev/zero", "sleep 60")])
def test_deadline(shells: tuple[SshShell, SshShell], giving: str, taking: str) -> None:
    giver, taker = shells
    started = time.monotonic()
    with pytest.raises(DeadlineError):
        giver.pour(giving, taker, taking, deadline=1)
    assert time.monotonic() - started < 10
    assert taker.run("echo well").text == "well\n"


def test_a_taker_does_not_wait_on_where_the_giver_is_too_slow(
    shells: tuple[SshShell, SshShell], tmp_path: Path
) -> None:
    giver, taker = shells
    ended = tmp_path / "ended"
    with pytest.raises(DeadlineError):
        giver.pour("sleep 60", taker, f"cat; touch {ended}", deadline=1)
    until = time.monotonic() + 10
    while not ended.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert ended.exists()


def test_both_ways_at_once_and_more_than_there_are_channels(
    shells: tuple[SshShell, SshShell],
) -> None:
    def pour(number: int) -> str:
        giver, taker = shells if number % 2 else shells[::-1]
        return giver.pour(f"echo {number}", taker, "cat", deadline=60)[1].text

    with ThreadPoolExecutor(CHANNELS * 3) as pool:
        texts = list(pool.map(pour, range(CHANNELS * 3)))
    assert texts == [f"{number}\n" for number in range(CHANNELS * 3)]
