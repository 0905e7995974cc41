"""Regular upkeep: the jobs, each a task of its own, and the order in which a fleet gets them."""

from tasks.maintenance.backups.restore import place_on, restore_container
from tasks.maintenance.backups.task import back_up_container
from tasks.maintenance.health import check_health
from tasks.maintenance.jobs import JOBS
from tasks.maintenance.maintain import maintain
from tasks.maintenance.snapshots import prune_snapshots, take_snapshot
from tasks.maintenance.upgrade import upgrade_packages

__all__ = [
    "JOBS",
    "back_up_container",
    "check_health",
    "maintain",
    "place_on",
    "prune_snapshots",
    "restore_container",
    "take_snapshot",
    "upgrade_packages",
]
