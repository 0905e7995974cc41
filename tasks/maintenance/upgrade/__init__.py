"""Upgrades of packages: of any machine at once, of a container with a snapshot to go back to."""
