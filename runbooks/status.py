"""Show how the fleet is: ``python runbooks/status.py --help``."""

import sys

try:
    from tasks.command import status_command
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(status_command())
