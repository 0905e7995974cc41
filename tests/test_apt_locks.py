"""What waits for the locks of dpkg and apt, on a shell of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.onhost import script_of

#: A command that finds a lock held so many times, and then ends with a status.
COMMAND = r"""
command() {
    tries=$((tries + 1))
    if [ "$tries" -le "$1" ]; then
        echo "$3"
        return 100
    fi
    echo "no lock: $tries"
    return "$2"
}
tries=0
"""
LISTS = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
OLD_LISTS = (
    "E: Could not get lock /var/lib/apt/lists/lock - open (11: Resource temporarily unavailable)"
)
DPKG = "dpkg: error: dpkg frontend lock was locked by another process with pid 7"


def ended(folder: Path, held: int, status: int, words: str, *, patience: int) -> tuple[int, str]:
    """How it ended, and what its file has then."""
    script = (
        f"{script_of('apt_locks')}\n{COMMAND}\nsaid=$1; wait_until=$(($(now) + {patience}))\n"
        f'patiently command {held} {status} "$2"'
    )
    done = subprocess.run(
        ["sh", "-eu", "-c", script, "sh", str(folder / "said"), words], check=False, timeout=30
    )
    return done.returncode, (folder / "said").read_text().strip()


@pytest.mark.parametrize("words", [LISTS, OLD_LISTS, DPKG])
def test_a_lock_is_waited_for(tmp_path: Path, words: str) -> None:
    assert ended(tmp_path, 2, 0, words, patience=20) == (0, "no lock: 3")


def test_what_fails_for_another_reason_fails_at_once_with_its_status(tmp_path: Path) -> None:
    assert ended(tmp_path, 0, 42, "", patience=20) == (42, "no lock: 1")
    assert ended(tmp_path, 9, 0, "E: Unable to locate package x", patience=20)[0] == 100


def test_patience_ends_and_who_holds_the_lock_is_there_to_be_told(tmp_path: Path) -> None:
    assert ended(tmp_path, 99, 0, LISTS, patience=2) == (100, LISTS)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("W: Failed to fetch http://192.168.56.1:9/dists/x/InRelease  Connection refused", True),
        ("W: Some index files failed to download. They have been ignored, or old ones used", True),
        ("Hit:1 http://deb.debian.org/debian bookworm InRelease\nReading package lists...", False),
        ("W: Download is performed unsandboxed as root", False),
    ],
)
def test_what_could_not_be_fetched(tmp_path: Path, words: str, *, missing: bool) -> None:
    (tmp_path / "said").write_text(words)
    script = f"{script_of('apt_locks')}\nsaid=$1; some_not_fetched"
    done = subprocess.run(["sh", "-eu", "-c", script, "sh", str(tmp_path / "said")], check=False)
    assert (done.returncode == 0) is missing
