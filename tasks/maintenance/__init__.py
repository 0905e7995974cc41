"""Regular upkeep: the jobs, each a task of its own, and the order in which a fleet gets them."""

from tasks.maintenance.health import check_health
from tasks.maintenance.jobs import JOBS
from tasks.maintenance.maintain import maintain
from tasks.maintenance.reboot import reboot_machine
from tasks.maintenance.snapshots import prune_snapshots, take_snapshot
from tasks.maintenance.upgrade import upgrade_packages

__all__ = [
    "JOBS",
    "check_health",
    "maintain",
    "prune_snapshots",
    "reboot_machine",
    "take_snapshot",
    "upgrade_packages",
]
