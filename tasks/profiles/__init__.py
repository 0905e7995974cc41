"""LXD profiles on an LXD host, as the inventory declares them by name."""

from __future__ import annotations

from tasks.profiles.plan import ProfileWrite, plan_profiles
from tasks.profiles.sync import sync_profiles

__all__ = ["ProfileWrite", "plan_profiles", "sync_profiles"]
