"""Containers on an LXD host: created, started and mended as the inventory declares them."""

from __future__ import annotations

from tasks.containers.departed import plan_departed
from tasks.containers.plan import ContainerWrite, plan_container
from tasks.containers.raising import raise_containers

__all__ = ["ContainerWrite", "plan_container", "plan_departed", "raise_containers"]
