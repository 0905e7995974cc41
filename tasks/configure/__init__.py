"""The configuration of any machine over SSH."""

from __future__ import annotations

from tasks.configure.task import configure_system

__all__ = ["configure_system"]
