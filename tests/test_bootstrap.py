"""Bootstrap: what is planned from what was read, and real containers brought to SSH."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import MachineFacts, UnitFacts
from tasks.bootstrap.network import (
    addresses_in,
    network_files,
    network_paths,
    someone_in,
    tool_of,
)
from tasks.bootstrap.plan import plan_bootstrap, plan_host_bootstrap
from tasks.bootstrap.task import bootstrap_container, bootstrap_host
from tasks.configure.task import configure_system
from tasks.intent.model import Attachment, Bootstrap, Container, Machine, Ssh
from tasks.intent.system import Configure, File
from tasks.outcome import Record
from tasks.report import Report
from tasks.run import run_of
from tasks.walk import Leg, walk
from tests.lab import CLIENT_KEY, Lab
from tests.machines import (
    HOST,
    IMAGES,
    LabContainer,
    container_of,
    execs,
    facts_of_yaml,
    fleet_of,
    host_of,
    lab_container,
    run_on,
)
from tests.records import told

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "bootstrap.yaml").read_text())
KEY = "ssh-ed25519 AAAAkey operator"


def read(case: dict[str, Any]) -> MachineFacts:
    if case.get("bare"):
        return MachineFacts("web-01")
    data = {**CASES["done"], **case["facts"]}
    data["units"] = {
        name: UnitFacts("loaded", "enabled", active) for name, active in data["units"].items()
    }
    return facts_of_yaml("web-01", data)


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_plan(case: dict[str, Any]) -> None:
    bootstrap = Bootstrap(upgrade=case.get("upgrade", False), authorized_keys=(KEY,))
    container = container_of(
        "web-01",
        "192.168.56.230",
        bootstrap=bootstrap,
        foreign=tuple(case.get("foreign", ())),
        configure=Configure(files=tuple(File(path, absent=True) for path in case.get("files", ()))),
    )
    plan = plan_bootstrap(container, IMAGES[case.get("image", "minimal")], read(case))
    assert [f"{step.action} {step.object}" for step in plan.steps] == case["steps"]
    assert plan.reason == case.get("reason", plan.reason)
    assert list(plan.notes) == case.get("notes", [])
    if "detail" in case:
        assert [step.detail for step in plan.steps] == [case["detail"]]
    for line in case.get("diff", []):
        assert line in plan.diff.splitlines()
    calls = [" ".join((c.function, *c.arguments)) for step in plan.steps for c in step.write]
    for call in case.get("calls", []):
        assert any(made.startswith(call) for made in calls), calls


def test_the_last_address_goes_with_its_file() -> None:
    path = "/etc/netplan/60-nornir-lxd-fleet.yaml"
    attachments = container_of("web-01", "192.168.56.230").attachments
    (held,) = network_files("netplan", tuple(attachments.values()))
    facts = facts_of_yaml(
        "web-01",
        {**CASES["done"], "units": {}, "network_tool": "netplan", "network_files": (path,),
         "files": {path: {"content": held.content, "mode": "0600"}}},
    )  # fmt: skip
    bare = container_of("web-01", "192.168.56.230", ssh=Ssh(""), attachments={})
    step = plan_bootstrap(bare, IMAGES["minimal"], facts).steps[0]
    assert (step.action, step.object) == ("remove", "network if-demo")
    assert [call.arguments for call in step.write] == [
        ("if-demo", "192.168.56.230/24"),
        ("netplan", path, "if-demo"),
    ]


@pytest.mark.parametrize("tool", ["netplan", "ifupdown", "networkd"])
def test_what_is_written_for_a_tool_is_understood_again(tool: str) -> None:
    attachment = Attachment(
        "demo",
        address=ip_interface("10.0.0.5/24"),
        further=(ip_interface("2001:db8::5/64"), ip_interface("10.1.0.5/24")),
        gateway=ip_address("10.0.0.1"),
        nameservers=(ip_address("10.0.0.2"),),
    )
    (file,) = network_files(tool, (attachment,))
    assert file.path in network_paths((attachment,))
    assert tool_of(file.path) == tool
    assert addresses_in(file.path, file.content) == {"if-demo": attachment.addresses}
    spoilt = addresses_in(file.path, "[[[ Address=nonsense\n    address else\n")
    assert not any(spoilt.values())


def test_without_an_address_to_be_managed_at_sshd_is_left_alone() -> None:
    facts = MachineFacts(
        "web-01", over="exec", host_key="ssh-ed25519 AAAA", hostname="web-01",
        units={"ssh.service": UnitFacts("loaded", "enabled", "inactive")},
    )  # fmt: skip
    container = container_of(
        "web-01", "192.168.56.230", ssh=Ssh(""), attachments={}, bootstrap=Bootstrap(packages=())
    )
    plan = plan_bootstrap(container, IMAGES["minimal"], facts)
    assert "start service ssh" not in [f"{step.action} {step.object}" for step in plan.steps]


@pytest.mark.parametrize(
    ("attachment", "asked"),
    [
        ({"address": "10.0.0.5/24", "gateway": "10.0.0.254"}, "10.0.0.254"),
        ({"address": "10.0.0.5/24"}, "10.0.0.1"),
        ({"address": "10.0.0.1/24"}, "10.0.0.2"),
    ],
)
def test_somebody_else_in_its_network_is_asked_so_that_all_hear_who_has_the_address(
    attachment: dict[str, str], asked: str
) -> None:
    gateway = attachment.get("gateway")
    found = Attachment(
        "demo",
        address=ip_interface(attachment["address"]),
        gateway=ip_address(gateway) if gateway else None,
    )
    assert someone_in(found) == asked


def test_a_host_that_has_ssh_gets_upgrade_keys_and_quiet_only() -> None:
    machine = Machine(
        "sbc-01", Ssh("10.0.0.1"), bootstrap=Bootstrap(upgrade=True, authorized_keys=(KEY,))
    )
    plan = plan_host_bootstrap(machine, MachineFacts("sbc-01", over="ssh"))
    assert [f"{step.action} {step.object}" for step in plan.steps] == [
        "upgrade packages",
        "add authorized keys of root",
        "create file /root/.hushlogin",
    ]


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[LabContainer]:
    """A container of the minimal image, as it is after its first start."""
    with lab_container(lab, "mach-bare") as container:
        container.launch()
        yield container


def state_of(container: LabContainer) -> str:
    return container.inside(
        "find /etc /root /var/lib -xdev -type f -exec sha256sum {} + | sort; ip -4 addr; ip route"
    )


def bootstrapped(state: Path, wanted: Container, *, dry_run: bool = False) -> Record:
    nr = fleet_of(state, wanted, dry_run=dry_run)
    entry = run_on(nr, wanted.name, bootstrap_container)
    nr.close_connections()
    return entry


def addresses_of(container: LabContainer, interface: str) -> list[str]:
    shown = container.inside(f"ip -o addr show dev {interface} scope global; ip route; ip -6 route")
    return [word for word in shown.split() if word.startswith(("10.99.", "2001:db8:", "192.168."))]


def an_address_comes_and_goes(container: LabContainer, state: Path, wanted: Container) -> None:
    """On an interface of its own, and one more on the first; after it all is as it was before."""
    old = Attachment(
        "old",
        address=ip_interface("10.99.0.5/24"),
        further=(ip_interface("2001:db8:99::5/64"),),
    )
    demo = wanted.attachments["demo"]
    more = replace(demo, further=(ip_interface("10.99.1.5/24"),))
    container.lxc(
        f"config device add {container.name} if-old nic name=if-old nictype=bridged parent=br-demo"
    )
    foreign = "/etc/systemd/network/10-if-foreign.network"
    container.inside(
        f"mkdir -p {foreign.rpartition('/')[0]}; printf '[Match]\\nName=no\\n' >{foreign}"
    )
    entry = bootstrapped(state, replace(wanted, attachments={"demo": more, "old": old}))
    assert entry["status"] == "changed", entry["message"]
    assert {"10.99.0.5/24", "2001:db8:99::5/64"} <= {*addresses_of(container, "if-old")}
    assert "10.99.1.5/24" in addresses_of(container, "if-demo")

    dry = bootstrapped(state, wanted, dry_run=True)
    assert "10.99.0.5/24 leaves if-old" in str(dry["steps"])
    assert "10.99.1.5/24 leaves if-demo" in str(dry["steps"])
    assert "10.99.0.5/24" in addresses_of(container, "if-old")
    entry = bootstrapped(state, wanted)
    assert entry["status"] == "changed", entry["message"]
    assert entry["steps"] == dry["steps"]
    left = [*addresses_of(container, "if-old"), *addresses_of(container, "if-demo")]
    assert not [word for word in left if word.startswith(("10.99.", "2001:db8:99"))], left
    assert bootstrapped(state, wanted)["status"] == "ok"

    # one that was killed between the file and the address
    container.inside(
        "ip addr add 10.99.0.5/24 dev if-old; "
        "echo 'if-old 10.99.0.5/24' >/var/lib/nornir-lxd-fleet/leaving"
    )
    assert bootstrapped(state, wanted)["status"] == "changed"
    assert "10.99.0.5/24" not in addresses_of(container, "if-old")
    assert bootstrapped(state, wanted)["status"] == "ok"
    assert container.inside(f"cat {foreign}; rm {foreign}") == "[Match]\nName=no\n"
    container.lxc(f"config device remove {container.name} if-old")


@pytest.mark.lab
class TestMinimalImage:
    """In this order: each test takes the container on from where the one before left it."""

    address = "192.168.56.231"

    def test_dry_it_shows_the_plan_and_changes_nothing(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        bare.inside("systemctl is-system-running --wait; true")
        before = state_of(bare)
        nr = fleet_of(tmp_path / "s", container_of("mach-bare", self.address), dry_run=True)
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed"
        assert {"install package python3", "install package openssh-server"} <= {*told(entry)}
        assert f"+Address={self.address}/24" in entry["diff"].splitlines()
        assert state_of(bare) == before
        assert not (tmp_path / "s").exists()

    def test_an_exec_that_never_returns_ends_with_one_line(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        bare.inside("printf '#!/bin/sh\\nexec sleep 600\\n' >/usr/local/bin/dpkg-query; "
                    "chmod 755 /usr/local/bin/dpkg-query")  # fmt: skip
        wanted = container_of("mach-bare", self.address, bootstrap=Bootstrap(deadline=4))
        nr = fleet_of(tmp_path, wanted)
        started = time.monotonic()
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        bare.inside("rm /usr/local/bin/dpkg-query")
        assert time.monotonic() - started < 15
        assert entry["status"] == "failed"
        assert entry["message"].startswith("mach-bare: ")
        assert "deadline of 4 s" in entry["message"]
        assert "\n" not in entry["message"]

    def test_a_mirror_that_is_away_is_told_with_the_step(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        sources = "/etc/apt/sources.list.d"
        bare.inside(
            f"mkdir -p /root/kept; mv /etc/apt/sources.list {sources}/* /root/kept/ 2>/dev/null;"
            "echo 'deb [trusted=yes] http://192.168.56.1:9/ bookworm main' >/etc/apt/sources.list"
        )
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        bare.inside(
            "rm /etc/apt/sources.list; cd /root/kept; for f in *; do case $f in sources.list) "
            f"mv $f /etc/apt/;; *) mv $f {sources}/;; esac; done; cd; rmdir /root/kept"
        )
        assert entry["status"] == "failed"
        first, *rest = entry["message"].splitlines()
        assert first.startswith("mach-bare: bootstrap stopped: install package python3")
        assert any("192.168.56.1" in line for line in rest), entry["message"]
        assert "Traceback" not in entry["message"]

    def test_a_step_that_hangs_is_named_at_the_deadline(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        bare.inside("printf '#!/bin/sh\\nexec sleep 600\\n' >/usr/local/sbin/apt-get; "
                    "chmod 755 /usr/local/sbin/apt-get")  # fmt: skip
        wanted = container_of("mach-bare", self.address)
        wanted = replace(wanted, bootstrap=replace(wanted.bootstrap, deadline=5))
        nr = fleet_of(tmp_path, wanted)
        started = time.monotonic()
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        bare.inside("rm /usr/local/sbin/apt-get")
        assert time.monotonic() - started < 15
        assert entry["status"] == "failed"
        assert "install package python3" in entry["message"]
        assert "did not end within the deadline" in entry["message"]
        assert bare.inside("ps ax 2>/dev/null | grep -c '[s]leep 600' || true").strip() in ("0", "")

    def test_real_it_ends_with_a_verified_login(self, bare: LabContainer, tmp_path: Path) -> None:
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        assert entry["status"] == "changed", entry["message"]
        assert execs(nr, "mach-bare") == 3  # one read, one change, one proof over SSH
        nr.close_connections()
        login = subprocess.run(
            ["ssh", "-i", CLIENT_KEY, "-o", f"UserKnownHostsFile={tmp_path}/known_hosts",
             "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", f"root@{self.address}",
             "hostname; command -v python3"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert login.stdout.split() == ["mach-bare", "/usr/bin/python3"], login.stderr
        assert bare.inside("stat -c %a /root/.ssh /root/.ssh/authorized_keys").split() == [
            "700",
            "600",
        ]

        again = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(again, "mach-bare", bootstrap_container)
        again.close_connections()
        assert (entry["status"], entry["message"]) == ("ok", "bootstrapped already")
        assert execs(again, "mach-bare") == 1

    def test_a_stopped_sshd_is_started_over_exec(self, bare: LabContainer, tmp_path: Path) -> None:
        bare.inside("systemctl stop ssh.service")
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]
        assert {*told(entry)} == {"start service ssh"}

    def test_an_sshd_that_does_not_start_is_mended_by_the_configuration(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        path = "/etc/ssh/sshd_config.d/50-mach.conf"
        bare.inside(f"echo 'Nonsense yes' >{path}; systemctl stop ssh.service")
        file = File(path, "PasswordAuthentication no\n", validate="sshd -t", restarts=("ssh",))
        wanted = container_of("mach-bare", self.address, configure=Configure(files=(file,)))
        for expected in (
            ["bootstrap failed", "configure changed"],
            ["bootstrap ok", "configure ok"],
        ):
            nr = fleet_of(tmp_path, wanted)
            report = Report("provision", "machines")
            report.declare("mach-bare", "container", HOST)
            legs = [Leg("bootstrap", bootstrap_container), Leg("configure", configure_system)]
            nr.filter(name="mach-bare").run(task=lambda task: walk(task, legs, report))  # noqa: B023
            nr.close_connections()
            bootstrap, *rest = report.hosts["mach-bare"].phases
            ended = [f"{phase['phase']} {phase['status']}" for phase in (bootstrap, *rest)]
            assert ended == expected, [bootstrap["message"], *(r["message"] for r in rest)]
            assert ("Bad configuration option: Nonsense" in bootstrap["message"]) is (
                bootstrap["status"] == "failed"
            ), bootstrap["message"]

    def test_a_new_host_key_found_over_exec_replaces_the_known_one(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        known = (tmp_path / "known_hosts").read_text()
        bare.inside("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh")
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "ok", entry["message"]
        learned = (tmp_path / "known_hosts").read_text()
        assert learned != known
        assert len(learned.splitlines()) == len(known.splitlines())

    def test_the_first_upgrade_comes_once(self, bare: LabContainer, tmp_path: Path) -> None:
        wanted = container_of("mach-bare", self.address)
        wanted = replace(wanted, bootstrap=replace(wanted.bootstrap, upgrade=True))
        for expected in ({"upgrade packages"}, set[str]()):
            nr = fleet_of(tmp_path, wanted)
            entry = run_on(nr, "mach-bare", bootstrap_container)
            nr.close_connections()
            assert {*told(entry)} == expected, entry["message"]

    def test_what_left_the_inventory_leaves_the_network_by_networkd(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        an_address_comes_and_goes(bare, tmp_path, container_of("mach-bare", self.address))

    def test_the_network_by_ifupdown(self, bare: LabContainer, tmp_path: Path) -> None:
        bare.inside("apt-get -q update && apt-get -q -y install ifupdown", timeout=120)
        bare.inside(
            "systemctl disable --now systemd-networkd.socket systemd-networkd.service;"
            "rm /etc/systemd/network/*; ip addr flush dev if-demo"
        )
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]
        assert entry["steps"][0]["detail"].startswith("by ifupdown")
        bare.lxc("restart mach-bare", timeout=120)
        nr = fleet_of(tmp_path, container_of("mach-bare", self.address))
        entry = run_on(nr, "mach-bare", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "ok", entry["message"]

    def test_what_left_the_inventory_leaves_the_network_by_ifupdown(
        self, bare: LabContainer, tmp_path: Path
    ) -> None:
        an_address_comes_and_goes(bare, tmp_path, container_of("mach-bare", self.address))


@pytest.mark.lab
def test_the_network_by_netplan(lab: Lab, tmp_path: Path) -> None:
    with lab_container(lab, "mach-netplan") as container:
        container.launch("cloud-init")
        container.inside("touch /etc/cloud/cloud-init.disabled")
        container.lxc("restart mach-netplan", timeout=120)
        nr = fleet_of(tmp_path, container_of("mach-netplan", "192.168.56.234"))
        entry = run_on(nr, "mach-netplan", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]
        assert entry["steps"][0]["detail"].startswith("by netplan")
        assert "create file /etc/resolv.conf" not in {*told(entry)}
        assert container.inside("stat -c %a /etc/netplan/60-nornir-lxd-fleet.yaml").strip() == "600"

        wanted = container_of("mach-netplan", "192.168.56.234")
        an_address_comes_and_goes(container, tmp_path, wanted)
        entry = bootstrapped(tmp_path, replace(wanted, ssh=Ssh(""), attachments={}))
        assert entry["status"] == "changed", entry["message"]
        assert told(entry) == ["remove network if-demo"]
        assert addresses_of(container, "if-demo") == []
        assert container.inside("ls /etc/netplan").split() == []


@pytest.mark.lab
def test_an_image_with_cloud_init_keeps_its_network(lab: Lab, tmp_path: Path) -> None:
    network = (
        "version: 2\nethernets:\n  if-demo:\n    addresses: [192.168.56.232/24]\n    routes:\n"
        "    - {to: 0.0.0.0/0, via: 192.168.56.1}\n"
        "    nameservers: {addresses: [192.168.56.1]}\n"
    )
    with lab_container(lab, "mach-cloud") as container:
        container.launch("cloud-init", f"cloud-init.network-config='{network}'")
        wanted = container_of("mach-cloud", "192.168.56.232", image="cloud-init")
        nr = fleet_of(tmp_path, wanted)
        entry = run_on(nr, "mach-cloud", bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]
        assert not {step for step in {*told(entry)} if "network" in step or "resolv" in step}
        assert container.inside("ls /etc/netplan").split() == ["50-cloud-init.yaml"]


@pytest.mark.lab
def test_a_cloud_init_that_hangs_is_told_with_the_end_of_its_log(lab: Lab, tmp_path: Path) -> None:
    data = "#cloud-config\nbootcmd:\n- [sh, -c, 'echo hangs on purpose; sleep 600']\n"
    with lab_container(lab, "mach-cloud") as container:
        container.launch("cloud-init", f'cloud-init.user-data="{data}"')
        wanted = container_of("mach-cloud", "192.168.56.232", image="cloud-init")
        wanted = replace(wanted, bootstrap=replace(wanted.bootstrap, deadline=20))
        started = time.monotonic()
        entry = bootstrapped(tmp_path, wanted)
        assert time.monotonic() - started < 30
        assert entry["status"] == "failed"
        assert "cloud-init did not end in time" in entry["message"]
        assert "hangs on purpose" in entry["message"]


@pytest.mark.lab
def test_a_container_that_does_not_exist(lab: Lab, tmp_path: Path) -> None:
    with lab_container(lab, "mach-none"):
        wanted = container_of("mach-none", "192.168.56.233")
        dry = fleet_of(tmp_path, wanted, dry_run=True)
        entry = run_on(dry, "mach-none", bootstrap_container)
        dry.close_connections()
        assert entry["status"] == "changed"
        assert "create network if-demo" in {*told(entry)}

        real = fleet_of(tmp_path, wanted)
        entry = run_on(real, "mach-none", bootstrap_container)
        real.close_connections()
        assert entry["status"] in ("failed", "unreachable")
        assert "mach-none" in entry["message"]
        assert HOST in entry["message"]


@pytest.mark.lab
def test_a_host_is_bootstrapped_over_its_ssh(lab: Lab, tmp_path: Path) -> None:
    lab.exec(HOST, "rm -f /root/.hushlogin")
    for expected in ({"create file /root/.hushlogin"}, set[str]()):
        nr = fleet_of(tmp_path, host_of())
        entry = run_on(nr, HOST, bootstrap_host)
        nr.close_connections()
        assert {*told(entry)} == expected, entry["message"]
    assert execs(nr, HOST) == 1
    assert run_of(nr.inventory.hosts[HOST]).machines[HOST].over == "ssh"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("release", "refused"),
    [
        ('ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME="Alpine Linux v3.20"', True),
        ('ID=rocky\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky Linux 9"', True),
        ('ID=debian\nVERSION_ID="9"\nPRETTY_NAME="Debian GNU/Linux 9 (stretch)"', True),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="16.04"\nPRETTY_NAME="Ubuntu 16.04"', True),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="18.04"\nPRETTY_NAME="Ubuntu 18.04"', False),
        ('ID=debian\nPRETTY_NAME="Debian GNU/Linux trixie/sid"', False),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="21"\nPRETTY_NAME=Mint', False),
    ],
)
def test_another_family_by_a_stand_in_os_release_is_refused_at_once(
    bare: LabContainer, tmp_path: Path, release: str, *, refused: bool
) -> None:
    bare.inside(f"rm /etc/os-release; printf '%s\\n' '{release}' >/etc/os-release")
    nr = fleet_of(tmp_path, container_of("mach-bare", TestMinimalImage.address), dry_run=True)
    entry = run_on(nr, "mach-bare", bootstrap_container)
    nr.close_connections()
    assert (entry["status"] == "failed") is refused, entry["message"]
    if refused:
        assert "Debian from 10 and Ubuntu from 18.04 on" in entry["message"]
        assert release.rpartition("=")[2].strip('"') in entry["message"]
        assert entry["seconds"] < 10
