"""Prove: what a machine has to reach and to be, judged purely, and seen from inside real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from tasks.actual import MachineFacts, UnitFacts
from tasks.bootstrap.task import bootstrap_container
from tasks.intent.model import Attachment, Container, Intent, LxdHost, Ssh
from tasks.intent.system import Configure, Service
from tasks.prove import Target, not_as_declared, prove_machine, targets_of, unanswered
from tests.lab import Lab
from tests.machines import LabContainer, container_of, execs, fleet_of, lab_container, run_on


def attachment(network: str, address: str | None, gateway: str | None = None) -> Attachment:
    return Attachment(
        network,
        address=ip_interface(address) if address else None,
        gateway=ip_address(gateway) if gateway else None,
    )


def attachments(**networks: Attachment) -> dict[str, Attachment]:
    return networks


HOSTS = {
    name: LxdHost(
        name,
        Ssh(f"172.17.4.{last}"),
        attachments=attachments(
            mgmt=attachment("mgmt", f"172.17.4.{last}/24"),
            sip=attachment("sip", f"10.0.0.{last}/24", "10.0.0.1" if last == 10 else None),
            bare=attachment("bare", None),
        ),
    )
    for name, last in (("voice-01", 10), ("voice-02", 11))
}
PROXY = Container(
    "proxy-01",
    Ssh("172.17.4.21"),
    on="voice-01",
    attachments=attachments(
        mgmt=attachment("mgmt", "172.17.4.21/24"),
        pub=attachment("pub", "194.109.16.140/26", "194.109.16.129"),
        bare=attachment("bare", "10.9.9.9/24"),
    ),
    configure=Configure(
        timezone="Europe/Amsterdam",
        services=(Service("kamailio"), Service("old", running=False), Service("x", running=None)),
    ),
)
INTENT = Intent(Path("voice"), HOSTS, {"proxy-01": PROXY}, {}, {}, {}, {})


def test_a_container_pings_its_gateway_and_its_host_where_both_have_an_address() -> None:
    assert targets_of(PROXY, INTENT) == (
        Target("194.109.16.129", "its gateway"),
        Target("172.17.4.10", "voice-01"),
    )


def test_hosts_ping_each_other_on_every_network() -> None:
    assert targets_of(HOSTS["voice-01"], INTENT) == (
        Target("172.17.4.11", "voice-02"),
        Target("10.0.0.11", "voice-02"),
    )


def test_each_address_without_an_answer_is_a_line() -> None:
    targets = targets_of(PROXY, INTENT)
    pings = {"194.109.16.129": True, "172.17.4.10": False}
    assert list(unanswered(targets, MachineFacts("proxy-01", pings=pings))) == [
        "no answer to ping from 172.17.4.10 (voice-01)"
    ]
    [line] = unanswered(targets, MachineFacts("proxy-01"))
    assert "iputils-ping" in line


AS_DECLARED = MachineFacts(
    "proxy-01",
    addresses={
        "if-mgmt": (ip_interface("172.17.4.21/24"),),
        "if-pub": (ip_interface("194.109.16.140/26"),),
        "if-bare": (ip_interface("10.9.9.9/24"),),
    },
    default_routes=(("194.109.16.129", "if-pub"),),
    timezone="Europe/Amsterdam",
    units={"kamailio": UnitFacts("loaded", "enabled", "active")},
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        (
            {"addresses": {**AS_DECLARED.addresses, "if-mgmt": ()}},
            ["172.17.4.21/24 is not on if-mgmt"],
        ),
        (
            {"default_routes": (("172.17.4.1", "if-mgmt"),)},
            ["the default route goes to 172.17.4.1, not to 194.109.16.129"],
        ),
        ({"default_routes": ()}, ["the default route goes to nothing, not to 194.109.16.129"]),
        ({"timezone": "Etc/UTC"}, ["the timezone is Etc/UTC, not Europe/Amsterdam"]),
        (
            {"units": {"kamailio": UnitFacts("loaded", "enabled", "failed")}},
            ["the service kamailio is failed"],
        ),
        (
            {"units": {**AS_DECLARED.units, "old": UnitFacts("loaded", "disabled", "active")}},
            ["the service old is active"],
        ),
    ],
)
def test_what_is_not_as_declared(change: dict[str, Any], expected: list[str]) -> None:
    assert list(not_as_declared(PROXY, replace(AS_DECLARED, **change))) == expected


def test_a_hosts_address_belongs_on_its_bridge() -> None:
    found = {"eno1": (ip_interface("172.17.4.11/24"),), "br-sip": (ip_interface("10.0.0.11/24"),)}
    facts = MachineFacts("voice-02", addresses=found)
    assert list(not_as_declared(HOSTS["voice-02"], facts)) == ["172.17.4.11/24 is not on br-mgmt"]


@pytest.fixture(scope="module")
def proven(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabContainer]:
    """A container with SSH; its host key is learned anew by each test's own state folder."""
    with lab_container(lab, "mach-prove") as container:
        container.launch()
        yield container


@pytest.mark.lab
class TestInside:
    address = "192.168.56.236"

    @pytest.fixture(autouse=True)
    def _bootstrapped(self, proven: LabContainer, tmp_path: Path) -> None:
        nr = fleet_of(tmp_path, self.wanted())
        entry = run_on(nr, "mach-prove", bootstrap_container)
        nr.close_connections()
        assert entry["status"] in ("ok", "changed"), entry["message"]

    def wanted(self, *services: Service) -> Container:
        configure = Configure(services=services)
        return container_of("mach-prove", self.address, configure=configure)

    def prove(self, state: Path, container: Container, *, dry_run: bool = False) -> dict[str, Any]:
        nr = fleet_of(state, container, dry_run=dry_run)
        entry = run_on(nr, "mach-prove", prove_machine)
        assert execs(nr, "mach-prove") == (0 if dry_run else 1)
        nr.close_connections()
        assert not entry["changed"]
        return entry

    def test_all_is_well(self, tmp_path: Path) -> None:
        entry = self.prove(tmp_path, self.wanted(Service("ssh")))
        assert entry["status"] == "ok", entry["message"]
        assert entry["message"] == "all as declared, answers from 192.168.56.1, 192.168.56.151"

    def test_not_in_a_dry_run(self, tmp_path: Path) -> None:
        entry = self.prove(tmp_path, self.wanted(), dry_run=True)
        assert (entry["status"], entry["message"]) == ("skipped", "not proven in a dry run")

    def test_what_is_missing_is_named(self, proven: LabContainer, tmp_path: Path) -> None:
        proven.inside("ip route del default")
        proven.inside("ip route add blackhole 192.168.56.1/32")
        try:
            entry = self.prove(tmp_path, self.wanted(Service("no-such"), Service("ssh")))
        finally:
            proven.inside("ip route del blackhole 192.168.56.1/32")
            proven.inside("systemctl restart systemd-networkd")
        assert entry["status"] == "failed"
        assert entry["message"].split("; ") == [
            "no answer to ping from 192.168.56.1 (its gateway)",
            "the default route goes to nothing, not to 192.168.56.1",
            "the service no-such is inactive",
        ]
