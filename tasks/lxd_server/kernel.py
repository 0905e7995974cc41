"""The kernel settings of an LXD host: as declared, now and after a reboot."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.actual import HostFacts
from tasks.errors import FleetError
from tasks.intent.model import KernelSettings
from tasks.lxd_server.writes import LxdWrite, OnHost
from tasks.plan import Step, text_diff

#: Where ours stand on the host, so that they hold after a reboot (sysctl.d(5)).
FILE = "/etc/sysctl.d/60-nornir-lxd-fleet.conf"


def plan_kernel(wanted: KernelSettings, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """One step for each setting that is not as declared.

    Raises :class:`FleetError` where the inventory names one that the kernel has not.
    """
    for key, value in wanted.exact.items():
        if key not in actual.kernel:
            raise FleetError(
                f"its kernel has no setting {key}",
                where=actual.name,
                remedy="load the module that brings it, or take it out of lxd.kernel",
            )
        live, kept = actual.kernel[key], actual.kernel_file.get(key, "")
        if live != value:
            yield _set(key, value, value, text_diff(live, value, key))
        elif kept != value:
            detail = f"{value}, after a reboot as well"
            yield _set(key, value, detail, text_diff(kept, value, f"{key} in {FILE}"))
    for key, least in wanted.least.items():
        live = actual.kernel.get(key, "")
        if live.isdigit() and int(live) < least:
            value = str(least)
            yield _set(key, value, value, text_diff(live, value, key))


def kernel_notes(wanted: KernelSettings, actual: HostFacts) -> Iterable[str]:
    """What is to be known of the host's kernel settings and is not acted upon."""
    absent = sorted(set(wanted.least).difference(actual.kernel))
    if absent:
        yield f"its kernel has no {', '.join(absent)}, which LXD's production setup asks for"
    departed = sorted(set(actual.kernel_file).difference(wanted.keys))
    if departed:
        yield (
            f"no longer declared in lxd.kernel: {', '.join(departed)}; on the host, take the lines "
            f"out of {FILE}, the values stay until a reboot"
        )


def _set(key: str, value: str, detail: str, diff: str) -> Step[LxdWrite]:
    return Step("set", f"kernel {key}", OnHost("kernel", f"{key}={value}"), detail, diff)
