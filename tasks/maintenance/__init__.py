"""Regular upkeep: the jobs, each a task of its own, and the order in which a fleet gets them."""

from tasks.maintenance.backups.task import back_up_container
from tasks.maintenance.certificates.task import renew_certificates
from tasks.maintenance.drift import find_drift
from tasks.maintenance.health import check_health
from tasks.maintenance.images import refresh_images
from tasks.maintenance.jobs import JOBS
from tasks.maintenance.maintain import maintain
from tasks.maintenance.reboot import reboot_machine
from tasks.maintenance.restore.task import place_on, restore_container
from tasks.maintenance.snapshots import prune_snapshots, take_snapshot
from tasks.maintenance.upgrade.task import upgrade_packages

__all__ = [
    "JOBS",
    "back_up_container",
    "check_health",
    "find_drift",
    "maintain",
    "place_on",
    "prune_snapshots",
    "reboot_machine",
    "refresh_images",
    "renew_certificates",
    "restore_container",
    "take_snapshot",
    "upgrade_packages",
]
