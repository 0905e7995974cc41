"""LXD profiles on an LXD host, as the inventory declares them by name."""

from __future__ import annotations

from tasks.profiles.across import ProfileComparison, compare_across
from tasks.profiles.compare import compare_profiles
from tasks.profiles.plan import plan_profiles
from tasks.profiles.sync import sync_profiles

__all__ = [
    "ProfileComparison",
    "compare_across",
    "compare_profiles",
    "plan_profiles",
    "sync_profiles",
]
