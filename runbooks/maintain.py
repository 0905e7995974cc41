"""Regular upkeep of the fleet, made for cron."""

import sys

try:
    from tasks.command import maintain_command
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(maintain_command())
