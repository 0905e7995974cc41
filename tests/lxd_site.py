"""One host of the lab, fresh, whose LXD the tests set up, tamper with and move.

The inventory has no bridge: LXD alone is what these tests are about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nornir.core.task import Result, Task

from tasks.fleet import open_fleet
from tasks.lxd_server.task import setup_lxd
from tasks.run import Run, run_of
from tests.lab import CLIENT_KEY, HOST_ADDRESSES, Lab, host_key

NAME = "sidn-demo-03"


@dataclass
class LxdSite:
    """The host and the inventory that it has alone."""

    lab: Lab
    folder: Path

    def intend(self, **lxd: Any) -> None:
        """Write the inventory anew, with these keys under ``lxd``."""
        data = {
            "lxd": lxd,
            "ssh_key": str(CLIENT_KEY),
            "ssh_host_key": {"file": f"{host_key(NAME)}.pub"},
        }
        host: Mapping[str, Any] = {"hostname": HOST_ADDRESSES[NAME], "data": data}
        inventory = self.folder / "site"
        inventory.mkdir(exist_ok=True)
        (inventory / "hosts.yaml").write_text(yaml.safe_dump({NAME: host}))
        (inventory / "groups.yaml").write_text("{}\n")
        (inventory / "defaults.yaml").write_text("username: root\n")
        (self.folder / "config.yaml").write_text(
            f"user_defined: {{state_dir: {self.folder / 'state'}}}\n"
        )

    def set_up(self, *, dry_run: bool = False, prune: bool = False) -> dict[str, Any]:
        """Set LXD up; its record."""
        return self.set_up_and_look(dry_run=dry_run, prune=prune)[0]

    def set_up_and_look(
        self, *, dry_run: bool = False, prune: bool = False
    ) -> tuple[dict[str, Any], Run]:
        """The same, and what the run has gathered."""
        nr = open_fleet(self.folder / "site", dry_run=dry_run)
        records: list[dict[str, Any]] = []

        def go(task: Task) -> Result:
            records.append(setup_lxd(task, prune=prune).result)
            return Result(host=task.host)

        nr.run(task=go)
        nr.close_connections(on_good=True, on_failed=True)
        return records[0], run_of(nr)

    def sh(self, script: str, stdin: str = "", timeout: float = 120) -> str:
        """What a script prints on the host; it must succeed."""
        done = self.lab.exec(NAME, ["sh", "-ec", script], input=stdin.encode(), timeout=timeout)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout

    def query(self, path: str) -> Any:
        """What LXD answers to a GET, over its local socket."""
        return json.loads(self.sh(f"LXD_CONF=/run/look lxc query '{path}'; rm -rf /run/look"))

    def write_program(self, path: str, text: str) -> None:
        """An executable file on the host."""
        self.sh(f"mkdir -p {Path(path).parent}; cat >{path}; chmod 755 {path}", text)
