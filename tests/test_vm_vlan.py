"""Vlans for real, on a whole virtual machine: tagged frames seen on the end of its cable."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks import configure_bridges, open_fleet
from tests.lab import CLIENT_KEY
from tests.lab.vm import VirtualMachine, why_not
from tests.lab.vm_places import ADDRESS, GATEWAY, HOST_KEY, INSTALLER, NAME

pytestmark = pytest.mark.vm

BRIDGES = ("br-mgmt", "br-public", "br-sipcore", "br-sipapp", "br-local")
SIPCORE = "10.160.64.132"
PUBLIC = "203.0.113.10"
ADDRESSES = {
    "br-mgmt": [f"{ADDRESS}/24"],
    "br-public": [f"{PUBLIC}/24"],
    "br-sipcore": [f"{SIPCORE}/24"],
    "br-sipapp": ["10.116.1.132/24"],
    "br-local": [],
}

HOSTS = f"""
{NAME}:
  data:
    lxd: {{}}
    nics: {{mgmt: eno1, sip: eno2, public: eno3}}
    management: mgmt
    addresses:
      mgmt: {ADDRESS}
      public: {PUBLIC}
      sipcore: {SIPCORE}
      sipapp: 10.116.1.132
    netplan: {{replaces: [{INSTALLER}], confirm_seconds: 240}}
    ssh_key: {CLIENT_KEY}
    ssh_host_key: {{file: {HOST_KEY}.pub}}
  groups: [{", ".join(BRIDGES)}]
