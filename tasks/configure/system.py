"""What a machine has once: its time zone, its locale, its kernel's settings."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actual import MachineFacts
from tasks.configure.packages import needs_generating
from tasks.errors import FleetError
from tasks.intent.system import Configure
from tasks.machine.change import Call, Calls
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]


def plan_timezone(wanted: Configure, actual: MachineFacts) -> Steps:
    """The time zone, in /etc/localtime and /etc/timezone."""
    if wanted.timezone and wanted.timezone != actual.timezone:
        yield Step(
            "update",
            "timezone",
            (Call("set_timezone", (wanted.timezone,)),),
            wanted.timezone,
            mapping_diff({"timezone": actual.timezone}, {"timezone": wanted.timezone}, "timezone"),
        )


def plan_locale(wanted: Configure, actual: MachineFacts) -> Steps:
    """The system's locale (locale(5)), generated first where it is not there yet."""
    if wanted.locale is None:
        return
    calls: list[Call] = []
    if needs_generating(wanted, actual):
        calls.append(Call("generate_locale", (wanted.locale,)))
    if wanted.locale != actual.lang:
        calls.append(Call("set_locale", (wanted.locale,)))
    if calls:
        before = {"lang": actual.lang or "unset", "generated": not needs_generating(wanted, actual)}
        after = {"lang": wanted.locale, "generated": True}
        yield Step(
            "update",
            "locale",
            tuple(calls),
            wanted.locale,
            mapping_diff(before, after, "locale"),
        )


def plan_sysctl(wanted: Configure, actual: MachineFacts) -> Steps:
    """The kernel settings as they are now; the file that keeps them is a file like others.

    Raises :class:`FleetError` for a setting that the machine's kernel has not.
    """
    for key, value in wanted.sysctl.items():
        now = actual.sysctl.get(key)
        if now is None and actual.over:
            raise FleetError(
                f"its kernel has no setting {key}",
                where=actual.name,
                remedy="load the module that brings it, or take it out of configure.sysctl; a "
                "container has few of its own",
            )
        if now != value:
            yield Step(
                "set",
                f"kernel {key}",
                (Call("set_kernel", (key, value)),),
                value,
                mapping_diff({key: now} if now else {}, {key: value}, "kernel"),
            )
