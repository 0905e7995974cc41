"""Regular upkeep of the fleet, made for cron."""

import sys

from tasks.command import maintain_command

if __name__ == "__main__":
    sys.exit(maintain_command())
