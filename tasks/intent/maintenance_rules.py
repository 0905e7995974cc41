"""A machine's rules for maintenance, resolved from what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.intent.maintenance import Backup, BoundedCommand, Maintenance, Retention, Upgrade
from tasks.intent.merge import Layers
from tasks.intent.scope import Scope
from tasks.intent.windows import Calendar, freeze_of, window_of
from tasks.mistakes import Place


def maintenance_of(host: Layers, scope: Scope) -> Maintenance:
    """What is declared of a machine, and the defaults of what is not."""
    data = dict(host.data.get("maintenance", {}))
    for key in ("drain", "undrain"):
        data[key] = _command(data.get(key), host.place("maintenance", key), scope)
    upgrade = data.pop("upgrade", {})
    data["upgrade"] = Upgrade(**{**upgrade, "hold": tuple(upgrade.get("hold", ()))})
    if rule := data.get("snapshots"):
        data["snapshots"] = Retention(**rule)
    if (backup := data.get("backup")) is not None:
        keep = backup.get("keep")
        data["backup"] = Backup(**{**backup, "keep": Retention(**keep) if keep else None})
    windows, freezes = data.pop("window", None) or (), data.pop("freezes", ())
    zone = data.pop("timezone", None)
    if zone is not None:
        scope.time_zone(zone, host.place("maintenance", "timezone"))
    calendar = Calendar(
        tuple(window_of(text) for text in ([windows] if isinstance(windows, str) else windows)),
        tuple(freeze_of(text) for text in freezes),
        zone,
    )
    return Maintenance(**data, calendar=calendar)


def _command(
    written: str | Mapping[str, Any] | None, place: Place, scope: Scope
) -> BoundedCommand | None:
    if written is None or isinstance(written, str):
        return BoundedCommand(written) if written else None
    if "run" not in written:
        if not scope.mistakes.within(place):
            scope.mistakes.add(place, "says no command", "write run: COMMAND")
        return None
    return BoundedCommand(**written)
