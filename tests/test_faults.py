"""What goes wrong out there: one clear line, in time, nothing half done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.demo import ADDRESSES, HOSTS, INVENTORY, Change, Demo, change, messages, statuses
from tests.image_files import silent_server


def host_data(name: str, **values: Any) -> Change:
    """Set keys in a host's data."""

    def apply(hosts: dict[str, Any]) -> None:
        hosts[name].setdefault("data", {}).update(values)

    return apply


#: Another controller, with a state folder of its own, that has a host's lock until told to end.
HOLDER = """
import sys
from tasks import open_fleet
from tasks.transport import lock_host
nr = open_fleet({inventory!r})
lock_host(nr.inventory.hosts[{host!r}])
print("held", flush=True)
sys.stdin.read()
nr.close_connections()
"""


@contextmanager
def listening() -> Iterator[tuple[int, socket.socket]]:
    """A TCP port here that counts who connects: nobody may."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1], server


def test_a_dozen_mistakes_are_all_told_and_nobody_is_contacted(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil_hosts(hosts: dict[str, Any]) -> None:
        first, second = hosts[HOSTS[0]], hosts[HOSTS[1]]
        first["hostname"], first["port"] = "127.0.0.1", port
        second["data"]["adresses"] = {}  # 1 misspelt
        hosts["web-01"]["data"]["on"] = "sidn-demo-03"  # 2 no such host
        hosts["web-02"]["data"]["addresses"] = {"demo": "192.168.57.162"}  # 3 outside
        hosts["web-03"]["data"]["addresses"] = {"demo": "192.168.56.164"}  # 4 twice
        hosts["web-03"]["data"]["image"] = "minimall"  # 5 no such image
        hosts["3com"] = {"groups": ["demo"], "data": {"on": HOSTS[0]}}  # 6 illegal name
        hosts["empty"] = None  # 7 nothing in it
        hosts["web-04"]["groups"].append("role-wbe")  # 8 no such group

    def spoil_groups(groups: dict[str, Any]) -> None:
        groups["br-demo"]["data"]["bridge"]["gateway"] = "10.0.0.1"  # 9 outside
        groups["br-demo"]["data"]["bridge"]["vlan"] = "six"  # 10 no number
        groups["br-much-too-long-name"] = {"data": {"bridge": {}}}  # 11 too long
        groups["loop-a"], groups["loop-b"] = {"groups": ["loop-b"]}, {"groups": ["loop-a"]}  # 12
        groups["demo"]["data"]["profile"]["user_data"] = "# cloud-config\n"  # 13 a space too much

    with listening() as (port, server):
        change(inventory, "hosts.yaml", spoil_hosts)
        change(inventory, "groups.yaml", spoil_groups)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        done = subprocess.run(
            Demo.command("provision", inventory=inventory),
            capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path,
        )  # fmt: skip
        with pytest.raises(BlockingIOError):
            server.accept()
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) >= 13
    assert all(line.startswith(str(inventory)) for line in lines), lines
    for told in (
        "adresses", "sidn-demo-03", "192.168.57.162", "192.168.56.164", "minimall", "3com",
        "empty", "role-wbe", "10.0.0.1", "six", "br-much-too-long-name", "loop-a",
        "#cloud-config",
    ):  # fmt: skip
        assert any(told in line for line in lines), told
    assert not (tmp_path / "state").exists()


@pytest.mark.lab
class TestSsh:
    """The second host is spoilt in the inventory; the first one must not notice."""

    def run(self, demo: Demo, inventory: Path, *arguments: str) -> str:
        """Provision; all but the second host ends well. Returns what is said of it."""
        started = time.monotonic()
        done = demo.runbook("provision", "--json", "-", *arguments, inventory=inventory)
        assert time.monotonic() - started < 60
        assert "Traceback" not in done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert done.returncode == 1
        found = statuses(report)
        assert found[HOSTS[1]] == "unreachable"
        assert found[HOSTS[0]] == "ok"
        assert found["web-01"] == "ok"
        assert found["web-03"] == "skipped"
        said = messages(report, HOSTS[1])
        assert said.startswith(HOSTS[1])
        assert len(said.splitlines()) == 1
        return said

    def test_closed_port(self, demo: Demo, inventory: Path) -> None:
        change(inventory, "hosts.yaml", lambda hosts: hosts[HOSTS[1]].update(port=2222))
        assert "2222" in self.run(demo, inventory)

    def test_a_container_that_may_be_on_the_other_host_is_not_made_a_second_time(
        self, demo: Demo, inventory: Path
    ) -> None:
        demo.lab.exec(HOSTS[0], "lxc delete -f web-01", timeout=60)
        change(inventory, "hosts.yaml", lambda hosts: hosts[HOSTS[1]].update(port=2222))
        limit = ("--limit", HOSTS[0], "--limit", "web-01")
        for arguments in (("--dry-run",), ()):
            refused = demo.report(*arguments, *limit, inventory=inventory)
            assert refused["exit"] == 1
            assert (statuses(refused)["web-01"], statuses(refused)[HOSTS[0]]) == ("failed", "ok")
            said = messages(refused, "web-01")
            assert f"may be on {HOSTS[1]}, which could not be read; nothing is created" in said
        assert demo.lab.exec(HOSTS[0], "lxc info web-01").returncode != 0
        forget = said[said.index("ssh-keygen") :].split()
        subprocess.run(forget, check=True, timeout=20, capture_output=True)
        raised = demo.report(*limit, inventory=inventory)
        assert statuses(raised)["web-01"] == "changed", messages(raised, "web-01")
        assert f"not looked for on {HOSTS[1]}" in messages(raised, "web-01")
        assert demo.report()["exit"] == 0

    def test_refused_key(self, demo: Demo, inventory: Path, tmp_path: Path) -> None:
        key = tmp_path / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)],
            check=True, timeout=20, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        change(inventory, "hosts.yaml", host_data(HOSTS[1], ssh_key=str(key)))
        said = self.run(demo, inventory)
        assert "refused" in said
        assert "authorized_keys" in said

    def test_unknown_host_key_and_how_it_is_learned(self, demo: Demo, inventory: Path) -> None:
        change(inventory, "hosts.yaml", lambda hosts: hosts[HOSTS[1]]["data"].pop("ssh_host_key"))
        said = self.run(demo, inventory)
        assert f"--host-key {HOSTS[1]}=SHA256:" in said
        option = said[said.index("--host-key") :].split()[1].rstrip(".,;)'\"")
        wrong = f"{HOSTS[1]}=SHA256:{'A' * 43}"
        self.run(demo, inventory, "--host-key", wrong)
        learned = demo.runbook("provision", "--host-key", option, inventory=inventory)
        assert learned.returncode == 0, learned.stdout
        assert demo.runbook("provision", inventory=inventory).returncode == 0

    def test_changed_host_key(self, demo: Demo, inventory: Path) -> None:
        other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
        change(inventory, "hosts.yaml", host_data(HOSTS[1], ssh_host_key=other))
        said = self.run(demo, inventory)
        assert said.count("SHA256:") == 2
        assert "--host-key" not in said


@pytest.mark.lab
class TestLxd:
    def test_a_certificate_that_is_not_the_pinned_one(self, demo: Demo) -> None:
        host = HOSTS[1]
        swap = (
            "cd /var/lib/lxd && cp -a server.crt server.crt.kept && "
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes "
            "-keyout /dev/null -out server.crt -days 9 -subj /CN=other 2>/dev/null"
        )
        # what SSH reads is now another certificate than the one the running LXD presents
        assert demo.lab.exec(host, swap).returncode == 0
        demo.lab.exec(host, "lxc profile device set demo if-demo mtu 1400")
        try:
            report = demo.report()
        finally:
            demo.lab.exec(host, "cd /var/lib/lxd && mv server.crt.kept server.crt")
        assert report["exit"] == 1
        assert statuses(report)[host] == "failed"
        said = messages(report, host)
        assert host in said
        assert "certificate" in said
        assert demo.report()["exit"] == 0
        assert statuses(demo.report()) == dict.fromkeys(statuses(report), "ok")

    def test_lxd_stopped(self, demo: Demo) -> None:
        host = HOSTS[1]
        demo.lab.exec(host, "systemctl stop lxd.socket lxd.service", timeout=120)
        try:
            started = time.monotonic()
            report = demo.report()
            assert time.monotonic() - started < 60
        finally:
            demo.lab.exec(host, "systemctl start lxd.socket lxd.service", timeout=120)
        assert report["exit"] == 1
        assert statuses(report)[host] == "failed"
        assert statuses(report)[HOSTS[0]] == "ok"
        assert statuses(report)["web-03"] == "skipped"
        assert "systemctl status lxd" in messages(report, host)
        assert demo.report()["exit"] == 0

    def test_an_image_server_that_never_answers(self, demo: Demo, inventory: Path) -> None:
        """Both hosts are to have the image; one asks, one container needs it."""
        asked: list[str] = []
        with silent_server(asked) as address:
            server = address.replace("http:", "https:")
            source = {"server": server, "alias": "any", "network_config": "none"}
            change(
                inventory,
                "groups.yaml",
                lambda groups: groups["lxd-host"]["data"]["images"].update(silent=source),
            )
            needs = {"on": HOSTS[1], "image": "silent", "addresses": {"demo": "192.168.56.169"}}
            new = {"groups": ["demo", "web"], "data": needs}
            change(inventory, "hosts.yaml", lambda hosts: hosts.update({"web-05": new}))
            started = time.monotonic()
            report = demo.report(inventory=inventory)
            assert 30 < time.monotonic() - started < 75
        assert report["exit"] == 1
        failed = dict.fromkeys((*HOSTS, "web-05"), "failed")
        assert statuses(report) == dict.fromkeys(statuses(report), "ok") | failed
        assert len(set(asked)) == 1, asked
        for name in failed:
            assert f"it cannot be fetched from {server}: no progress for 30 s" in (
                messages(report, name)
            )
        assert demo.report()["exit"] == 0

    def test_a_full_disk(self, demo: Demo) -> None:
        host = HOSTS[1]
        with demo.lab.small_disk(host, "/var/lib/nornir-lxd-fleet", 1):
            demo.lab.exec(
                host, "dd if=/dev/zero of=/var/lib/nornir-lxd-fleet/full bs=1k", timeout=30
            )
            report = demo.report()
        assert report["exit"] == 1
        assert statuses(report)[host] == "failed"
        assert "/var/lib/nornir-lxd-fleet" in messages(report, host)
        assert "make room" in messages(report, host)
        assert demo.report()["exit"] == 0

    def test_a_rename_is_refused(self, demo: Demo, inventory: Path) -> None:
        """Under another name it would be another container, with the address of the former one."""

        def rename(hosts: dict[str, Any]) -> None:
            hosts["web-05"] = hosts.pop("web-04")

        change(inventory, "hosts.yaml", rename)
        listed = "lxc list -f csv -c ns"
        before = demo.lab.exec(HOSTS[1], listed).stdout
        for arguments in (("--dry-run",), ()):
            report = demo.report(*arguments, inventory=inventory)
            assert report["exit"] == 1
            expected = dict.fromkeys(statuses(report), "ok") | {"web-05": "failed"}
            assert statuses(report) == expected
            assert f"{ADDRESSES['web-04']} answers as web-04" in messages(report, "web-05")
            left = "container web-04 is no longer in the inventory; --prune stops and renames it"
            assert left in messages(report, HOSTS[1])
        assert report["hosts"]["web-05"]["phases"][0]["phase"] == "containers"
        assert demo.lab.exec(HOSTS[1], listed).stdout == before
        assert demo.report()["summary"]["ok"] == len(statuses(report))

    def test_an_exec_that_never_returns(self, demo: Demo, inventory: Path) -> None:
        # the container's package query hangs, and it has no SSH, so all goes through exec
        demo.inside("web-03", "systemctl stop ssh.socket ssh.service; true")
        demo.inside("web-03", "mv /usr/bin/dpkg-query /usr/bin/dpkg-query.kept; "
                    "printf '#!/bin/sh\\nexec sleep 600\\n' > /usr/bin/dpkg-query; "
                    "chmod 755 /usr/bin/dpkg-query")  # fmt: skip
        change(inventory, "hosts.yaml", host_data("web-03", bootstrap={"deadline": 8}))
        try:
            started = time.monotonic()
            report = demo.report(inventory=inventory)
            assert time.monotonic() - started < 45
        finally:
            demo.inside("web-03", "mv /usr/bin/dpkg-query.kept /usr/bin/dpkg-query")
        assert report["exit"] == 1
        expected = dict.fromkeys(statuses(report), "ok") | {"web-03": "failed"}
        assert statuses(report) == expected
        assert "web-03" in messages(report, "web-03")
        assert "deadline" in messages(report, "web-03")
        mended = demo.report()
        assert mended["exit"] == 0
        assert statuses(mended)["web-03"] == "changed"


@pytest.mark.lab
class TestRuns:
    @pytest.mark.parametrize("runbook", ["provision", "maintain health"])
    def test_a_second_run_at_the_same_time_exits_4(self, demo: Demo, runbook: str) -> None:
        first = demo.start(*runbook.split(), "--json", "-")
        try:
            deadline = time.monotonic() + 20
            lock = demo.state / "lock"  # it keeps the pid of the run before
            while not lock.exists() or str(first.pid) not in lock.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            first.send_signal(signal.SIGSTOP)  # it shall not end before the second has tried
            second = demo.runbook(*runbook.split())
        finally:
            first.send_signal(signal.SIGCONT)
            out, _ = first.communicate(timeout=120)
        assert second.returncode == 4
        assert str(first.pid) in second.stderr
        assert first.returncode == 0, out

    def test_two_controllers_are_kept_apart_by_the_hosts_lock(
        self, demo: Demo, tmp_path: Path
    ) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER.format(inventory=str(INVENTORY), host=HOSTS[0])],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        report = demo.report()
        holder.stdin.close()
        assert holder.wait(30) == 0
        holder.stdout.close()
        assert report["exit"] == 4
        assert "another run" in messages(report, HOSTS[0])
        assert statuses(report)[HOSTS[1]] == "ok"
        assert demo.report()["exit"] == 0

    def test_sigterm_ends_cleanly_and_the_next_run_finishes(self, demo: Demo) -> None:
        demo.lab.exec(HOSTS[1], "lxc delete -f web-03", timeout=60)
        run = demo.start("provision", "--json", "-")
        time.sleep(1.5)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=120)
        assert run.returncode == 128 + signal.SIGTERM, err
        assert "Traceback" not in err
        json.loads(out)
        assert demo.report()["exit"] == 0
        assert demo.report()["summary"]["changed"] == 0

    def test_killed_at_any_moment_the_next_run_finishes(self, demo: Demo) -> None:
        for seconds in (0.8, 1.6, 2.6, 4.0):
            demo.lab.exec(HOSTS[1], "lxc delete -f web-03", timeout=60)
            run = demo.start("provision", "--quiet")
            time.sleep(seconds)
            os.kill(run.pid, signal.SIGKILL)
            run.communicate(timeout=30)
            assert demo.report()["exit"] == 0, seconds
        assert demo.report()["summary"]["changed"] == 0
