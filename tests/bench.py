"""What a provision with nothing to do costs: seconds, SSH execs and API requests.

Run with ``make bench`` while the demo stands.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from tests.demo import INVENTORY, Demo

RUNS = 5


def main() -> int:
    """Time the runs and print the median with the exchanges of the last one."""
    seconds = []
    for _ in range(RUNS):
        started = time.monotonic()
        done = subprocess.run(
            Demo.command("provision", "--json", "-", inventory=INVENTORY),
            env=dict(os.environ), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        seconds.append(time.monotonic() - started)
        if done.returncode:
            print(done.stderr, done.stdout, file=sys.stderr)
            return done.returncode
    report = json.loads(done.stdout)
    print(f"provision, nothing to do: {statistics.median(seconds):.2f} s "
          f"(of {RUNS}: {min(seconds):.2f} to {max(seconds):.2f})")  # fmt: skip
    for name, host in report["hosts"].items():
        counts = host["exchanges"]
        print(f"  {name:20} {counts['execs']} execs {counts['requests']} API requests, "
              f"{counts['sent']} bytes sent, {counts['received']} received")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
