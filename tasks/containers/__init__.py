"""Containers on an LXD host: created, started and mended as the inventory declares them."""

from __future__ import annotations

from tasks.containers.departed import plan_departed
from tasks.containers.plan import plan_container
from tasks.containers.raising import raise_containers
from tasks.containers.step import ContainerWrite

__all__ = ["ContainerWrite", "plan_container", "plan_departed", "raise_containers"]