"""
GROUPS = """
br-mgmt: {data: {bridge: {nic: mgmt, subnet: 192.168.57.0/24, gateway: GATEWAY}}}
br-public: {data: {bridge: {nic: public, subnet: 203.0.113.0/24}}}
br-sipcore: {data: {bridge: {nic: sip, vlan: SIPCORE_VLAN, subnet: 10.160.64.0/24}}}
br-sipapp: {data: {bridge: {nic: sip, vlan: 9, subnet: 10.116.1.0/24}}}
br-local: {data: {bridge: {}}}
"""


@dataclass
class Voice:
    """The virtual machine, and an inventory that holds it alone, as a host for voice."""

    machine: VirtualMachine
    folder: Path

    def configure(self, sipcore_vlan: int = 6, *, prune: bool = False) -> dict[str, Any]:
        """Bring its network to that of the inventory; the record of it."""
        record = self.attempt(sipcore_vlan, prune=prune)
        assert record["status"] in ("ok", "changed"), record["message"]
        return record

    def attempt(
        self, sipcore_vlan: int, *, gateway: str = GATEWAY, prune: bool = False
    ) -> dict[str, Any]:
        """The same, and it may fail."""
        inventory = self.folder / "voice"
        inventory.mkdir(exist_ok=True)
        groups = GROUPS.replace("GATEWAY", gateway).replace("SIPCORE_VLAN", str(sipcore_vlan))
        (inventory / "hosts.yaml").write_text(HOSTS)
        (inventory / "groups.yaml").write_text(groups)
        (inventory / "defaults.yaml").write_text("username: root\n")
        (self.folder / "config.yaml").write_text(
            f"user_defined: {{state_dir: {self.folder / 'state'}}}\n"
        )
        nr = open_fleet(inventory)
        try:
            result = nr.run(task=configure_bridges, prune=prune)[NAME][0]
        finally:
            nr.close_connections(on_good=True, on_failed=True)
        if result.exception is not None:
            raise result.exception
        record: dict[str, Any] = result.result
        return record

    def addresses(self) -> dict[str, list[str]]:
        """The IPv4 addresses of each link but the loopback."""
        listed = json.loads(self.machine.output("ip -j -4 addr"))
        named = {
            link["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]]
            for link in listed
            if link.get("ifname") not in (None, "lo")
        }
        bridges = {name: named.pop(name, []) for name in BRIDGES}
        return bridges | named

    def ports(self) -> dict[str, dict[str, tuple[str, int] | None]]:
        """The ports of each bridge, each with the NIC and the id that it is a vlan of."""
        found: dict[str, dict[str, tuple[str, int] | None]] = {}
        for link in json.loads(self.machine.output("ip -j -d link")):
            info = link.get("linkinfo", {})
            vlan = info.get("info_kind") == "vlan"
            if info.get("info_kind") == "bridge":
                found.setdefault(link["ifname"], {})
            elif "master" in link:
                tag = (link["link"], info["info_data"]["id"]) if vlan else None
                found.setdefault(link["master"], {})[link["ifname"]] = tag
        return found

    def tag_of_a_question(self, nic: str, address: str) -> int | None:
        """The vlan that the machine asks in, on a NIC, who has an address; None is untagged."""
        with self.machine.watch(nic) as watch:
            # Nobody answers, so this fails.
            self.machine.run(f"ip neigh flush to {address}; ping -c1 -W1 {address}")
            return watch.until(lambda frame: frame.asks_for(address)).vlan


@pytest.fixture(scope="module")
def machine() -> Iterator[VirtualMachine]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with VirtualMachine() as up:
        yield up


@pytest.fixture(scope="module")
def fresh(machine: VirtualMachine, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    """As its installer left it."""
    return Voice(machine, tmp_path_factory.mktemp("voice"))


@pytest.fixture(scope="module")
def voice(fresh: Voice) -> Voice:
    """With its bridges, br-sipcore in vlan 6."""
    record = fresh.configure(sipcore_vlan=6)
    assert record["changed"]
    return fresh


def test_the_machine_comes_up_as_its_installer_leaves_it(fresh: Voice) -> None:
    assert fresh.machine.output("hostname") == NAME
    listed = json.loads(fresh.machine.output("ip -j -4 addr show dev eno1"))
    assert [a["local"] for link in listed for a in link["addr_info"]] == [ADDRESS]
    assert fresh.machine.output("ls /sys/class/net").split() == ["eno1", "eno2", "eno3", "lo"]
    assert fresh.machine.output("systemctl is-system-running --wait", timeout=60) == "running"


def test_ssh_refuses_another_host_key(fresh: Voice, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    # The client's own key is a valid one, but not the host's.
    other.write_text(f"{ADDRESS} {CLIENT_KEY.with_suffix('.pub').read_text()}")
    words = fresh.machine.ssh("true")
    words = ["UserKnownHostsFile=" + str(other) if "UserKnown" in w else w for w in words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_every_nic_and_vlan_is_in_its_bridge(voice: Voice) -> None:
    ports = voice.ports()
    assert ports["br-mgmt"] == {"eno1": None}
    assert ports["br-public"] == {"eno3": None}
    assert list(ports["br-sipcore"].values()) == [("eno2", 6)]
    assert list(ports["br-sipapp"].values()) == [("eno2", 9)]
    assert ports["br-local"] == {}
    assert {name: voice.addresses()[name] for name in BRIDGES} == ADDRESSES
    assert f"via {GATEWAY} dev br-mgmt" in voice.machine.output("ip route show default")


def test_again_nothing_changes(voice: Voice) -> None:
    assert not voice.configure(sipcore_vlan=6)["changed"]


def test_frames_of_a_vlan_are_tagged_with_it(voice: Voice) -> None:
    assert voice.tag_of_a_question("eno2", "10.160.64.99") == 6
    assert voice.tag_of_a_question("eno2", "10.116.1.99") == 9


def test_frames_of_a_whole_nic_are_untagged(voice: Voice) -> None:
    assert voice.tag_of_a_question("eno3", "203.0.113.99") is None


def test_a_changed_vlan_id_goes_back_with_the_rest(voice: Voice) -> None:
    before = voice.ports(), voice.addresses(), voice.machine.output("cat /etc/netplan/*")
    record = voice.attempt(8, gateway="192.168.57.99")
    assert record["status"] == "failed"
    assert (
        "the gateway 192.168.57.99 does not answer on br-mgmt: it was rolled back"
        in (record["message"])
    )
    assert (voice.ports(), voice.addresses(), voice.machine.output("cat /etc/netplan/*")) == before
    assert voice.tag_of_a_question("eno2", "10.160.64.99") == 6


def test_a_changed_vlan_id_replaces_the_vlan_below_the_bridge(voice: Voice) -> None:
    before = voice.machine.output("cat /sys/class/net/br-sipcore/ifindex")
    session = subprocess.Popen(
        voice.machine.ssh("echo there; read line; echo still $line"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert session.stdout is not None
        assert session.stdout.readline() == "there\n"
        assert voice.configure(sipcore_vlan=7)["changed"]
        output, _ = session.communicate("there\n", timeout=30)
    finally:
        session.kill()
        session.wait(10)
    assert output == "still there\n"
    assert voice.tag_of_a_question("eno2", "10.160.64.99") == 7
    assert voice.tag_of_a_question("eno2", "10.116.1.99") == 9
    assert voice.machine.output("cat /sys/class/net/br-sipcore/ifindex") == before
    assert voice.addresses()["br-sipcore"] == ADDRESSES["br-sipcore"]
    ports = voice.ports()["br-sipcore"]
    assert list(ports.values()) == [("eno2", 7)]
    assert "vlan.6" not in ports


def test_the_former_vlan_stays_until_it_is_pruned_and_a_foreign_one_for_ever(voice: Voice) -> None:
    voice.machine.output("ip link add link eno2 name vlan.40 type vlan id 40")
    record = voice.configure(sipcore_vlan=7)
    assert not record["changed"]
    assert "vlan vlan.6 is no longer in the inventory and stays" in record["message"]
    assert "vlan.6" in voice.machine.output("ls /sys/class/net").split()
    record = voice.configure(sipcore_vlan=7, prune=True)
    assert ("delete", "vlan vlan.6") in [(s["action"], s["object"]) for s in record["steps"]]
    links = voice.machine.output("ls /sys/class/net").split()
    assert "vlan.6" not in links
    assert "vlan.40" in links
    assert "vlan.6" not in voice.machine.output("cat /etc/netplan/*")
    voice.machine.output("ip link delete vlan.40")


def test_the_bridges_are_back_after_a_reboot(voice: Voice) -> None:
    ports, addresses = voice.ports(), voice.addresses()
    voice.machine.reboot()
    assert voice.machine.output("systemctl is-system-running --wait", timeout=60) == "running"
    assert voice.ports() == ports
    assert voice.addresses() == addresses
    tags = [tag for tag in ports["br-sipcore"].values() if tag]
    assert [voice.tag_of_a_question("eno2", "10.160.64.99")] == [vlan for _, vlan in tags]
    assert voice.tag_of_a_question("eno3", "203.0.113.99") is None
    assert not voice.configure(sipcore_vlan=tags[0][1])["changed"]
