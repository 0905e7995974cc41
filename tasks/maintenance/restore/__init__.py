"""Containers raised from their backups."""
