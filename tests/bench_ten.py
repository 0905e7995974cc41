"""How long two bare LXD hosts take to have ten configured containers, each proven.

Run with ``make bench``: without prepared images; with them, made on the way; and once more from
those that are there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.lab import Lab
from tests.ten import HOSTS, IMAGES, Ten, fresh_hosts

WITHOUT_CONTAINERS = "lxc delete -f $(lxc list -f csv -c n)"


def main() -> int:
    """Time the three and print them."""
    lab = Lab()
    with tempfile.TemporaryDirectory() as folder, fresh_hosts(lab):
        fleet = Ten(lab, Path(folder))
        fleet.declare()
        _raise(fleet, "without prepared images")
    with tempfile.TemporaryDirectory() as folder, fresh_hosts(lab):
        fleet = Ten(lab, Path(folder))
        prepared = {name: {**fleet.image_files(name), "prepare": True} for name in IMAGES}
        fleet.declare(images=dict.fromkeys(HOSTS, prepared))
        _raise(fleet, "with prepared images, made on the way")
        for host in HOSTS:
            fleet.sh(host, WITHOUT_CONTAINERS, timeout=120)
        _raise(fleet, "the containers alone, from prepared images")
    return 0


def _raise(fleet: Ten, how: str) -> None:
    """Provision, say what it took, and see that the next run has nothing to do."""
    report = fleet.provision()
    assert report["exit"] == 0, report
    print(f"ten containers from nothing, {how}: {report['seconds']:.1f} s", flush=True)
    again = fleet.provision()
    assert (again["exit"], again["summary"]["changed"]) == (0, 0), again
    print(f"  nothing to do after it: {again['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
