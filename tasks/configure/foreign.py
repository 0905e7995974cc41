"""What the inventory declares as somebody else's is refused, whatever else declares it."""

from __future__ import annotations

from pathlib import PurePosixPath

from tasks.errors import FleetError
from tasks.intent.model import Machine
from tasks.machine_paths import sudoers_file


def refuse_foreign(machine: Machine) -> None:
    """Raise :class:`FleetError` where a file of ours is, or lies under, a foreign path."""
    ours = [file.path for file in machine.configure.files]
    ours += [sudoers_file(user.name) for user in machine.configure.users if user.sudo]
    for path in ours:
        for foreign in machine.foreign:
            if PurePosixPath(path).is_relative_to(foreign):
                raise FleetError(
                    f"{path} is declared as ours and, by {foreign}, as foreign",
                    where=machine.name,
                    remedy="take one of the two out of the inventory",
                )
