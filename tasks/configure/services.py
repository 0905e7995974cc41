"""Services: enabled, running, and restarted once after all that they read has changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from tasks.actual import MachineFacts, UnitFacts
from tasks.intent.system import Configure, Service
from tasks.machine.change import Call, Calls
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]

#: UnitFileStates of a unit that starts at boot.
ENABLED = ("enabled", "enabled-runtime", "alias")
#: And of one that can be neither enabled nor disabled: others start it, or nobody.
FIXED = ("static", "generated", "indirect", "transient")
#: LoadState of a unit that is there.
LOADED = "loaded"
#: LoadStates of one that has nothing to restart.
GONE = ("not-found", "masked")
#: ActiveStates of a unit that runs or is about to.
ACTIVE = ("active", "reloading", "activating")
#: Where systemd reads units that a configuration may bring (systemd.unit(5)).
UNIT_FOLDERS = ("/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/")


def plan_services(
    wanted: Configure, actual: MachineFacts, changed: Collection[str], *, installing: bool = False
) -> Steps:
    """What is to be done once the files at the paths ``changed`` are written or removed.

    ``installing`` says that packages are installed before: Debian's enable and start what they
    bring.
    """
    yield from _reload(actual, changed)
    started = set()
    for service in wanted.services:
        for step in _service(service, actual, installing=installing):
            yield step
            if step.action == "start":
                started.add(service.name)
    yield from _restarts(wanted, changed, actual, started)


def _reload(actual: MachineFacts, changed: Collection[str]) -> Steps:
    """Systemd keeps units as it first read them."""
    stale = [name for name, unit in actual.units.items() if unit.stale]
    units = [path for path in changed if path.startswith(UNIT_FOLDERS)]
    if stale or units:
        why = f"{', '.join(units)} changes" if units else f"{', '.join(stale)} changed"
        yield Step("reload", "systemd units", (Call("reload_units"),), why)


def _service(service: Service, actual: MachineFacts, *, installing: bool) -> Steps:
    unit = actual.units.get(service.name, UnitFacts())
    states: Mapping[str, tuple[bool, bool | None, str, str]] = {
        "enabled": (unit.enabled in ENABLED, service.enabled, "enable", "disable"),
        "running": (unit.active in ACTIVE, service.running, "start", "stop"),
    }
    for key, (now, wanted, to_true, to_false) in states.items():
        if wanted is False and installing and _may_come(key, unit):
            now_is, why = "as a package brings it", "a package that is installed may turn it on"
            yield _switch(service.name, to_false, {key: now_is}, {key: wanted}, why)
        elif wanted is None or wanted == now or (key == "enabled" and unit.enabled in FIXED):
            continue
        elif wanted:
            yield _switch(service.name, to_true, {key: now}, {key: wanted})
        elif unit.load != "not-found":
            yield _switch(service.name, to_false, {key: now}, {key: wanted})


def _switch(
    name: str, action: str, now: Mapping[str, object], wanted: Mapping[str, object], why: str = ""
) -> Step[Calls]:
    diff = mapping_diff(now, wanted, f"service {name}")
    return Step(action, f"service {name}", (Call("service", (name, action)),), why, diff)


def _may_come(key: str, unit: UnitFacts) -> bool:
    """Whether packages that are installed may turn something on that is off now: what comes with
    them, what was masked when its package went, and what starts at boot anyway."""
    if unit.load != LOADED:
        return True
    return key == "running" and unit.enabled in ENABLED and unit.active not in ACTIVE


def switched_off(wanted: Configure) -> frozenset[str]:
    """The services that shall not run: they read their files when somebody starts them."""
    return frozenset(service.name for service in wanted.services if service.running is False)


def _restarts(
    wanted: Configure, changed: Collection[str], actual: MachineFacts, started: Collection[str]
) -> Steps:
    """A service whose file changes, or changed in a run that did not come to the restart.

    One that is ``started`` reads everything by that. One that is not there has nothing to restart:
    that it is due is forgotten, unless what comes before in this run brings it. One that shall not
    run is none either.
    """
    off = switched_off(wanted)
    due: dict[str, list[str]] = {name: [] for name in actual.pending_restarts}
    for file in wanted.files:
        for name in file.restarts:
            if file.path in changed:
                due.setdefault(name, []).append(file.path)
    for name, paths in due.items():
        if name in started or (name in off and name not in actual.pending_restarts):
            continue
        if name in off:
            forget = Call("forget_restart", (name,))
            yield Step("forget", f"restart of service {name}", (forget,), "it shall not run")
            continue
        missing = name in actual.units and actual.units[name].load in GONE
        why = f"{', '.join(paths)} changes" if paths else "an earlier run did not come to it"
        action, what = "restart", f"service {name}"
        if missing:
            why += "; there is no such service"
            action, what = (action, what) if paths else ("forget", f"restart of {what}")
        yield Step(action, what, (Call("restart", (name,)),), why)
