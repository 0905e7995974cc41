"""Rules on profiles: bridges that exist, interface names that fit, user-data that work."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import yaml

from tasks.intent.inventory import Inventory
from tasks.intent.model import Devices, Intent
from tasks.mistakes import Mistakes, Place, nearest

FIRST_LINE = "#cloud-config"
USER_DATA = ("user-data", "vendor-data")


def check_profiles(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Check every profile by itself; containers check whether it fits their hosts."""
    for profile in intent.profiles.values():
        place = inventory.group_place(profile.name, "profile")
        check_devices(profile.devices, place.at("devices"), intent, mistakes)

        def written(key: str, place: Place = place, name: str = profile.name) -> Place:
            own = inventory.groups[name].body["data"]["profile"].get("config", {})
            return place.at("config", key) if key in own else place.at("user_data")

        check_user_data(profile.config, written, mistakes)


def check_devices(devices: Devices, place: Place, intent: Intent, mistakes: Mistakes) -> None:
    """NICs in bridges that are declared, under names that Linux takes, each name once."""
    names: dict[str, str] = {}
    for name, device in devices.items():
        if device.get("type") != "nic":
            continue
        parent = device.get("parent", "")
        bridges = [bridge.name for bridge in intent.bridges.values()]
        if parent.startswith("br-") and parent not in bridges:
            mistakes.add(
                place.at(name, "parent"),
                f"there is no bridge {parent}",
                nearest(parent, bridges, "declare it as a group with `bridge`"),
            )
        interface = device.get("name", name)
        if len(interface) > 15:
            mistakes.add(
                place.at(name),
                f"{interface} is too long a name for an interface",
                "Linux takes at most 15 characters",
            )
        other = names.setdefault(interface, name)
        if other != name:
            mistakes.add(
                place.at(name),
                f"{other} and {name} are both called {interface} inside",
                "give each NIC a name of its own",
            )


def check_user_data(
    config: Mapping[str, str], written: Callable[[str], Place], mistakes: Mistakes
) -> None:
    """User-data and vendor-data that cloud-init will take; ``written`` gives a key's place."""
    for key, text in config.items():
        if key.rpartition(".")[2] not in USER_DATA:
            continue
        first = text.split("\n", 1)[0]
        if first != FIRST_LINE:
            mistakes.add(
                written(key),
                f"the first line is {first[:40]!r}: cloud-init ignores the "
                f"whole text unless it is exactly {FIRST_LINE}",
                f"write {FIRST_LINE}, without any space"
                if first.replace(" ", "").strip() == FIRST_LINE
                else f"put {FIRST_LINE} on a line before it",
            )
            continue
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f"line {mark.line + 1} of " if mark else ""
            mistakes.add(
                written(key),
                f"{line}it is not YAML: {getattr(error, 'problem', error)}",
                "mend it, or write it as a mapping",
            )
            continue
        if content is not None and not isinstance(content, dict):
            mistakes.add(written(key), "is no mapping of cloud-init's modules", "write KEY: VALUE")
