"""What containers with faults cost those without: eight from nothing, alone and beside two.

Run with ``make bench``. One of the two has an exec that does not return before its deadline, which
is longer than the whole run of the others, the other a mirror that nobody answers for. What counts
is when the last of the eight is proven, not when the run ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.demo import Demo
from tests.lab import Lab
from tests.ten import NAMES, Ten, fresh_hosts

RUNS = 1
HEALTHY, FAULTY = NAMES[:8], NAMES[8:]
#: Seconds that the two have, more than the eight need.
DEADLINE = 150
#: An address of the lab that is nobody's.
NOBODY = "192.168.56.250"
FAULTS: Mapping[str, Mapping[str, Any]] = {
    FAULTY[0]: {"bootcmd": [["sleep", "900"]]},
    FAULTY[1]: {
        "bootcmd": [
            "rm -f /etc/apt/sources.list.d/*",
            f"echo 'deb [trusted=yes] http://{NOBODY}/ bookworm main' >/etc/apt/sources.list",
        ]
    },
}
LONGER = 15


def main() -> int:
    """Time both by turns; print the best of each and by how much the second is longer."""
    lab = Lab()
    with tempfile.TemporaryDirectory() as folder:
        times: dict[str, list[float]] = {"alone": [], "beside two": []}
        for _ in range(RUNS):
            times["alone"].append(_proven(lab, Path(folder), HEALTHY))
            times["beside two"].append(_proven(lab, Path(folder), NAMES))
    alone, beside = (min(found) for found in times.values())
    longer = 100 * (beside / alone - 1)
    for what, found in times.items():
        print(f"eight containers from nothing {what}: "
              f"{', '.join(f'{seconds:.1f}' for seconds in found)} s")  # fmt: skip
    print(f"beside two with faults {longer:+.0f} % (at most {LONGER} %)")
    return longer > LONGER


def _proven(lab: Lab, folder: Path, names: Sequence[str]) -> float:
    """Seconds from the start of a run on fresh hosts until the last healthy one is proven."""
    with fresh_hosts(lab):
        fleet = Ten(lab, Path(tempfile.mkdtemp(dir=folder)))
        fleet.declare(
            names,
            containers={
                name: {
                    "image": "cloud-init",
                    "user_data": data,
                    "bootstrap": {"deadline": DEADLINE},
                }
                for name, data in FAULTS.items()
            },
        )
        waiting = {f"{name} prove ok" for name in HEALTHY}
        started = time.monotonic()
        last = 0.0
        with subprocess.Popen(
            Demo.command("provision", inventory=fleet.inventory), stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout
            for line in run.stdout:
                done = {each for each in waiting if line.startswith(f"{each} ")}
                if done:
                    waiting -= done
                    last = time.monotonic() - started
        assert not waiting, f"not proven: {waiting}"
        return last


if __name__ == "__main__":
    sys.exit(main())
