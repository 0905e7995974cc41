"""A lab apart from the machine's own, for one command: with the same names and addresses.

The command gets a network namespace, whose way out leads through this machine, and mounts of its
own, with an empty /run. So several labs can be up at once, and none sees the others. They share
the cache, the kernel's settings and the processor.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab import cgroups, mounts, needs, settings
from tests.lab.command import run as run_program
from tests.lab.errors import LabError
from tests.lab.places import APART_RECORD, cgroup

_NUMBERS = range(1, 9)
_FOLDER = Path("/run")

# In a mount namespace of its own. /sys shows the network of who mounts it.
_ENTER = f"""
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock /run/sshd /run/cgroup
echo "$1" > {APART_RECORD}
mount --rbind /sys/fs/cgroup /run/cgroup
umount --recursive --lazy /sys
mount -t sysfs sysfs /sys
mount --move /run/cgroup /sys/fs/cgroup
rmdir /run/cgroup
python=$2
shift 2
status=0
"$@" || status=$?
"$python" -m tests.lab down >/dev/null
exit $status
"""


def run(command: Sequence[str]) -> int:
    """Run a command where it has a lab of its own, which is taken down when it ends.

    Raises:
        LabError: this machine cannot host the lab, or has as many as it can

    Returns the command's exit status.
    """
    needs.install_missing()
    with _claimed() as number, _network(number) as netns:
        enter = ["nsenter", f"--net={netns}", "unshare", "--mount", "--propagation", "private"]
        script = ["sh", "-ec", _ENTER, "sh", str(number), sys.executable]
        process = subprocess.Popen([*enter, *script, *command])
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # the command has got it as well, and ends by itself


def clear() -> None:
    """Remove what is left of labs apart that nobody holds any more."""
    for number in _NUMBERS:
        path = _lock_file(number)
        if path.exists():
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                _remove(number)
                path.unlink()


@contextmanager
def _claimed() -> Iterator[int]:
    """A number that no other lab apart has; its lock ends with this process."""
    for number in _NUMBERS:
        path = _lock_file(number)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue
            _remove(number)  # what one left that was killed
            try:
                yield number
            finally:
                _remove(number)
                path.unlink()
            return
    raise LabError(f"there are {len(_NUMBERS)} labs apart already")


@contextmanager
def _network(number: int) -> Iterator[Path]:
    """A network namespace with one way out, through this machine."""
    settings.hold(_name(number))
    netns, link = _FOLDER / f"{_name(number)}.net", _link(number)
    outside, inside = (f"100.64.56.{4 * number + n}" for n in (1, 2))
    netns.touch()
    run_program(["unshare", f"--net={netns}", "true"])
    ip = ["nsenter", f"--net={netns}", "ip"]
    for command in (
        ["ip", "link", "add", link, "type", "veth", "peer", "name", "out", "netns", str(netns)],
        ["ip", "address", "add", f"{outside}/30", "dev", link],
        ["ip", "link", "set", link, "up"],
        [*ip, "address", "add", f"{inside}/30", "dev", "out"],
        [*ip, "link", "set", "lo", "up"],
        [*ip, "link", "set", "out", "up"],
        [*ip, "route", "add", "default", "via", outside],
    ):
        run_program(command)
    chain = "{ type nat hook postrouting priority srcnat; }"
    source = f"ip saddr {inside} masquerade"
    for rule in (f"add table ip {link}", f"add chain ip {link} out {chain}",
                 f"add rule ip {link} out {source}"):  # fmt: skip
        run_program(["nft", rule])
    yield netns


def _remove(number: int) -> None:
    cgroups.kill(lab=cgroup(str(number)))
    cgroups.remove(lab=cgroup(str(number)))
    netns, link = _FOLDER / f"{_name(number)}.net", _link(number)
    if Path("/sys/class/net", link).exists():
        run_program(["ip", "link", "delete", link])
    if needs.has("nft") and link in run_program(["nft", "list", "tables"], check=False):
        run_program(["nft", "delete", "table", "ip", link])
    if netns.exists():
        mounts.unmount(netns)
        netns.unlink()
    settings.let_go(_name(number))


def _name(number: int) -> str:
    return cgroup(str(number))


def _link(number: int) -> str:
    """The end of its way out on this machine, and the table of rules for it."""
    return f"lab-apart-{number}"


def _lock_file(number: int) -> Path:
    return _FOLDER / f"{_name(number)}.lock"
