"""Show how the fleet is: ``python runbooks/status.py --help``."""

import sys

from tasks.command import status_command

if __name__ == "__main__":
    sys.exit(status_command())
