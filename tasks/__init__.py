"""Nornir tasks that manage a fleet of LXD hosts and their containers.

Open a fleet with :func:`open_fleet`, then run any of the tasks with Nornir, or all of them with
:func:`provision`.
"""

from tasks.bootstrap.task import bootstrap_container, bootstrap_host
from tasks.bridges.task import configure_bridges
from tasks.check import check_host
from tasks.configure.task import configure_system
from tasks.containers.task import raise_containers
from tasks.controllers.task import identify_controller
from tasks.controllers.trust import trust_controllers
from tasks.facts.host import gather_facts
from tasks.fleet import open_fleet
from tasks.images.task import sync_images
from tasks.lxd_server.task import setup_lxd
from tasks.maintenance.backups.task import back_up_container
from tasks.maintenance.certificates.task import renew_certificates
from tasks.maintenance.drift import find_drift
from tasks.maintenance.health import check_health
from tasks.maintenance.images import refresh_images
from tasks.maintenance.maintain import maintain
from tasks.maintenance.reboot import reboot_machine
from tasks.maintenance.restore.task import place_on, restore_container
from tasks.maintenance.snapshots import prune_snapshots, take_snapshot
from tasks.maintenance.upgrade.task import upgrade_packages
from tasks.picture.drawing import fleet_picture
from tasks.prepared.task import prepare_images
from tasks.profiles.compare import compare_profiles
from tasks.profiles.task import sync_profiles
from tasks.prove import prove_machine
from tasks.provision import provision
from tasks.remotes.task import sync_remotes
from tasks.report import to_rows

__all__ = (
    "back_up_container",
    "bootstrap_container",
    "bootstrap_host",
    "check_health",
    "check_host",
    "compare_profiles",
    "configure_bridges",
    "configure_system",
    "find_drift",
    "fleet_picture",
    "gather_facts",
    "identify_controller",
    "maintain",
    "open_fleet",
    "place_on",
    "prepare_images",
    "prove_machine",
    "provision",
    "prune_snapshots",
    "raise_containers",
    "reboot_machine",
    "refresh_images",
    "renew_certificates",
    "restore_container",
    "setup_lxd",
    "sync_images",
    "sync_profiles",
    "sync_remotes",
    "take_snapshot",
    "to_rows",
    "trust_controllers",
    "upgrade_packages",
)
