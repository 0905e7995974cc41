"""``maintain.py drift`` on the demo fleet: what differs is told, a line each, and left as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.demo import CONTAINERS, HOSTS, Demo

pytestmark = pytest.mark.lab

FILE = "/etc/motd"
#: What a dry run could leave behind, on a host and in a container.
ON_HOST = """
export LXD_CONF=/run/drift-lxc; mkdir -p $LXD_CONF
find /etc /root /var/lib/nornir-lxd-fleet /run/nornir-lxd-fleet* /run/netplan -xdev \
    -printf '%p %s %m %u %g %T@\\n' 2>/dev/null | sort
ip -o link show | sed 's/^[0-9]*: //'
for path in /1.0 /1.0/certificates /1.0/profiles?recursion=1 /1.0/storage-pools /1.0/images \
    /1.0/instances?recursion=1; do
    lxc query "$path" | tr -d ',\\t' | sort # LXD lists certificates in any order
done
"""
INSIDE = """
find /etc /root /var/lib/nornir-lxd-fleet /home -xdev -printf '%p %s %m %u %g %T@\\n' | sort
cat /etc/motd
"""


@pytest.fixture
def drifted(demo: Demo) -> Iterator[Demo]:
    """A profile of a host, and a file in a container on the other one, changed by hand."""
    # Not its user-data: with other ones cloud-init makes new SSH host keys at the next start.
    change = "LXD_CONF=/run/drift-lxc; export LXD_CONF; mkdir -p $LXD_CONF; "
    change += """lxc query -X PATCH -d '{"description": "by hand"}' /1.0/profiles/demo"""
    done = demo.lab.exec(HOSTS[0], change)
    assert done.returncode == 0, done.stderr
    demo.inside("web-03", f"echo by hand >{FILE}")
    yield demo
    assert demo.runbook("provision").returncode == 0


def test_a_fleet_without_drift_is_silent(demo: Demo) -> None:
    done = demo.runbook("maintain", "drift", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_differs_is_told_and_nothing_is_changed(drifted: Demo) -> None:
    def everything() -> tuple[dict[str, str], dict[str, str]]:
        hosts = {name: drifted.lab.exec(name, ON_HOST).stdout for name in HOSTS}
        return hosts, {name: drifted.inside(name, INSIDE) for name in CONTAINERS}

    before = everything()
    assert all('"name": "demo"' in told for told in before[0].values())
    mailed = drifted.runbook("maintain", "drift", "--quiet")
    told = drifted.runbook("maintain", "drift", "--json", "-")
    assert everything() == before
    assert (mailed.returncode, mailed.stderr, told.returncode) == (1, "", 1)
    hosts = json.loads(told.stdout)["hosts"]
    found = {
        name: [phase["message"] for phase in host["phases"] if phase["status"] == "failed"]
        for name, host in hosts.items()
        if host["status"] != "ok"
    }
    see = "; provision.py --dry-run shows how"
    assert found == {
        HOSTS[0]: [f"differs from the inventory in profiles: update profile demo{see}"],
        "web-03": [f"differs from the inventory in configure: update file {FILE}{see}"],
    }
    assert [host["phases"][-1]["phase"] for host in hosts.values()] == ["drift"] * len(hosts)
    assert "by hand" in hosts["web-03"]["phases"][-1]["diff"]
    sentence, *blocks = mailed.stdout.split("\n\n")
    assert sentence == "maintain demo: of 7 machines 2 failed, 5 as wanted."
    assert [block.splitlines()[0] for block in blocks[:2]] == [
        f"{HOSTS[0]}: failed",
        "web-03: failed",
    ]


def test_it_takes_no_lock_on_a_host_and_one_read_of_each_machine(demo: Demo) -> None:
    told = demo.runbook("maintain", "drift", "--json", "-")
    dry = demo.runbook("provision", "--dry-run", "--json", "-")
    assert (told.returncode, dry.returncode) == (0, 0)
    exchanges = [
        {name: host["exchanges"]["execs"] for name, host in json.loads(run.stdout)["hosts"].items()}
        for run in (told, dry)
    ]
    assert exchanges[0] == exchanges[1]
