"""All of the rules."""

from __future__ import annotations

from tasks.checks.backups import check_backups
from tasks.checks.containers import check_containers
from tasks.checks.lxd_hosts import check_lxd_hosts
from tasks.checks.networks import check_networks
from tasks.checks.ownership import check_ownership
from tasks.checks.profiles import check_profiles
from tasks.intent.inventory import Inventory
from tasks.intent.model import Intent
from tasks.mistakes import Mistakes


def check(intent: Intent, inventory: Inventory, mistakes: Mistakes) -> None:
    """Book every rule that an intent breaks; ``inventory`` says where things are written."""
    # What a rule would say of these only follows from a mistake that is booked already.
    unsure = frozenset(name for name in intent.names() if inventory.unsure(name, mistakes))
    check_networks(intent, inventory, mistakes)
    check_lxd_hosts(intent, inventory, unsure, mistakes)
    check_profiles(intent, inventory, mistakes)
    check_containers(intent, inventory, unsure, mistakes)
    check_backups(intent, inventory, mistakes)
    check_ownership(intent, inventory, mistakes)
