"""The kernel settings of this machine: what the lab needs, and all put back afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.places import RUN

_RECORD = RUN / "settings.json"

_AT_LEAST = {
    "net/ipv4/ip_forward": 1,
    # Containers of all hosts share user ids on this machine, and so these limits.
    "fs/inotify/max_user_instances": 4096,
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


def apply() -> None:
    """Record the settings as they are, unless that was done, and set what the lab needs."""
    if not _RECORD.exists():
        keys = (*_AT_LEAST, *_GUARDED)
        before = {key: value for key in keys if (value := _read(key)) is not None}
        half = _RECORD.with_suffix(".new")
        half.write_text(json.dumps(before))
        half.rename(_RECORD)
    for key, least in _AT_LEAST.items():
        value = _read(key)
        if value is not None and int(value) < least:
            _write(key, str(least))


def restore() -> None:
    """Put back what was recorded."""
    try:
        before = json.loads(_RECORD.read_text())
    except (OSError, ValueError):
        return
    for key, value in before.items():
        if _read(key) != value:
            _write(key, value)
    _RECORD.unlink()


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
