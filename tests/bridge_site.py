"""A host whose network the tests change: two running containers on it, an inventory to write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nornir.core.task import Result, Task

from tasks import configure_bridges, open_fleet
from tasks.run import Run, run_of
from tests.lab import CLIENT_KEY, HOST_ADDRESSES, Lab, host_key, image

NAME = "sidn-demo-03"
ADDRESS = HOST_ADDRESSES[NAME]
INSTALLER = "/etc/netplan/00-installer-config.yaml"
OURS = "/etc/netplan/60-nornir-lxd-fleet.yaml"
#: Seconds until an unconfirmed change is undone.
CONFIRM = 8

#: All of a host's network but what counts and ages: files byte for byte, links, members, addresses,
#: routes, settings of bridges.
NETWORK = """
cd /etc/netplan; for file in *; do echo "$file"; stat -c '%a %U' "$file"; cat "$file"; done
ls /run/netplan 2>/dev/null
ip -o link show | cut -d' ' -f2- | sed 's/ state [A-Z]*//; s/ qdisc [a-z_]*//' |
    grep -v '^veth' | sed 's/,LOWER_UP\\|NO-CARRIER,//g; s/@if[0-9]*//' | sort
ip -o addr show | awk '$4 !~ /^fe80/ { print $2, $3, $4 }' | sort
{ ip route; ip -6 route | grep -v '^fe80'; } | sed 's/ linkdown//; s/ expires [0-9a-z]*//' | sort
for bridge in /sys/class/net/*/bridge; do
    echo "$bridge $(cat $bridge/stp_state $bridge/forward_delay | tr '\\n' ' ')"
done
ls -d /sys/class/net/*/brif/* | sed 's/veth.*/veth/' # a container's has a new name at each start
"""
#: A run in a process of its own, which dies by SIGKILL at one stage.
KILLED = """
import os, signal
from tasks import configure_bridges, open_fleet
def at(stage):
    if stage == {stage!r}:
        os.kill(os.getpid(), signal.SIGKILL)
