"""Two LXD hosts of the lab that back each other's containers up, and a plain machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.lab import CLIENT_KEY, HOST_ADDRESSES, HOST_NAMES, Lab, host_key
from tests.ten import ADDRESSES, HOSTS, Ten, fresh_hosts

FIRST, SECOND = HOSTS
#: The plain machine: a host of the lab whose LXD nobody declares.
BOX = HOST_NAMES[4]
#: With a volume of data; from an image with cloud-init; on the second host.
DATA, CLOUD, OTHER = "ten-01", "ten-02", "ten-06"
NAMES = (DATA, CLOUD, OTHER)
FOLDER = "/var/lib/nornir-lxd-fleet/backups"


class BackupSite:
    """The fleet, with what is in its containers and what is kept of them."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.fleet = Ten(lab, folder)

    def declare(self, to: Mapping[str, str] = {}, **backup: Any) -> None:
        """Write the inventory; ``to`` says of some where they are backed up to."""
        rules = {DATA: SECOND, CLOUD: SECOND, OTHER: FIRST, **to}
        containers: dict[str, dict[str, Any]] = {
            name: {"maintenance": {"backup": {"to": rules[name], **backup}}} for name in NAMES
        }
        volume = {"type": "disk", "pool": "default", "source": "calls", "path": "/srv/calls"}
        containers[DATA]["devices"] = {"calls": volume}
        self.fleet.declare(NAMES, with_ssh=True, containers=containers)
        hosts = self.fleet.inventory / "hosts.yaml"
        content = yaml.safe_load(hosts.read_text())
        images = content[FIRST]["data"]["images"] | content[SECOND]["data"]["images"]
        for name in HOSTS:
            content[name]["data"]["images"] = images
        content[BOX] = {
            "hostname": HOST_ADDRESSES[BOX],
            "data": {
                "machine": True,
                "management": None,
                "ssh_host_key": {"file": f"{host_key(BOX)}.pub"},
                "configure": {"users": {"operator": "absent"}},
            },
        }
        hosts.write_text(yaml.safe_dump(content))

    def maintain(self, *arguments: str) -> dict[str, Any]:
        """The report of a run, and ``exit`` with its exit status."""
        done = self.fleet.runbook("maintain", *arguments, "--json", "-")
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit": done.returncode}

    def killed(self, stage: str, container: str, *arguments: str) -> int:
        """How a run ended that dies at that stage."""
        words = [stage, container, *arguments, "--inventory", str(self.fleet.inventory)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.killed_backup", *words],
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        return done.returncode

    def kept(self, container: str, on: str) -> dict[str, dict[str, Any]]:
        """The whole backups of a container by moment: their manifests."""
        script = f"cat {FOLDER}/ten/{container}/*Z/manifest 2>/dev/null || true"
        decoder, text = json.JSONDecoder(), self.fleet.sh(on, script).strip()
        found = {}
        while text:
            manifest, end = decoder.raw_decode(text)
            found[manifest["moment"]] = manifest
            text = text[end:].strip()
        return found

    def files(self, container: str, on: str) -> list[str]:
        """All that is kept of a container, with modes."""
        script = f"cd {FOLDER}/ten/{container} && find . -mindepth 1 -printf '%P %m\\n' | sort"
        return self.fleet.sh(on, script).splitlines()

    def exports(self, host: str) -> list[str]:
        """What LXD on a host keeps of exports, as files."""
        script = "find /var/lib/lxd/backups -type f"
        return self.fleet.sh(host, script).splitlines()

    def instance(self, host: str, name: str) -> dict[str, Any] | None:
        """A container as LXD on a host has it."""
        return self.fleet.left(host).instances.get(name)

    def over_ssh(self, container: str, script: str) -> str:
        """What a script prints in a container, over SSH from here with the host key that the runs
        know."""
        known = self.fleet.folder / "state" / "ten" / "known_hosts"
        options = [f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        done = subprocess.run(
            ["ssh", "-i", str(CLIENT_KEY), *(w for o in options for w in ("-o", o)),
             f"root@{ADDRESSES[container]}", script],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{container}: {script}: {done.stderr}"
        return done.stdout

    def identity(self, container: str) -> str:
        """What makes a container the machine that it is, as seen over SSH."""
        script = (
            "cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub; hostname; "
            "ip -o link show if-demo | sed 's/.*link/link/; s/ link-netnsid.*//'; "
            "ip -o -4 address show if-demo | sed 's/^[0-9]*: //'; ip route"
        )
        return self.over_ssh(container, script)


@contextmanager
def backup_site(lab: Lab, folder: Path) -> Iterator[BackupSite]:
    """The fleet, raised on fresh hosts; ``DATA`` has a volume that LXD knows."""
    lab.up(hosts=5)
    with fresh_hosts(lab):
        lab.reset(BOX)
        site = BackupSite(lab, folder)
        site.declare()
        phases = [w for p in ("bridges", "lxd", "remotes", "profiles") for w in ("--phase", p)]
        first = site.fleet.provision(*phases)
        assert first["exit"] == 0, first["hosts"]
        site.fleet.sh(FIRST, "LXD_CONF=/run/site lxc storage volume create default calls")
        raised = site.fleet.provision()
        assert raised["exit"] == 0, raised["hosts"]
        try:
            yield site
        finally:
            lab.remove(BOX)
