"""Every command line that is executed on lab hosts for a while: none is missed, as by ps."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import Lab
from tests.lab.needs import has, install

#: Seconds to attach to all of a host's processes.
ATTACHING = 20.0


@contextmanager
def exec_trace(lab: Lab, hosts: Collection[str], output: Path) -> Iterator[None]:
    """Trace the hosts' processes and all that they start; ``output`` gets each exec, whole.

    What runs already is attached to by its process id, each host's first process among it, so that
    nothing can start there without being followed.
    """
    if not has("strace"):
        install(["strace"], "the trace of commands")
    pids = sorted(_processes(lab, hosts))
    strace = subprocess.Popen(
        ["strace", "-f", "-v", "-s", "1000000", "-e", "trace=execve,execveat", "-e", "signal=none",
         "-o", str(output), *(f"--attach={pid}" for pid in pids)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + ATTACHING
        while not all(_traced_by(pid, strace.pid) for pid in pids if Path(f"/proc/{pid}").exists()):
            assert strace.poll() is None, "strace does not attach here"
            assert time.monotonic() < until, "strace does not attach to all in time"
            time.sleep(0.05)
        yield
    finally:
        strace.send_signal(signal.SIGINT)  # it lets go of all, and they go on
        strace.wait(30)


def _processes(lab: Lab, hosts: Collection[str]) -> set[int]:
    """The ids, on this machine, of the hosts' first processes and of all that descend from them."""
    found = {each.pid for each in lab.status() if each.name in hosts and each.pid is not None}
    assert len(found) == len(hosts)
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended meanwhile
        parents[int(folder.name)] = int(fields[1])
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _traced_by(pid: int, tracer: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True  # it has ended meanwhile
    return f"TracerPid:\t{tracer}\n" in status
