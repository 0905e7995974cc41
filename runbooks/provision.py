"""Bring the fleet to what the inventory intends."""

import sys

try:
    from tasks.command import provision_command
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(provision_command())
