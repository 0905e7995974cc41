"""LXD hosts of the lab as a fleet of their own, without containers: their LXDs and their mesh."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.ownership import CONTROLLER
from tests.demo import Demo
from tests.lab import CLIENT_KEY, HOST_ADDRESSES, HOST_NAMES, Lab, host_key

#: Three hosts, and one that comes later.
HOSTS, FOURTH = HOST_NAMES[:3], HOST_NAMES[3]
#: What the inventory refers to, from the environment and from a file.
PASSWORD, TOKEN = "Correct-Horse-7731-Battery", "Staple-4242-Whole-File"
INSTALLER = "/etc/netplan/00-installer-config.yaml"
#: Where somebody's client keeps its things; the tests' own ``lxc`` keeps none.
CLIENT = "/root/.config/lxc"
CREATED = "/var/lib/nornir-lxd-fleet/created"

#: What a run could change without saying so: our files byte for byte, and LXD's own lists.
_FILES = r"""
find /root /etc/netplan /run/netplan /var/lib/nornir-lxd-fleet -type f \
    -printf '%p %m %u %T@ ' -exec sha256sum {} \; 2>/dev/null | sort
"""
_LISTS = ("/1.0", *(f"/1.0/{kind}?recursion=1" for kind in (
    "certificates", "profiles", "storage-pools", "images", "instances",
)))  # fmt: skip
#: ``lxc`` with a client folder that is gone afterwards.
LXC = "LXD_CONF=$(mktemp -d /run/mesh.XXXXXX); export LXD_CONF; trap 'rm -rf $LXD_CONF' EXIT\n"
#: All that the mesh has on a host but its own client certificate, as before its first run. The
#: controller stays trusted.
UNMADE = f"""
grep -q -v ' {CONTROLLER}' {CREATED} || exit 0
: >{CREATED}.new
while read -r word name fingerprint; do
    case $word$name in
    trust{CONTROLLER}*) echo "$word $name $fingerprint" >>{CREATED}.new ;;
    trust*) lxc config trust remove "$fingerprint" ;;
    esac
