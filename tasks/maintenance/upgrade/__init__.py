"""Upgrades of packages: of any machine at once, of a container with a snapshot to go back to."""

from tasks.maintenance.upgrade.task import upgrade_packages

__all__ = ["upgrade_packages"]
