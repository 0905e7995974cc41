"""Backups of containers on another machine of the fleet."""
