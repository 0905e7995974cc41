"""Bring the fleet to what the inventory intends."""

import sys

from tasks.command import provision_command

if __name__ == "__main__":
    sys.exit(provision_command())