nr = open_fleet({folder!r}).filter(name={name!r})
print(nr.run(task=configure_bridges, on_stage=at)[{name!r}][0].result)
"""

At = Mapping[str, Callable[[Any], Any]]


@dataclass
class Site:
    """One host of the lab and the inventory that it has alone."""

    lab: Lab
    folder: Path

    def intend(
        self,
        *,
        nics: Mapping[str, str] | None = None,
        bridges: Mapping[str, Mapping[str, Any]] | None = None,
        addresses: Mapping[str, Any] | None = None,
        confirm: float = CONFIRM,
        hostname: str = "",
        **demo: Any,
    ) -> None:
        """Write the inventory anew.

        Arguments:
            nics: by role; the role demo is enp1s0 unless it says so.
            bridges: further ones, by network.
            addresses: further ones, or another one in the network demo.
            confirm: seconds until an unconfirmed change is undone.
            hostname: where the controller looks for it, instead of its address in the network demo.
            demo: keys of br-demo, over NIC and network as in the lab; None leaves a key out.
        """
        body = {"nic": "demo", "subnet": "192.168.56.0/24", "gateway": "192.168.56.1", **demo}
        groups = {"demo": body, **(bridges or {})}
        roles = {"demo": "enp1s0", **(nics or {})}
        if body["nic"] is None:
            roles.pop("demo")
        data = {
            "lxd": {"listen": "all"},
            "nics": roles,
            "management": "demo",
            "addresses": {"demo": ADDRESS, **(addresses or {})},
            "netplan": {"replaces": [INSTALLER], "confirm_seconds": confirm},
            "ssh_key": str(CLIENT_KEY),
            "ssh_host_key": {"file": f"{host_key(NAME)}.pub"},
        }
        host: dict[str, Any] = {"groups": [f"br-{network}" for network in groups], "data": data}
        if hostname:
            host["hostname"] = hostname
        inventory = self.folder / "site"
        inventory.mkdir(exist_ok=True)
        (inventory / "hosts.yaml").write_text(yaml.safe_dump({NAME: host}))
        kept = {
            f"br-{network}": {"data": {"bridge": {k: v for k, v in keys.items() if v is not None}}}
            for network, keys in groups.items()
        }
        (inventory / "groups.yaml").write_text(yaml.safe_dump(kept))
        (inventory / "defaults.yaml").write_text("username: root\n")
        (self.folder / "config.yaml").write_text(
            f"user_defined: {{state_dir: {self.folder / 'state'}}}\n"
        )

    def configure(
        self,
        *,
        dry_run: bool = False,
        prune: bool = False,
        at: At | None = None,
    ) -> dict[str, Any]:
        """Configure the bridges; their record. ``at`` maps stages to what happens there."""
        return self.configure_and_look(dry_run=dry_run, prune=prune, at=at)[0]

    def configure_and_look(
        self,
        *,
        dry_run: bool = False,
        prune: bool = False,
        at: At | None = None,
    ) -> tuple[dict[str, Any], Run]:
        """The same, and what the run has gathered."""
        nr = open_fleet(self.folder / "site", dry_run=dry_run)
        alone = nr.filter(name=NAME)

        def go(task: Task) -> Result:
            def reached(stage: str) -> None:
                if at and stage in at:
                    at[stage](task.host)

            return configure_bridges(task, prune=prune, on_stage=reached)

        result = alone.run(task=go)[NAME][0]
        alone.close_connections(on_good=True, on_failed=True)
        record: dict[str, Any] = result.result
        assert isinstance(record, dict), record
        return record, run_of(nr)

    def killed_at(self, stage: str) -> int:
        """The exit status of a run that a SIGKILL ends at this stage."""
        return self._in_a_process(stage).returncode

    def another_controller(self) -> subprocess.CompletedProcess[str]:
        """A run in a process of its own, which prints its record."""
        return self._in_a_process("never")

    def _in_a_process(self, stage: str) -> subprocess.CompletedProcess[str]:
        script = KILLED.format(stage=stage, folder=str(self.folder / "site"), name=NAME)
        return subprocess.run(
            [sys.executable, "-c", script], timeout=60, check=False, capture_output=True, text=True
        )

    def sh(self, script: str, timeout: float = 60) -> str:
        """What a script prints on the host; it must succeed."""
        done: subprocess.CompletedProcess[str] = self.lab.exec(
            NAME, ["sh", "-c", script], timeout=timeout
        )
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def network(self) -> str:
        """All of the host's network, as lines that are the same while it is."""
        return self.sh(NETWORK + "\ntrue")

    def raise_containers(self) -> None:
        """Two running containers in br-demo that know each other's addresses."""
        for part in image("minimal"):
            self.lab.exec(NAME, f"cat >/run/{part.name}", input=part.read_bytes(), timeout=60)
        files = " ".join(f"/run/{part.name}" for part in image("minimal"))
        self.sh(f"lxc storage create default dir; lxc image import {files} --alias minimal")
        for name, number in (("c1", 1), ("c2", 2)):
            self.sh(
                f"lxc init minimal {name} -s default --no-profiles && "
                f"lxc config device add {name} if-demo nic name=if-demo nictype=bridged "
                f"parent=br-demo && lxc start {name} && "
                f"lxc exec {name} -- sh -c 'ip link set if-demo up; "
                f"ip addr add 10.77.0.{number}/24 dev if-demo'",
                timeout=120,
            )

    def containers_reach_each_other(self) -> bool:
        """Whether a packet goes from one to the other through the bridge."""
        done = self.lab.exec(NAME, "lxc exec c1 -- ping -c 1 -W 2 10.77.0.2", timeout=20)
        return bool(done.returncode == 0)

    def answers(self, address: str = ADDRESS) -> bool:
        """Whether the host takes connections at an address, from here."""
        done = subprocess.run(
            ["ssh", "-F", "none", "-i", str(CLIENT_KEY), "-o", "BatchMode=yes", "-o",
             "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
             "ConnectTimeout=2", f"root@{address}", "true"],
            capture_output=True, timeout=15, check=False,
        )  # fmt: skip
        return done.returncode == 0


def instances(site: Site) -> dict[str, Any]:
    """LXD's own view of the host's containers."""
    listed = json.loads(site.sh("lxc list --format json"))
    return {instance["name"]: instance for instance in listed}