done <{CREATED}
mv {CREATED}.new {CREATED}
rm -r {CLIENT}/config.yml {CLIENT}/servercerts
"""


@dataclass
class Mesh:
    """Lab hosts, the inventory that declares some of them, and the runbook that raises them."""

    lab: Lab
    folder: Path

    def __post_init__(self) -> None:
        """The runbooks run as the demo's do, with a state folder of this fleet's."""
        self._demo = Demo(self.lab, self.folder)
        self._token = self.folder / "token"
        self._token.write_text(f"{TOKEN}\n")

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state" / "mesh"

    def declare(
        self,
        *names: str,
        config: Mapping[str, Any] | None = None,
        host_keys: Mapping[str, Path] | None = None,
    ) -> None:
        """Write the inventory anew, with these hosts.

        ``config`` is for their LXDs, besides two secrets; ``host_keys`` are the SSH host keys of
        those that have others than the lab gives them.
        """
        keys = {**{name: host_key(name) for name in names}, **(host_keys or {})}
        inventory = self.folder / "mesh"
        inventory.mkdir(exist_ok=True)
        bridge = {"nic": "demo", "subnet": "192.168.56.0/24", "gateway": "192.168.56.1"}
        secrets = {
            "core.trust_password": {"env": "MESH_PASSWORD"},
            "user.mesh": {"file": str(self._token)},
        }
        everywhere = {
            "nics": {"demo": "enp1s0"},
            "management": "demo",
            "netplan": {"replaces": [INSTALLER], "batch": len(HOST_NAMES)},
            "lxd": {
                "listen": "all",
                "pools": {"default": {"driver": "dir"}},
                "config": {**secrets, **(config or {})},
            },
            "ssh_key": str(CLIENT_KEY),
        }
        groups = {
            "br-demo": {"data": {"bridge": bridge}},
            "web": {"data": {"profile": {"bridges": ["br-demo"], "root": "default"}}},
            "lxd-host": {"groups": ["br-demo"], "data": everywhere},
        }
        hosts = {
            name: {
                "groups": ["lxd-host"],
                "data": {
                    "addresses": {"demo": HOST_ADDRESSES[name]},
                    "ssh_host_key": {"file": f"{keys[name]}.pub"},
                },
            }
            for name in names
        }
        (inventory / "groups.yaml").write_text(yaml.safe_dump(groups))
        (inventory / "hosts.yaml").write_text(yaml.safe_dump(hosts))
        (inventory / "defaults.yaml").write_text("username: root\n")
        settings = {"user_defined": {"state_dir": str(self.folder / "state")}}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings))

    def provision(self, *arguments: str) -> dict[str, Any]:
        """A run's report, and ``exit`` with its exit status."""
        inventory = self.folder / "mesh"
        return self._demo.report(*arguments, inventory=inventory, MESH_PASSWORD=PASSWORD)

    def runbook(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A runbook as an operator runs it."""
        inventory = self.folder / "mesh"
        return self._demo.runbook(name, *arguments, inventory=inventory, MESH_PASSWORD=PASSWORD)

    def sh(self, host: str, script: str, *, timeout: float = 60) -> str:
        """What a script prints on a host; it must succeed. Its ``lxc`` leaves nothing behind."""
        done = self.lab.exec(host, ["sh", "-c", LXC + script], timeout=timeout)
        assert done.returncode == 0, f"{host}: {script}: {done.stdout}{done.stderr}"
        return done.stdout

    def query(self, host: str, path: str) -> Any:
        """What LXD on a host answers to a GET over its local socket."""
        return json.loads(self.sh(host, f"lxc query '{path}'"))

    def trusted(self, host: str) -> dict[str, str]:
        """Whom LXD on a host trusts: fingerprint by name."""
        listed = self.query(host, "/1.0/certificates?recursion=1")
        return {entry["name"]: entry["fingerprint"] for entry in listed}

    def remotes(self, host: str) -> dict[str, str]:
        """The remotes of root on a host: address by name."""
        remotes = yaml.safe_load(self.sh(host, f"cat {CLIENT}/config.yml"))["remotes"]
        return {name: entry["addr"] for name, entry in remotes.items()}

    def snapshot(self, *hosts: str) -> dict[str, Any]:
        """What there is on each host: our files with their times, LXD's lists in no order."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(hosts, pool.map(self._snapshot, hosts), strict=True))

    def _snapshot(self, host: str) -> dict[str, Any]:
        asks = "".join(f"lxc query '{path}' | tr -d '\\n'; echo\n" for path in _LISTS)
        lines = self.sh(host, _FILES + asks).splitlines()
        files, server, *lists = lines[: -len(_LISTS)], *map(json.loads, lines[-len(_LISTS) :])
        return {
            "files": files,
            "server": server,
            "lists": [sorted(each, key=json.dumps) for each in lists],
        }


def mesh_on(lab: Lab, folder: Path) -> Iterator[Mesh]:
    """The body of a module's fixture: four fresh hosts, three of them declared, nothing done yet.

    Afterwards the lab has its first two hosts again, as fresh.
    """
    lab.up(hosts=4)
    for name in (*HOSTS, FOURTH):
        lab.reset(name)
    fleet = Mesh(lab, folder)
    fleet.declare(*HOSTS)
    yield fleet
    for name in HOST_NAMES[2:4]:
        lab.remove(name)
    for name in HOST_NAMES[:2]:
        lab.reset(name)


def failures(report: Mapping[str, Any]) -> dict[str, str]:
    """What the hosts say that failed or were unreachable, by name."""
    return {
        name: "; ".join(phase["message"] for phase in host["phases"])
        for name, host in report["hosts"].items()
        if host["status"] in ("failed", "unreachable")
    }


def edges(report: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What came of each edge: by the host that asks, by its peer."""
    return {name: host["edges"] for name, host in report["hosts"].items() if "edges" in host}


def all_ok(*names: str) -> dict[str, dict[str, str]]:
    """The edges of a mesh of these hosts, all proven."""
    return {name: dict.fromkeys(names, "ok") for name in names}


def steps(report: Mapping[str, Any]) -> dict[str, list[tuple[str, str, str]]]:
    """Phase, action and object of each step, by the hosts that have any."""
    found = {
        name: [
            (phase["phase"], step["action"], step["object"])
            for phase in host["phases"]
            for step in phase["steps"]
        ]
        for name, host in report["hosts"].items()
    }
    return {name: told for name, told in found.items() if told}
