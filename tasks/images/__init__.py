"""Images on an LXD host, under the aliases by which containers name them."""

from __future__ import annotations

from tasks.images.plan import ImageWrite, plan_images
from tasks.images.sync import sync_images

__all__ = ["ImageWrite", "plan_images", "sync_images"]
