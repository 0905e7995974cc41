"""The kernel settings of an LXD host: LXD's own list, and those that are declared by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.intent.model import KernelSettings

#: "Server settings for a LXD production setup" in LXD's documentation,
#: https://documentation.ubuntu.com/lxd/en/stable-5.0/reference/server_settings/.
PRODUCTION: Mapping[str, int] = {
    "fs.aio-max-nr": 524288,
    "fs.inotify.max_queued_events": 1048576,
    "fs.inotify.max_user_instances": 1048576,
    "fs.inotify.max_user_watches": 1048576,
    "kernel.dmesg_restrict": 1,
    "kernel.keys.maxbytes": 2000000,
    "kernel.keys.maxkeys": 2000,
    "net.core.bpf_jit_limit": 1000000000,
    "net.ipv4.neigh.default.gc_thresh3": 8192,
    "net.ipv6.neigh.default.gc_thresh3": 8192,
    "vm.max_map_count": 262144,
}


def kernel_of(data: Mapping[str, Any]) -> KernelSettings:
    """What ``lxd.kernel`` declares; a setting that it names wins over LXD's list."""
    exact = {key: str(value) for key, value in data.items() if key != "production"}
    least = PRODUCTION if data.get("production") else {}
    return KernelSettings(exact, {key: value for key, value in least.items() if key not in exact})
