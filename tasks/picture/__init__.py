"""A drawing of the fleet, from its inventory and, where hosts were read, their actual state."""

from tasks.picture.drawing import fleet_picture

__all__ = ["fleet_picture"]
