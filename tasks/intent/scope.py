"""What resolving needs besides a host's own data: the folder, the bridges, the mistakes so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.intent.here import Here
from tasks.intent.model import Bridge
from tasks.intent.scalars import public_key
from tasks.intent.secret import Secret
from tasks.intent.time_zones import is_time_zone, time_zones
from tasks.mistakes import Mistakes, Place, nearest
from tasks.private_key import flaw_of


@dataclass(frozen=True)
class Scope:
    """``bridges`` are by network name; ``unclear`` are networks whose group has mistakes that
    hide its bridge, ``without_subnet`` those whose subnet is wrong."""

    folder: Path
    mistakes: Mistakes
    bridges: Mapping[str, Bridge]
    unclear: frozenset[str] = frozenset()
    without_subnet: frozenset[str] = frozenset()
    here: Here = field(default_factory=Here)

    def path(self, written: str) -> Path:
        """A path on this machine: ``~`` is the user's home, a relative one is in the folder."""
        return self.here.files.get(written) or self.folder / Path(written).expanduser()

    def existing(self, written: str, place: Place) -> Path:
        """The path of a file that has to be there; a mistake where it is not and is needed here."""
        path = self.path(written)
        needed = self.here.files.get(written, path) is not None
        if needed and not path.is_file():
            self.mistakes.add(place, f"there is no file {path}", "make it first, or mend the path")
        return path

    def private_key(self, written: str, place: Place) -> Path:
        """The path of a private SSH key; a mistake where the file is none."""
        path = self.path(written)
        flaw, remedy = flaw_of(path)
        if flaw:
            self.mistakes.add(place, flaw, remedy)
        return path

    def key_line(self, value: str | Secret, place: Place) -> str | None:
        """A public SSH key's line, written out or read from its file; None with a mistake."""
        if not isinstance(value, Secret):
            return value.strip()
        path = self.path(value.source)
        try:
            return public_key(path.read_text()).strip()
        except OSError as error:
            self.mistakes.add(
                place,
                f"the public key {path} cannot be read ({error.strerror})",
                "make the key first, or mend the path",
            )
        except ValueError:
            self.mistakes.add(
                place, f"{path} does not hold one public SSH key", "name the file that ends in .pub"
            )
        return None

    def time_zone(self, zone: str, place: Place) -> None:
        """A mistake where there is no time zone of this name."""
        if not is_time_zone(zone):
            self.mistakes.add(place, f"there is no time zone {zone}", nearest(zone, time_zones()))

    def bridge(self, network: str, place: Place) -> Bridge | None:
        """The bridge of a network; a mistake where no group declares it."""
        if network not in self.bridges and network not in self.unclear:
            self.mistakes.add(
                place,
                f"there is no network {network}: no group br-{network} with `bridge`",
                nearest(network, self.bridges),
            )
        return self.bridges.get(network)

    def networks(self, names: list[str], place: Place) -> tuple[str, ...]:
        """The networks of a list of bridge names; an unknown one is a mistake."""
        found: dict[str, None] = {}
        known = {bridge.name: network for network, bridge in self.bridges.items()}
        for number, name in enumerate(names):
            if name in known:
                found[known[name]] = None
            elif name.removeprefix("br-") not in self.unclear:
                self.mistakes.add(
                    place.at(number),
                    f"there is no bridge {name}",
                    nearest(name, known, "declare it as a group with `bridge`"),
                )
        return tuple(found)


def secret(value: Secret, scope: Scope) -> Secret:
    """A reference whose file, where it names one, no longer depends on the working folder."""
    return Secret("file", str(scope.path(value.source))) if value.kind == "file" else value
