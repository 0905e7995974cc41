"""The kernel settings of this machine: what the lab needs, and all put back afterwards.

All labs of a machine share most of them. Who puts them back is the last of those that hold them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tests.lab.places import APART

_RECORD = Path("/run/nornir-lxd-fleet-lab-settings.json")
_FORWARD = "net/ipv4/ip_forward"

_AT_LEAST = {
    _FORWARD: 1,
    # Containers of all hosts share user ids on this machine, and so these limits.
    "fs/inotify/max_user_instances": 8192,
    "kernel/keys/maxkeys": 20000,
    "kernel/keys/maxbytes": 2000000,
}

# A host's /proc/sys is this machine's: what is set there for LXD is put back as well.
_GUARDED = (
    "fs/aio-max-nr",
    "fs/inotify/max_queued_events",
    "fs/inotify/max_user_watches",
    "kernel/core_pattern",
    "kernel/dmesg_restrict",
    "kernel/panic",
    "kernel/pid_max",
    "kernel/printk",
    "kernel/sysrq",
    "net/core/bpf_jit_limit",
    "vm/max_map_count",
    "vm/overcommit_memory",
    "vm/swappiness",
)


def hold(lab: str) -> None:
    """Record the settings as they are, unless another lab has, and set what a lab needs.

    Inside a lab apart only the setting that is its own is set: whoever keeps it holds the others.
    """
    if APART:
        _write(_FORWARD, "1")
        return
    with _record() as record:
        if not record:
            keys = (*_AT_LEAST, *_GUARDED)
            record["before"] = {key: value for key in keys if (value := _read(key)) is not None}
        record["held"] = sorted({*record.get("held", ()), lab})
    for key, least in _AT_LEAST.items():
        value = _read(key)
        if value is not None and int(value) < least:
            _write(key, str(least))


def let_go(lab: str) -> None:
    """Put back what was recorded, once no other lab holds it."""
    if APART:
        return
    with _record() as record:
        record["held"] = sorted({*record.get("held", ())} - {lab})
        if record["held"]:
            return
        for key, value in record.get("before", {}).items():
            if _read(key) != value:
                _write(key, value)
        record.clear()


@contextmanager
def _record() -> Iterator[dict[str, Any]]:
    """What is recorded, for one process at a time; written back, or removed where it is empty."""
    with _locked() as file:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        record = json.loads(file.read() or "{}")
        if record.pop("boot", boot) != boot:
            record.clear()  # of before this machine's last boot
        try:
            yield record
        finally:
            if record:
                file.truncate(0)
                file.write(json.dumps({"boot": boot, **record}))
            else:
                _RECORD.unlink()


def _locked() -> TextIO:
    while True:
        file = _RECORD.open("a+")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        # A lock on a file that the one before has removed would lock nobody else out.
        if _RECORD.exists() and os.fstat(file.fileno()).st_ino == _RECORD.stat().st_ino:
            return file
        file.close()


def _read(key: str) -> str | None:
    try:
        return Path("/proc/sys", key).read_text().strip()
    except OSError:
        return None  # this kernel does not have it, or does not show it


def _write(key: str, value: str) -> None:
    try:
        Path("/proc/sys", key).write_text(value)
    except OSError:
        # Read-only where the lab itself runs in a container; then no host changed it either.
        return
