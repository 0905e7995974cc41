"""`down` leaves nothing behind, whatever happened before.

Its name makes it run before the tests that use the lab; it is skipped where the lab is up
already: somebody works with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.lab import Lab, cgroups, running, why_not
from tests.lab.places import LAB_BRIDGE, LOCK, NFT_TABLE, RUN

pytestmark = pytest.mark.lab

SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/accept_redirects",
    "fs/inotify/max_user_instances",
    "fs/aio-max-nr",
    "kernel/keys/maxkeys",
    "kernel/keys/maxbytes",
    "vm/max_map_count",
)


def traces() -> dict[str, object]:
    """All that the lab could leave on this machine."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    rules = subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    return {
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "mounts": sorted(mounts),
        "rules": rules,
        "settings": {key: Path("/proc/sys", key).read_text() for key in SETTINGS},
        "processes": cgroups.processes(),
        "cgroups": sorted(str(path) for path in Path("/sys/fs/cgroup").rglob("*lxd*")),
        "run": [path.exists() for path in (RUN, LOCK, Path("/run/systemd/nspawn"))],
    }


@pytest.fixture
def before() -> Iterator[dict[str, object]]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if Lab().names():
        pytest.skip("the lab is up and in use; python -m tests.lab down, then run this again")
    Lab().up(hosts=1)  # installs what is missing, and fills the cache
    Lab().down()
    yield traces()
    Lab().down()


def test_down_leaves_nothing_behind(before: dict[str, object]) -> None:
    lab = Lab()
    lab.up(hosts=2)
    assert traces() != before
    lab.exec("sidn-demo-01", "sysctl -w vm.max_map_count=262145 fs.aio-max-nr=70000")
    lab.down()
    assert traces() == before


def test_down_after_everything_was_killed(before: dict[str, object]) -> None:
    lab = Lab()
    lab.up(hosts=2)
    for part in (running.keeper_part("sidn-demo-01"), running.part("sidn-demo-02")):
        for pid in cgroups.processes(part):
            with suppress(ProcessLookupError):  # some end with the first of them
                os.kill(pid, signal.SIGKILL)
    lab.down()
    assert traces() == before


def test_down_after_up_was_killed(before: dict[str, object]) -> None:
    command = [sys.executable, "-m", "tests.lab", "up"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 30
    while not Path("/sys/class/net", LAB_BRIDGE).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait(10)
    Lab().down()
    assert traces() == before


def test_down_without_records(before: dict[str, object]) -> None:
    lab = Lab()
    lab.up(hosts=1)
    settings = (RUN / "settings.json").read_text()
    for record in RUN.rglob("*.json"):
        record.unlink()
    # What the settings were is known from their record alone.
    (RUN / "settings.json").write_text(settings)
    lab.down()
    assert traces() == before
    assert NFT_TABLE not in str(traces()["rules"])
