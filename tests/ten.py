"""Two hosts of the lab with ten containers, five each, as a fleet of their own."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.demo import Demo
from tests.inside import exec_inside
from tests.lab import (
    CLIENT_KEY,
    HOST_ADDRESSES,
    HOST_NAMES,
    Lab,
    client_public_key,
    host_key,
    image,
)

#: Not the demo's, which stays as it is.
HOSTS = HOST_NAMES[2:4]
IMAGES = {"minimal": "none", "cloud-init": "cloud-init"}
INSTALLER = "/etc/netplan/00-installer-config.yaml"
#: All containers, as they lie: on the first host in turn one of each image, on the second too.
NAMES = tuple(f"ten-{number:02}" for number in range(1, 11))
ADDRESSES = {name: f"192.168.56.{180 + number}" for number, name in enumerate(NAMES, 1)}
#: What a run could leave behind in LXD. Its client is without a folder of its own.
LEFT = """
LXD_CONF=$(mktemp -d /run/ten.XXXXXX); export LXD_CONF; trap 'rm -rf $LXD_CONF' EXIT
for path in instances?recursion=2 images?recursion=1 operations?recursion=1; do
    lxc query "/1.0/$path" | tr -d '\\n'; echo
done
"""


def host_of(name: str) -> str:
    """The LXD host of one of the ten: the first five are on the first."""
    return HOSTS[NAMES.index(name) >= len(NAMES) / 2]


def image_of(name: str) -> str:
    """The image of one of the ten."""
    return tuple(IMAGES)[(NAMES.index(name) + (NAMES.index(name) >= 5)) % 2]


@dataclass
class Left:
    """What LXD on a host has: instances and images whole, running operations by what they do."""

    instances: dict[str, dict[str, Any]]
    images: list[dict[str, Any]]
    operations: list[str]


@dataclass
class Ten:
    """The fleet: an inventory to write, the runbooks, and what is on its hosts."""

    lab: Lab
    folder: Path

    def __post_init__(self) -> None:
        """The runbooks run as the demo's do, with a state folder of this fleet's."""
        self._demo = Demo(self.lab, self.folder)

    @property
    def inventory(self) -> Path:
        """The folder of the inventory."""
        return self.folder / "ten"

    def declare(
        self,
        names: Sequence[str] = NAMES,
        *,
        hosts: Sequence[str] = HOSTS,
        with_ssh: bool = False,
        containers: Mapping[str, Mapping[str, Any]] | None = None,
        groups: Mapping[str, Any] | None = None,
        images: Mapping[str, Mapping[str, Any]] | None = None,
        pools: Mapping[str, Any] | None = None,
        confirm: float = 60,
    ) -> None:
        """Write the inventory anew.

        Arguments:
            names: those of the ten that it has; a host has the images of its containers.
            hosts: those of the two that it has.
            with_ssh: from images that have sshd already, which saves most of a bootstrap's time.
            containers: keys of the data of some, over what they have anyway; ``groups`` among them
                replaces the profile.
            groups: further ones.
            images: further ones, by host.
            pools: further ones, on both hosts.
            confirm: seconds until an unconfirmed change of a host's network is undone.
        """
        bridge = {
            "nic": "demo",
            "subnet": "192.168.56.0/24",
            "gateway": "192.168.56.1",
            "nameservers": ["192.168.56.1"],
        }
        everywhere = {
            "nics": {"demo": "enp1s0"},
            "netplan": {"replaces": [INSTALLER], "batch": 2, "confirm_seconds": confirm},
            "lxd": {"listen": "all", "pools": {"default": {"driver": "dir"}, **(pools or {})}},
        }
        found = {
            "br-demo": {"data": {"bridge": bridge}},
            "lxd-host": {"groups": ["br-demo"], "data": everywhere},
            "web": {"data": {"profile": {"bridges": ["br-demo"], "root": "default"}}},
            **(groups or {}),
        }
        machines: dict[str, Any] = {
            name: {
                "groups": ["lxd-host"],
                "data": {
                    "addresses": {"demo": HOST_ADDRESSES[name]},
                    "ssh_host_key": {"file": f"{host_key(name)}.pub"},
                    "images": {
                        used: self.image_files(used, with_ssh=with_ssh)
                        for used in {image_of(each) for each in names if host_of(each) == name}
                    }
                    | dict((images or {}).get(name, {})),
                },
            }
            for name in hosts
        }
        for name in names:
            keys: dict[str, Any] = {
                "on": host_of(name),
                "image": image_of(name),
                "addresses": {"demo": ADDRESSES[name]},
                **copy.deepcopy(dict((containers or {}).get(name, {}))),
            }
            own = keys.pop("groups", ["web"])
            machines[name] = {"groups": own, "data": keys}
        defaults = {
            "username": "root",
            "data": {
                "management": "demo",
                "ssh_key": str(CLIENT_KEY),
                "bootstrap": {
                    "packages": ["openssh-server"],
                    "authorized_keys": [{"file": str(client_public_key())}],
                },
                "configure": {
                    "users": {"operator": {"keys": [{"file": str(client_public_key())}]}},
                    "files": {
                        "/etc/motd": {"content": "One of the ten.\n"},
                        "/etc/ssh/sshd_config.d/10-fleet.conf": {
                            "content": "PasswordAuthentication no\n",
                            "validate": "sshd -t",
                            "restarts": ["ssh"],
                        },
                    },
                },
            },
        }
        self.inventory.mkdir(exist_ok=True)
        for file, content in (("groups", found), ("hosts", machines), ("defaults", defaults)):
            (self.inventory / f"{file}.yaml").write_text(yaml.safe_dump(content))
        settings = {"user_defined": {"state_dir": str(self.folder / "state")}}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings))

    def image_files(self, name: str, *, with_ssh: bool = False) -> dict[str, str]:
        """One of the two images, as an inventory declares it."""
        metadata, rootfs = self.lab.image(f"{name}-ssh") if with_ssh else image(name)
        return {
            "metadata": str(metadata),
            "rootfs": str(rootfs),
            "network_config": IMAGES[name],
        }

    def provision(self, *arguments: str) -> dict[str, Any]:
        """A run's report, and ``exit`` with its exit status."""
        return self._demo.report(*arguments, inventory=self.inventory)

    def runbook(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A runbook as an operator runs it."""
        return self._demo.runbook(name, *arguments, inventory=self.inventory)

    def sh(self, host: str, script: str, *, timeout: float = 60) -> str:
        """What a script prints on a host; it must succeed."""
        done = self.lab.exec(host, ["sh", "-c", script], timeout=timeout)
        assert done.returncode == 0, f"{host}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def inside(self, container: str, script: str, *, timeout: float = 60) -> str:
        """What a script prints inside a container; it must succeed."""
        command = exec_inside(container, script)
        done = self.lab.exec(host_of(container), command, timeout=timeout)
        assert done.returncode == 0, f"{container}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def left(self, host: str) -> Left:
        """What LXD on a host has."""
        lines = self.sh(host, LEFT).splitlines()
        instances, images, operations = (json.loads(line or "null") or [] for line in lines)
        return Left(
            {instance["name"]: instance for instance in instances},
            images,
            # those without a resource are LXD's own, now and then
            [
                found["description"]
                for found in dict(operations).get("running", [])
                if found.get("resources")
            ],
        )


@contextmanager
def fresh_hosts(lab: Lab) -> Iterator[None]:
    """The two hosts, fresh; taken out of the lab again afterwards."""
    lab.up(hosts=4)
    for name in HOSTS:
        lab.reset(name)
    try:
        yield
    finally:
        for name in HOSTS:
            lab.remove(name)


def ten_on(lab: Lab, folder: Path) -> Iterator[Ten]:
    """The body of a module's fixture: fresh hosts, the inventory written, nothing done yet."""
    with fresh_hosts(lab):
        fleet = Ten(lab, folder)
        fleet.declare()
        yield fleet
