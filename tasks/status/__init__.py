"""How the fleet is right now: every LXD host read once, held against the inventory."""

from tasks.status.read import status
from tasks.status.report import StatusReport

__all__ = ["StatusReport", "status"]
