"""The packages of a Debian or Ubuntu machine: what an upgrade would do, and what one has done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nornir.core.inventory import Host

from tasks.errors import CommandError
from tasks.intent.maintenance import Maintenance
from tasks.onhost import on_host, script_of
from tasks.plan import Plan, Step
from tasks.shell import Completed
from tasks.transport import shell_of

#: No more of the deadline than this part is spent on waiting for dpkg's lock.
LOCK_SHARE = 1 / 3
PRESENT_LISTS = "planned on the package lists as they are; a real run refreshes them first"
#: The step that finishes what an earlier dpkg has not; nothing can be well before it.
CONFIGURE = "configure"

#: ``dry`` simulates on the lists as they are and writes nothing, ``look`` on lists that it
#: refreshes, ``real`` upgrades, and ``restart`` restarts services afterwards that need it.
Mode = Literal["dry", "look", "real", "restart"]

#: apt-get -s: ``Inst NAME [OLD] (NEW ORIGIN [ARCH])`` and ``Remv NAME [OLD]``, OLD only where
#: the package is installed.
_SIMULATED = re.compile(r"^(Inst|Remv) (\S+)(?: \[(\S+)\])?(?: \((\S+))?", re.MULTILINE)
_INTERRUPTED = "# interrupted"
#: The script's last line. Without it some of what it said is lost, as LXD 5.0 does to an exec now
#: and then, and nothing follows from the rest.
_END = "# end"
_PACKAGE = "package "
_WHAT, _REMEDY = "the upgrade of packages", "mend it there and run again"


class OutputLostError(CommandError):
    """A command ended well, and what it said did not arrive."""


@dataclass(frozen=True)
class Upgraded:
    """What a real upgrade did: its steps, also where it failed half-way, and how it ended."""

    plan: Plan[None]
    done: Completed


def foreseen(host: Host, mode: Literal["dry", "look"], rules: Maintenance) -> Plan[None]:
    """What an upgrade of a machine would do, in one exchange.

    Arguments:
        host: the machine.
        mode: see ``Mode``.
        rules: its ``deadline`` are the seconds for all of it, a third of them for the locks of
            dpkg and apt; its ``upgrade`` says what is upgraded.

    Raises :class:`CommandError` with apt's own words, and what the shell raises.
    """
    done = _apt(host, mode, rules).check(host.name, _WHAT, remedy=_REMEDY)
    _see_it_is_whole(host, done)
    plan = simulated(done.text)
    if mode == "dry":
        if plan.changed:
            return Plan(plan.steps, notes=(PRESENT_LISTS,))
        return Plan(reason=plan.reason, notes=(PRESENT_LISTS,))
    return plan


def upgraded(host: Host, mode: Literal["real", "restart"], rules: Maintenance) -> Upgraded:
    """Upgrade a machine's packages in one exchange; arguments as for :func:`foreseen`.

    Raises what the shell raises, and :class:`OutputLostError` where it ended well and what it said
    is lost; a failure of apt is in what is returned.
    """
    done = _apt(host, mode, rules)
    if done.status == 0:
        _see_it_is_whole(host, done)
    before, _, rest = done.text.partition("# after\n")
    after, _, restarted = rest.partition("# restarted\n")
    packages = happened(_packages(before), _packages(after))
    services = tuple(
        Step("restart", f"service {name.removesuffix('.service')}", None, "it ran what is replaced")
        for name in restarted.removesuffix(f"{_END}\n").split()
    )
    return Upgraded(Plan((*packages.steps, *services), reason=packages.reason), done)


def see_it_ended_well(host: Host, upgrade: Upgraded) -> None:
    """Raise :class:`CommandError` with apt's own words where the upgrade failed."""
    upgrade.done.check(host.name, _WHAT, remedy=_REMEDY)


def happened(before: Mapping[str, str], after: Mapping[str, str]) -> Plan[None]:
    """What differs between the installed packages, name to version, before and after."""
    names = sorted({*before, *after})
    steps = [_step(name, before.get(name), after.get(name)) for name in names]
    return Plan(tuple(filter(None, steps)), reason="" if any(steps) else "nothing to upgrade")


def simulated(output: str) -> Plan[None]:
    """What ``apt-get -s`` would do, from its output; and finish what an earlier dpkg has not."""
    found = [
        _step(name, old or None, new if verb == "Inst" else None)
        for verb, name, old, new in _SIMULATED.findall(output)
    ]
    if _INTERRUPTED in output.splitlines():
        found.insert(0, Step(CONFIGURE, "packages", None, detail="an earlier dpkg did not finish"))
    steps = tuple(filter(None, found))
    return Plan(steps, reason="" if steps else "nothing to upgrade")


def is_interrupted(plan: Plan[None]) -> bool:
    """Whether an earlier dpkg has not finished, by what is foreseen."""
    return any(step.action == CONFIGURE for step in plan.steps)


def versions_of(plan: Plan[None]) -> tuple[str, ...]:
    """What is there of each package after a plan, a word each: ``libc6=2.36-9``, ``telnet=``."""
    packages = [step for step in plan.steps if step.object.startswith(_PACKAGE)]
    return tuple(
        sorted(
            f"{step.object.removeprefix(_PACKAGE)}={_after(step.action, step.detail)}"
            for step in packages
        )
    )


def _see_it_is_whole(host: Host, done: Completed) -> None:
    if done.text.splitlines()[-1:] != [_END]:
        raise OutputLostError(
            f"{_WHAT} ended, and what it said is lost", where=host.name, remedy="run again"
        )


def _apt(host: Host, mode: Mode, rules: Maintenance) -> Completed:
    wait = str(int(rules.deadline * LOCK_SHARE))
    script = script_of("apt_locks") + on_host(
        "upgrade", mode, wait, rules.upgrade.kind, *rules.upgrade.hold
    )
    return shell_of(host).run(script, deadline=rules.deadline)


def _after(action: str, detail: str) -> str:
    return "" if action == "remove" else detail.rpartition(" -> ")[2]


def _step(name: str, old: str | None, new: str | None) -> Step[None] | None:
    if old == new:
        return None
    versions = [f"-{name} {old}"] * (old is not None) + [f"+{name} {new}"] * (new is not None)
    diff = "\n".join(versions)
    if old is None:
        return Step("install", f"package {name}", None, detail=str(new), diff=diff)
    if new is None:
        return Step("remove", f"package {name}", None, detail=old, diff=diff)
    return Step("upgrade", f"package {name}", None, detail=f"{old} -> {new}", diff=diff)


def _packages(listing: str) -> dict[str, str]:
    lines = (line.partition(" ") for line in listing.splitlines() if not line.startswith("#"))
    return {name: version for name, _, version in lines}
