"""Backups of containers on another machine of the fleet, and containers raised from them."""
