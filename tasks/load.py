"""Load the wanted state of a fleet from an inventory folder, checked."""

from __future__ import annotations

from pathlib import Path

from tasks.checks.check import check
from tasks.errors import InventoryError
from tasks.intent.here import Here
from tasks.intent.inventory import read_inventory
from tasks.intent.model import Intent
from tasks.intent.resolve import resolve
from tasks.mistakes import Mistakes


def load_intent(folder: Path, here: Here | None = None) -> Intent:
    """The intent of an inventory folder (hosts.yaml, groups.yaml, defaults.yaml).

    ``here`` is what ``config.yaml`` beside the folder says of this machine; nothing without it.
    Nothing is contacted. Raises :class:`InventoryError` with all mistakes of all stages at once.
    """
    mistakes = Mistakes()
    inventory = read_inventory(folder, mistakes)
    if inventory is not None:
        intent = resolve(folder, inventory, mistakes, here or Here())
        check(intent, inventory, mistakes)
        if not mistakes:
            return intent
    raise InventoryError(mistakes.lines())
