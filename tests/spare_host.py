"""A lab host of our own, fresh: for tests that break its network, its LXD or its remotes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nornir.core.task import Result, Task

from tasks.fleet import open_fleet
from tasks.run import Run, run_of
from tests.lab import CLIENT_KEY, HOST_ADDRESSES, Lab, host_key

NAME = "sidn-demo-03"
INSTALLER = "/etc/netplan/00-installer-config.yaml"

_HOSTS = """
{name}:
  hostname: {hostname}
  data:
    lxd: {{listen: all, pools: {{default: {{driver: dir}}}}{lxd}}}
    nics: {nics}
    management: demo
    addresses: {{demo: {subnet}.152}}
    netplan: {{replaces: [{installer}], confirm_seconds: {confirm}}}
    ssh_key: {key}
    ssh_host_key: {{file: {host_key}.pub}}
  groups: {groups}
"""
_PEER = """
nowhere:
  hostname: 127.0.0.1
  port: 9
  data: {lxd: {listen: all}}
"""
_GROUPS = """
br-demo: {{data: {{bridge: {{nic: demo, subnet: {subnet}.0/24, gateway: {subnet}.1}}}}}}
br-sip: {{data: {{bridge: {{nic: sip}}}}}}
"""


@dataclass
class SpareHost:
    """The third host of the lab, and an inventory that holds it alone."""

    lab: Lab
    folder: Path

    def write_inventory(
        self,
        *,
        nic: str = "enp1s0",
        subnet: str = "192.168.56",
        sip: str = "",
        lxd: str = "",
        confirm: int = 60,
        peer: bool = False,
    ) -> None:
        """Write the inventory anew.

        Arguments:
            nic: the one in br-demo.
            subnet: that of br-demo; in another one the host is cut off from here.
            sip: the one in br-sip, which there is only then.
            lxd: further keys under ``lxd``, as ``, key: value``.
            confirm: seconds until an unconfirmed network is undone.
            peer: whether there is another LXD host, which never answers.
        """
        inventory = self.folder / "spare"
        inventory.mkdir(exist_ok=True)
        text = _HOSTS.format(
            name=NAME,
            hostname=HOST_ADDRESSES[NAME],
            subnet=subnet,
            installer=INSTALLER,
            key=CLIENT_KEY,
            host_key=host_key(NAME),
            nics=f"{{demo: {nic}, sip: {sip}}}" if sip else f"{{demo: {nic}}}",
            groups="[br-demo, br-sip]" if sip else "[br-demo]",
            lxd=lxd,
            confirm=confirm,
        )
        (inventory / "hosts.yaml").write_text(text + _PEER * peer)
        (inventory / "groups.yaml").write_text(_GROUPS.format(subnet=subnet))
        (inventory / "defaults.yaml").write_text("username: root\n")
        (self.folder / "config.yaml").write_text(
            f"user_defined: {{state_dir: {self.folder / 'state'}}}\n"
        )

    def run(self, *tasks: Any, dry_run: bool = False) -> list[dict[str, Any]]:
        """Run tasks on the host in one run; their records. A failed one does not end the run."""
        return self.run_and_look(*tasks, dry_run=dry_run)[0]

    def run_and_look(self, *tasks: Any, dry_run: bool = False) -> tuple[list[dict[str, Any]], Run]:
        """The same, and what the run has gathered."""
        nr = open_fleet(self.folder / "spare", dry_run=dry_run)
        alone = nr.filter(name=NAME)
        records: list[dict[str, Any]] = []

        def go(task: Task) -> Result:
            for one in tasks:
                result = one(task)
                if isinstance(result, Result):
                    records.append(result.result)
            return Result(host=task.host)

        outcome = alone.run(task=go)
        if outcome.failed:
            raise outcome[NAME][0].exception or AssertionError(outcome[NAME][0].result)
        alone.close_connections(on_good=True, on_failed=True)
        return records, run_of(nr)

    def sh(self, script: str, timeout: float = 60) -> str:
        """What a script prints on the host; it must succeed."""
        done: subprocess.CompletedProcess[str] = self.lab.exec(
            NAME, ["sh", "-c", script], timeout=timeout
        )
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout
