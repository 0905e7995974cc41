"""Images that are bootstrapped once for many containers."""

from __future__ import annotations

from tasks.prepared.plan import PreparedWrite, plan_prepared
from tasks.prepared.task import leave_waiting, prepare_images

__all__ = ["PreparedWrite", "leave_waiting", "plan_prepared", "prepare_images"]
