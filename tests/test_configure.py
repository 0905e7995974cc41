"""Configure: what is planned from what was read, and real machines configured over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import MachineFacts, UnitFacts, UserFacts
from tasks.bootstrap import bootstrap_container
from tasks.configure import configure_system
from tasks.configure.plan import plan_configuration
from tasks.errors import FleetError
from tasks.intent.model import Configure, File, Machine, Service, Ssh, User
from tests.lab import Lab, client_public_key
from tests.machines import (
    LabContainer,
    container_of,
    execs,
    facts_of_yaml,
    fleet_of,
    lab_container,
    run_on,
)

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "configure.yaml").read_text())
SSHD = "/etc/ssh/sshd_config.d/50-mach.conf"


def wanted_of(data: dict[str, Any]) -> Configure:
    def tuples(values: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    lists = {"files": File, "users": User, "services": Service}
    made = {key: tuple(of(**tuples(one)) for one in data.get(key, [])) for key, of in lists.items()}
    return Configure(data.get("timezone"), data.get("packages", {}), **made)


def facts_of(data: dict[str, Any]) -> MachineFacts:
    data = dict(data)
    users = {
        name: UserFacts(u["shell"], u["home"], tuple(u.get("groups", ())), tuple(u.get("keys", ())))
        for name, u in data.pop("users", {}).items()
    }
    units = {name: UnitFacts(*states) for name, states in data.pop("units", {}).items()}
    pending = tuple(data.pop("pending_restarts", ()))
    facts = facts_of_yaml("web-01", {"over": "ssh" if data or users or units else "", **data})
    return replace(facts, users=users, units=units, pending_restarts=pending)


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_plan(case: dict[str, Any]) -> None:
    machine = Machine("web-01", Ssh("10.0.0.1"), configure=wanted_of(case["wanted"]))
    plan = plan_configuration(machine, facts_of(case["facts"]))
    assert [f"{step.action} {step.object}" for step in plan.steps] == case["steps"]
    assert plan.reason == case.get("reason", plan.reason)
    for line in case.get("diff", []):
        assert line in plan.diff.splitlines(), plan.diff
    for text in case.get("absent", []):
        assert text not in plan.diff
        assert text not in repr(plan)
    calls = [" ".join((c.function, *c.arguments)) for step in plan.steps for c in step.write]
    for call in case.get("calls", []):
        assert any(made.startswith(call) for made in calls), calls


@pytest.mark.parametrize("foreign", ["/etc/ntp.conf", "/etc"])
def test_a_foreign_path_is_refused(foreign: str) -> None:
    configure = Configure(files=(File("/etc/ntp.conf", "x"),))
    machine = Machine("web-01", Ssh("10.0.0.1"), configure=configure, foreign=(foreign,))
    with pytest.raises(FleetError, match="foreign"):
        plan_configuration(machine, MachineFacts("web-01"))


class Configured:
    """A container with SSH, and the state folder that knows its host key."""

    address = "192.168.56.235"

    def __init__(self, container: LabContainer, state: Path) -> None:
        self.container = container
        self.state = state
        self.execs = 0

    def bootstrap(self) -> None:
        nr = fleet_of(self.state, container_of(self.container.name, self.address))
        entry = run_on(nr, self.container.name, bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]

    def converge(self, wanted: Configure, *, dry_run: bool = False) -> dict[str, Any]:
        name = self.container.name
        container = container_of(name, self.address, configure=wanted)
        nr = fleet_of(self.state, container, dry_run=dry_run)
        entry = run_on(nr, name, configure_system)
        self.execs = execs(nr, name)
        nr.close_connections()
        return entry

    def inside(self, script: str) -> str:
        return self.container.inside(script)

    def started(self, service: str) -> str:
        """When a service was started last: another value after a restart."""
        return self.inside(f"systemctl show -P ActiveEnterTimestampMonotonic {service}").strip()


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with lab_container(lab, "mach-conf") as container:
        container.launch()
        configured = Configured(container, tmp_path_factory.mktemp("state"))
        configured.bootstrap()
        yield configured


def steps(entry: dict[str, Any]) -> list[str]:
    return [f"{step['action']} {step['object']}" for step in entry["steps"]]


WHOLE = Configure(
    timezone="Europe/Amsterdam",
    packages={"cron": "present"},
    files=(
        File("/etc/motd", "Of the tests\n"),
        File(SSHD, "PasswordAuthentication no\n", validate="sshd -t", restarts=("ssh",)),
        File("/etc/cron.d/mach", "# nothing\n", restarts=("cron",)),
        File("/etc/mach-secret", "hush hush\n", group="adm", mode="0640"),
    ),
    services=(Service("cron"), Service("ssh")),
)


@pytest.mark.lab
class TestWhole:
    """In this order: one machine, taken from bare to configured, then spoilt piece by piece."""

    def wanted(self) -> Configure:
        key = client_public_key().read_text().strip()
        return replace(WHOLE, users=(User("olga", groups=("adm",), keys=(key,), sudo=True),))

    def test_dry_shows_all_and_changes_nothing(self, machine: Configured) -> None:
        look = "find /etc /root /home /var/lib -xdev -type f -exec sha256sum {} + | sort"
        before = machine.inside(look)
        entry = machine.converge(self.wanted(), dry_run=True)
        assert entry["status"] == "changed"
        assert "create user olga" in steps(entry)
        assert "+PasswordAuthentication no" in entry["diff"].splitlines()
        assert machine.inside(look) == before
        assert machine.execs == 1

    def test_real_makes_it_so_in_one_change(self, machine: Configured) -> None:
        dry = machine.converge(self.wanted(), dry_run=True)
        entry = machine.converge(self.wanted())
        assert entry["status"] == "changed", entry["message"]
        assert machine.execs == 3  # read, change, proof
        assert (entry["steps"], entry["diff"]) == (dry["steps"], dry["diff"])
        assert "hush" not in str(entry)
        assert machine.inside("date +%Z").strip() in ("CET", "CEST")
        assert machine.inside("cat /etc/motd") == "Of the tests\n"
        assert machine.inside("stat -c '%U %G %a' /etc/mach-secret").split() == [
            "root", "adm", "640",
        ]  # fmt: skip
        assert machine.inside("runuser -u olga -- sudo -n id -un").strip() == "root"
        assert "adm" in machine.inside("id -Gn olga").split()
        assert machine.inside("stat -c '%U %a' /home/olga/.ssh/authorized_keys").split() == [
            "olga", "600",
        ]  # fmt: skip
        assert machine.inside("systemctl is-active cron; systemctl is-enabled cron").split() == [
            "active", "enabled",
        ]  # fmt: skip
        backup = machine.inside("cat /var/lib/nornir-lxd-fleet/backup/etc/motd")
        assert "Debian" in backup

    def test_again_there_is_nothing_to_do(self, machine: Configured) -> None:
        started = machine.started("ssh")
        entry = machine.converge(self.wanted())
        assert (entry["status"], entry["message"]) == ("ok", "configured as declared")
        assert machine.execs == 1
        assert machine.started("ssh") == started

    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            ("echo spoilt >/etc/motd", ["update file /etc/motd"]),
            ("chmod 600 /etc/motd", ["update file /etc/motd"]),
            ("chown olga /etc/motd", ["update file /etc/motd"]),
            ("ln -sf /etc/hostname /etc/motd", ["update file /etc/motd"]),
            ("rm /etc/cron.d/mach", ["create file /etc/cron.d/mach", "restart service cron"]),
            ("ln -sf /usr/share/zoneinfo/UTC /etc/localtime", ["update timezone"]),
            ("systemctl stop cron", ["start service cron"]),
            ("systemctl disable cron", ["enable service cron"]),
            ("usermod -s /bin/sh olga", ["update user olga"]),
            ("gpasswd -d olga adm", ["add groups of olga"]),
            (": >/home/olga/.ssh/authorized_keys", ["add authorized keys of olga"]),
            ("rm /etc/sudoers.d/olga", ["create file /etc/sudoers.d/olga"]),
        ],
    )
    def test_what_was_spoilt_is_mended_and_nothing_else(
        self, machine: Configured, spoil: str, expected: list[str]
    ) -> None:
        machine.inside(spoil)
        entry = machine.converge(self.wanted())
        assert steps(entry) == expected, entry["message"]
        assert entry["status"] == "changed", entry["message"]

    def test_a_service_restarts_only_when_its_file_changed(self, machine: Configured) -> None:
        ssh, cron = machine.started("ssh"), machine.started("cron")
        files = tuple(
            replace(f, content="PermitEmptyPasswords no\n") if f.path == SSHD else f
            for f in WHOLE.files
        )
        entry = machine.converge(replace(self.wanted(), files=files))
        assert steps(entry) == [f"update file {SSHD}", "restart service ssh"]
        assert machine.started("ssh") != ssh
        assert machine.started("cron") == cron

    def test_a_failed_validation_puts_the_file_back(self, machine: Configured) -> None:
        before, ssh = machine.inside(f"cat {SSHD}"), machine.started("ssh")
        bad = Configure(
            files=(File(SSHD, "NoSuchOption yes\n", validate="sshd -t", restarts=("ssh",)),)
        )
        entry = machine.converge(bad)
        assert entry["status"] == "failed"
        assert f"update file {SSHD} failed" in entry["message"]
        assert "put back as it was" in entry["message"]
        assert "NoSuchOption" in entry["message"]
        assert machine.inside(f"cat {SSHD}") == before
        assert machine.started("ssh") == ssh
        left = "find /var/lib/nornir-lxd-fleet/undo /var/lib/nornir-lxd-fleet/restart -type f"
        assert machine.inside(left) == ""

    def test_a_new_file_that_fails_its_validation_is_gone_again(self, machine: Configured) -> None:
        path = "/etc/ssh/sshd_config.d/51-mach.conf"
        for validate in ("sshd -t", "sshd -t -f %s"):
            bad = Configure(files=(File(path, "NoSuchOption yes\n", validate=validate),))
            entry = machine.converge(bad)
            assert entry["status"] == "failed"
            assert machine.inside("ls -A /etc/ssh/sshd_config.d").split() == ["50-mach.conf"]

    def test_a_run_killed_before_its_restart_is_finished_by_the_next(
        self, machine: Configured
    ) -> None:
        key = client_public_key().read_text().strip()
        wanted = replace(WHOLE, users=(User("olga", groups=("adm",), keys=(key,), sudo=True),))
        machine.converge(wanted)
        ssh = machine.started("ssh")
        machine.inside(
            "cd /var/lib/nornir-lxd-fleet; mkdir -p restart undo/etc/ssh/sshd_config.d; "
            f": >restart/ssh; cp {SSHD} undo{SSHD}"
        )
        entry = machine.converge(wanted)
        assert steps(entry) == [f"update file {SSHD}", "restart service ssh"]
        assert machine.started("ssh") != ssh
        assert machine.converge(wanted)["status"] == "ok"

    def test_no_process_list_shows_a_file_or_the_script(self, machine: Configured) -> None:
        look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >/run/seen; :"
        secret = "correct-horse-battery"
        wanted = Configure(files=(File("/etc/mach-key", secret, mode="0600", validate=look),))
        assert machine.converge(wanted)["status"] == "changed"
        seen = machine.inside("cat /run/seen")
        assert "dd bs=" in seen  # the transport's own line was there to be seen
        assert secret not in seen
        assert "put_file" not in seen

    def test_a_user_whose_group_debian_has_already(self, machine: Configured) -> None:
        entry = machine.converge(Configure(users=(User("operator"),)))
        assert steps(entry) == ["create user operator"]
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside("id -gn operator").strip() == "operator"

    def test_what_holds_apt_up_is_waited_for_and_what_it_left_is_mended(
        self, machine: Configured
    ) -> None:
        machine.inside("apt-get -q update && cd /run && apt-get -q download ncal")
        machine.inside("dpkg --unpack /run/ncal_*.deb")
        hold = (
            "import fcntl, time; files = [open(f, 'w') for f in ('/var/lib/dpkg/lock-frontend',"
            " '/var/lib/dpkg/lock', '/var/lib/apt/lists/lock')];"
            " [fcntl.lockf(f, fcntl.LOCK_EX) for f in files]; time.sleep(6)"
        )
        machine.inside(f'setsid -f python3 -c "{hold}" >/dev/null 2>&1 </dev/null; sleep 1')
        entry = machine.converge(Configure(packages={"ncal": "present"}))
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 3
        assert machine.inside("dpkg-query -W -f '${db:Status-Status}' ncal") == "installed"

    def test_a_change_whose_controller_is_gone_is_waited_for(self, machine: Configured) -> None:
        machine.inside(
            "setsid -f flock /run/nornir-lxd-fleet.change sleep 3 >/dev/null 2>&1 </dev/null"
        )
        entry = machine.converge(Configure(files=(File("/etc/mach-late", "late\n"),)))
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 1

    def test_packages_come_and_go(self, machine: Configured) -> None:
        entry = machine.converge(Configure(packages={"cron": "absent", "netbase": "present"}))
        assert steps(entry) == ["remove package cron"]
        assert "dpkg" in machine.inside("dpkg-query -W -f '${Package}\\n' dpkg")
        entry = machine.converge(Configure(packages={"cron": "no-such-version"}))
        assert entry["status"] == "failed"
        assert "install package cron" in entry["message"]
        assert "no-such-version" in entry["message"]
