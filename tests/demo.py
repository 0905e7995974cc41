"""The demo fleet as an operator has it: runbooks in processes of their own, a state folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.inside import exec_inside
from tests.lab import Lab

Change = Callable[[dict[str, Any]], None]

ROOT = Path(__file__).parent.parent
INVENTORY = ROOT / "inventory" / "demo"
HOSTS = ("sidn-demo-01", "sidn-demo-02")
WEBS = ("web-01", "web-02", "web-03", "web-04")
CONTAINERS = ("control", *WEBS)
ADDRESSES = {name: f"192.168.56.{160 + number}" for number, name in enumerate(CONTAINERS)}

#: All that a dry run could betray itself by: files, links, LXD's own view.
SNAPSHOT = r"""
lxd waitready --timeout=60 # it changes its own folder while it starts
find /etc /root /var/lib -xdev \( -path /var/lib/lxcfs -o -path /var/lib/systemd/timers \
    -o -path /var/lib/lxd/database -o -path /var/lib/lxd/logs \) -prune \
    -o -type l -printf '%p -> %l\n' \
    -o -type d -printf '%p %m %u %g\n' \
    -o -type f -printf '%s %m %u %g ' -exec sha256sum {} \; 2>/dev/null | sort
ip -o link show | sed 's/^[0-9]*: //'
ip -o addr show scope global | sed 's/valid_lft.*//'
ip route
LXD_CONF=$(mktemp -d /run/snapshot.XXXXXX)
export LXD_CONF
for path in /1.0 /1.0/certificates /1.0/profiles?recursion=1 /1.0/storage-pools /1.0/images \
    /1.0/instances; do
    lxc query "$path"
done
rm -r "$LXD_CONF"
"""


@dataclass
class Demo:
    """The fleet of ``inventory/demo`` on the lab, and a state folder of its own."""

    lab: Lab
    state_home: Path
    dry: subprocess.CompletedProcess[str] = field(init=False)
    raised: subprocess.CompletedProcess[str] = field(init=False)
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    state_after_dry: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """The state folder of the environment demo."""
        return self.state_home / "nornir-lxd-fleet" / "demo"

    def raise_from_nothing(self) -> None:
        """Fresh hosts, a dry run between two snapshots, then the real run."""
        self.lab.reset()
        self.before = self.snapshot()
        self.dry = self.runbook("provision", "--dry-run")
        self.after = self.snapshot()
        self.state_after_dry = sorted(
            str(path.relative_to(self.state)) for path in self.state.rglob("*") if path.is_file()
        )
        self.raised = self.runbook("provision", "--json", "-", timeout=600)

    def snapshot(self) -> dict[str, str]:
        """What there is on each host."""
        return {name: self.lab.exec(name, SNAPSHOT, timeout=120).stdout for name in HOSTS}

    def runbook(
        self,
        name: str,
        *arguments: str,
        inventory: Path = INVENTORY,
        timeout: float = 300,
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """``python runbooks/NAME.py --inventory ...`` as a process, its output captured."""
        return subprocess.run(
            self.command(name, *arguments, inventory=inventory),
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.state_home,
        )

    def start(self, name: str, *arguments: str, inventory: Path = INVENTORY) -> Any:
        """The same, left running."""
        return subprocess.Popen(
            self.command(name, *arguments, inventory=inventory),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.state_home,
        )

    @staticmethod
    def command(name: str, *arguments: str, inventory: Path) -> list[str]:
        """The command line of a runbook."""
        script = str(ROOT / "runbooks" / f"{name}.py")
        return [sys.executable, script, "--inventory", str(inventory), *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """This process's environment with the state folder of these tests."""
        return {**os.environ, "XDG_STATE_HOME": str(self.state_home), **more}

    def report(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """A provision's report, and ``exit`` with its exit status."""
        done = self.runbook("provision", "--json", "-", *arguments, **options)
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit": done.returncode}

    def inside(self, container: str, command: str, timeout: float = 60) -> str:
        """What a command prints inside a container; it must succeed."""
        host = HOSTS[0] if container in ("control", "web-01", "web-02") else HOSTS[1]
        done = self.lab.exec(host, exec_inside(container, command), timeout=timeout)
        assert done.returncode == 0, f"{container}: {command}: {done.stderr}"
        return done.stdout

    @staticmethod
    def copy_inventory(folder: Path) -> Path:
        """A copy of the demo inventory, its config.yaml beside it, to change in a test."""
        copy = folder / "inventory" / "demo"
        shutil.copytree(INVENTORY, copy)
        shutil.copy(INVENTORY.parent / "config.yaml", copy.parent)
        return copy


def statuses(report: dict[str, Any]) -> dict[str, str]:
    """The status of each machine in a report."""
    return {name: host["status"] for name, host in report["hosts"].items()}


def messages(report: dict[str, Any], name: str) -> str:
    """All messages of a machine in a report."""
    return "\n".join(phase["message"] for phase in report["hosts"][name]["phases"])


def change(inventory: Path, file: str, apply: Change) -> None:
    """Change one YAML file of an inventory."""
    yaml = YAML()  # as Nornir reads it: for YAML 1.1 `on` is a boolean
    path = inventory / file
    content = yaml.load(path.read_text())
    apply(content)
    yaml.dump(content, path)
