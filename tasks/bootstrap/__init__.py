"""From nothing to SSH."""

from __future__ import annotations

from tasks.bootstrap.task import bootstrap_container, bootstrap_host

__all__ = ["bootstrap_container", "bootstrap_host"]
