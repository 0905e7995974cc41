"""Containers with a service of a package of the tests, to be upgraded with a way back.

Version 1.0 and 2.0 of the package run the service, 2.1 has one that does not start.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tasks.maintenance.upgrade.stage import REFUSED, UPGRADING
from tests.packages import package
from tests.ten import NAMES, Ten, host_of

SERVICE = "fleet-service"
#: What dpkg runs when it configures the package: one line of shell without single quotes. What it
#: leaves shows what was gone back to, and what was not.
RUN = (
    '(echo "[Service]"; echo "ExecStart=PROGRAM"; '
    f'echo "[Install]"; echo "WantedBy=multi-user.target") >/etc/systemd/system/{SERVICE}.service; '
    "echo VERSION >/root/configured; [ ! -d /data ] || echo VERSION >>/data/written; "
    f"systemctl daemon-reload; systemctl enable {SERVICE}; systemctl restart {SERVICE}"
)
#: What takes a container out of service, and gives it its work again.
DRAIN = "touch /run/drained"
UNDRAIN = "rm -f /run/drained"
WELL: Mapping[str, Any] = {
    "health": [{"service": SERVICE}],
    "maintenance": {"drain": {"run": DRAIN, "seconds": 20}, "undrain": {"run": UNDRAIN}},
}


def version(number: str) -> str:
    """Shell text that builds that version and makes it what apt finds."""
    program = "/bin/false" if number == "2.1" else "/bin/sleep infinity"
    return package(SERVICE, number, RUN.replace("PROGRAM", program).replace("VERSION", number))


class Fleet:
    """The ten, with what an upgrade is about."""

    def __init__(self, ten: Ten, pools: Mapping[str, Any] | None = None) -> None:
        self.ten = ten
        self.pools = pools

    def declare(
        self,
        names: Collection[str] = NAMES,
        only: Mapping[str, Mapping[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """All that is declared of each container: what is well, and ``more``; of some ``only``."""
        rules = {**WELL["maintenance"], **more.pop("maintenance", {})}
        data = {**WELL, **more, "maintenance": rules}
        each = {name: {**data, **(only or {}).get(name, {})} for name in names}
        hosts = tuple(dict.fromkeys(map(host_of, names)))
        self.ten.declare(
            tuple(names), hosts=hosts, with_ssh=True, containers=each, pools=self.pools
        )

    def offer(self, number: str, names: Collection[str] = NAMES, *, install: bool = False) -> None:
        """Have a version be the only one that apt finds, and install it."""
        script = "rm -rf /srv/rep\n" + version(number)
        if install:
            script += (
                f"apt-get -q update\napt-get -q -y --allow-downgrades install {SERVICE}={number}\n"
            )
        self.everywhere(script, names)

    def everywhere(self, script: str, names: Collection[str] = NAMES) -> None:
        """Run a script in containers, side by side."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: self.ten.inside(name, script, timeout=120), names))

    def maintain(self, *arguments: str) -> dict[str, Any]:
        done = self.ten.runbook("maintain", *arguments, "--json", "-")
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit": done.returncode}

    def installed(self, name: str) -> str:
        return self.ten.inside(name, f"dpkg-query -W -f '${{Version}}' {SERVICE}")

    def boot(self, name: str) -> str:
        """When the container was last started."""
        return str(self.instance(name)["last_used_at"])

    def instance(self, name: str) -> dict[str, Any]:
        return self.ten.left(host_of(name)).instances[name]

    def forget_refusals(self, names: Collection[str]) -> None:
        """Have the next run try versions that did not go well before."""
        for name in names:
            self.ten.sh(host_of(name), f"lxc config unset {name} {REFUSED} 2>/dev/null; true")

    def see_that_nothing_is_left(self, names: Collection[str]) -> None:
        """In service, running, no snapshot, no mark."""
        for name in names:
            instance = self.instance(name)
            assert instance["status"] == "Running", name
            assert not instance["snapshots"], name
            assert UPGRADING not in instance["config"], name
            assert self.ten.inside(name, "ls /run/drained 2>&1 || true").startswith("ls: "), name
            assert self.ten.inside(name, f"systemctl is-active {SERVICE}") == "active\n", name


def steps(report: dict[str, Any], name: str) -> list[tuple[str, str, str]]:
    return [
        (step["action"], step["object"], step["detail"])
        for phase in report["hosts"][name]["phases"]
        for step in phase["steps"]
    ]


def message(report: dict[str, Any], name: str) -> str:
    return "; ".join(phase["message"] for phase in report["hosts"][name]["phases"])
