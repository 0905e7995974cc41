"""Keeps one host running: `python -m tests.lab.supervisor HOST`.

A reboot inside the host ends systemd-nspawn, with a status of its own; as the firmware of a
real machine does, this then starts the host again. It ends with the host.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.lab import cgroups, disk, links, processes, running
from tests.lab.command import process_environment
from tests.lab.places import HOST_NAMES

REBOOT = 133
"""systemd-nspawn's exit status for a reboot, when it is not systemd that runs it."""


def main() -> int:
    """Run the host until it is switched off."""
    name = sys.argv[1]
    if name not in HOST_NAMES:
        print(f"no such host: {name}", file=sys.stderr)
        return 2
    status = REBOOT
    while status == REBOOT:
        running.clear(name)
        links.plug_in(name, running.netns(name))
        status = _run(name)
    running.clear(name)
    return status


def _run(name: str) -> int:
    """Run the host once, until it reboots or ends."""
    cgroups.make(running.part(name))
    script = f'{cgroups.join_script(running.part(name))}exec "$@"'
    nspawn = subprocess.Popen(
        ["sh", "-ec", script, "sh", *_command(name)],
        stdin=subprocess.DEVNULL,
        env={
            **process_environment(),
            # udev, netplan and LXD in the host want a /sys and a /proc/sys to write to.
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1",
            "SYSTEMD_NSPAWN_LOCK": "0",
        },
    )
    while nspawn.poll() is None:
        init = _first_process(nspawn.pid)
        if init is not None:
            processes.write(running.init_record(name), init)
            break
        time.sleep(0.02)
    return nspawn.wait()


def _command(name: str) -> list[str]:
    return [
        # nspawn's own --network-namespace-path would mount the /sys of this machine's network.
        "nsenter",
        f"--net={running.netns(name)}",
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={disk.root(name)}",
        f"--machine={name}",
        "--keep-unit",
        "--register=no",
        "--capability=all",
        "--system-call-filter=@known",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
    ]


def _first_process(nspawn: int) -> processes.Process | None:
    """The host's process 1, once it is systemd."""
    try:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        for child in children:
            lines = Path(f"/proc/{child}/status").read_text().splitlines()
            status = dict(line.split(":", 1) for line in lines)
            ids = status["NSpid"].split()
            if len(ids) > 1 and ids[-1] == "1" and status["Name"].strip() in ("systemd", "init"):
                return processes.Process.of(int(child))
    except OSError:
        return None  # one of them ended meanwhile
    return None


if __name__ == "__main__":
    sys.exit(main())
