"""Changes of a real host's network: what goes well stays, whatever cuts the host off goes back.

The tests stand in the order in which a host lives, and build on each other.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from nornir.core.inventory import Host

from tests.bridge_site import ADDRESS, CONFIRM, INSTALLER, NAME, OURS, Site
from tests.lab import Lab
from tests.records import steps

pytestmark = pytest.mark.lab

OTHER = "sidn-demo-01"
BACKUPS = "/var/lib/nornir-lxd-fleet/backup"
#: Seconds within which a host that was cut off answers again, after the deadline.
GRACE = 15


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab.up(hosts=3)
    lab.reset(NAME)
    site = Site(lab, tmp_path_factory.mktemp("site"))
    site.intend()
    yield site
    lab.remove(NAME)


def test_a_dry_run_shows_the_files_and_the_links(site: Site) -> None:
    before = site.network()
    record = site.configure(dry_run=True)
    assert record["status"] == "changed"
    assert steps(record) == [
        ("take over", INSTALLER),
        ("create", OURS),
        ("create", "bridge br-demo"),
    ]
    assert f"+      - {ADDRESS}/24" in record["diff"].splitlines()
    assert f"+ bridge br-demo: over enp1s0 with {ADDRESS}/24" in record["diff"].splitlines()
    assert site.network() == before


def test_a_first_change_that_cuts_the_host_off_is_undone(site: Site) -> None:
    before = site.network()
    site.intend(nics={"demo": "eno2"})
    record = site.configure()
    assert record["status"] == "failed"
    assert "was not reachable" in record["message"]
    assert "rolled back" in record["message"]
    assert site.network() == before


def test_bridges_take_the_installers_file_over_and_keep_it(site: Site) -> None:
    installers = site.sh(f"cat {INSTALLER}")
    site.intend()
    record = site.configure()
    assert (record["status"], record["message"]) == ("changed", "")
    assert site.sh("ls /etc/netplan").split() == [OURS.rpartition("/")[2]]
    assert site.sh(f"stat -c '%a %U' {OURS} /var/lib/nornir-lxd-fleet").split() == [
        "600", "root", "700", "root",
    ]  # fmt: skip
    assert site.sh(f"cat {BACKUPS}/*{INSTALLER}") == installers
    assert f"{ADDRESS}/24" in site.sh("ip -o -4 addr show dev br-demo")
    assert site.sh("ip -o -4 addr show dev enp1s0") == ""
    assert site.sh("ls /run/netplan") == ""
    assert site.sh("systemctl list-timers --all | grep -c nornir || true").strip() == "0"


@pytest.mark.once
def test_with_nothing_to_change_nothing_happens(site: Site) -> None:
    site.raise_containers()
    look = f"{{ stat -c '%n %y' {OURS} /etc/netplan; systemctl show -p ActiveEnterTimestamp "
    look += "systemd-networkd; find /run/systemd/network /run/netplan /var/lib/nornir-lxd-fleet "
    look += "-printf '%p %T@\\n'; }"
    before = site.sh(look)
    with Ping(site.lab) as ping:
        record, run = site.configure_and_look()
    assert (record["status"], record["message"]) == ("ok", "the bridges are as wanted")
    assert (run.exchanges[NAME]["execs"], run.exchanges[NAME]["requests"]) == (1, 0)
    assert ping.lost == 0
    assert ping.sent > 20
    assert site.sh(look) == before


def test_adding_a_bridge_loses_no_packet_on_another(site: Site) -> None:
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    with Ping(site.lab) as ping:
        record = site.configure()
    assert (record["status"], record["message"]) == ("changed", "")
    assert steps(record) == [
        ("update", OURS),
        ("create", "bridge br-sip"),
        ("create", "bridge br-local"),
    ]
    assert ping.lost == 0
    assert ping.sent > 50
    assert site.sh("ls /sys/class/net/br-sip/brif").split() == ["eno2"]
    assert site.sh("cat /sys/class/net/br-sip/bridge/stp_state").strip() == "0"


@pytest.mark.parametrize(
    ("damage", "action"),
    [
        ("ip link delete br-sip", "create"),
        ("ip addr add 10.9.9.9/24 dev eno2", "update"),
        ("ip link set br-sip down", "update"),
        ("ip link set br-sip type bridge stp_state 1", "update"),
    ],
)
def test_what_was_undone_by_hand_is_put_right(site: Site, damage: str, action: str) -> None:
    before = site.network()
    site.sh(damage)
    record = site.configure()
    assert (record["status"], steps(record)) == ("changed", [(action, "bridge br-sip")]), record
    assert site.network() == before


def test_a_bridge_that_carried_containers_is_put_right_with_them(site: Site) -> None:
    before = site.network()
    site.sh("ip link set eno3 master br-local; ip link set eno3 up")
    site.sh("for n in c1 c2; do ip link set $(lxc config get $n volatile.if-demo.host_name) "
            "nomaster; done")  # fmt: skip
    site.sh("ip link set eno3 nomaster; ip link set eno3 down")
    record = site.configure()
    assert record["steps"][0]["detail"] == "plug in if-demo of c1, plug in if-demo of c2"
    assert site.network() == before


def test_a_containers_nic_that_lost_its_bridge_is_plugged_in_again(site: Site) -> None:
    site.sh("ip link set $(lxc config get c1 volatile.if-demo.host_name) nomaster")
    assert not site.containers_reach_each_other()
    record = site.configure()
    assert record["steps"][0]["detail"] == "plug in if-demo of c1"
    assert site.containers_reach_each_other()


def test_settings_addresses_and_routes_change_on_a_living_bridge(site: Site) -> None:
    keys = {"mtu": 1400, "stp": True, "forward_delay": 2, "nic": "sip"}
    own: dict[str, Any] = {"sip": ["10.88.0.1/24", "fd00:88::1/64"]}
    site.intend(nics={"sip": "eno2"}, bridges={"sip": keys, "local": {}}, addresses=own)
    index = site.sh("cat /sys/class/net/br-sip/ifindex")
    record = site.configure()
    assert (record["status"], record["message"]) == ("changed", "")
    shown = site.sh("ip -d -o link show dev br-sip; ip -o addr show dev br-sip")
    for said in ("mtu 1400", "stp_state 1", "forward_delay 200", "10.88.0.1/24", "fd00:88::1/64"):
        assert said in shown, said
    assert site.sh("cat /sys/class/net/br-sip/ifindex") == index  # changed, not made anew
    own = {"sip": "10.88.0.2/24"}
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}}, addresses=own)
    assert site.configure()["status"] == "changed"
    assert "10.88.0.1" not in site.sh("ip -o addr show dev br-sip")
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    assert site.configure()["status"] == "changed"


def test_a_bridge_moves_to_another_nic_and_back(site: Site) -> None:
    for nic, former in (("eno3", "eno2"), ("eno2", "eno3")):
        site.intend(nics={"sip": nic}, bridges={"sip": {"nic": "sip"}, "local": {}})
        record = site.configure()
        assert (record["status"], record["message"]) == ("changed", ""), record
        assert ("unplug", former) in steps(record)
        assert site.sh("ls /sys/class/net/br-sip/brif").split() == [nic]
    site.sh("ip link set eno3 down")  # as it was, and is again after a boot


#: What is intended, and what is said of it.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "the wrong NIC in the bridge": ({"nics": {"demo": "eno3"}}, "was not reachable"),
    "an address of another subnet": (
        {
            "subnet": "10.88.0.0/24",
            "gateway": "10.88.0.1",
            "addresses": {"demo": "10.88.0.152"},
            "hostname": ADDRESS,
        },
        "was not reachable",
    ),
    "a default route into nowhere": (
        {"gateway": "192.168.56.99"},
        "the gateway 192.168.56.99 does not answer on br-demo",
    ),
    "a bridge without its NIC": ({"nic": None}, "was not reachable"),
}


@pytest.fixture
def unharmed(site: Site) -> Iterator[Site]:
    """The host, which after the test is what it was before it, and takes a right inventory."""
    right = {"nics": {"sip": "eno2"}, "bridges": {"sip": {"nic": "sip"}, "local": {}}}
    before = site.network()
    assert site.containers_reach_each_other()
    yield site
    assert site.answers()
    assert site.network() == before
    assert site.containers_reach_each_other()
    site.intend(**right)  # type: ignore[arg-type]
    record = site.configure()
    assert (record["status"], record["message"]) == ("ok", "the bridges are as wanted")


@pytest.mark.parametrize("name", WRONG)
def test_what_cuts_the_host_off_is_undone(unharmed: Site, name: str) -> None:
    keys, said = WRONG[name]
    sip = {"sip": {"nic": "sip"}, "local": {}}
    nics = {"sip": "eno2", **keys.get("nics", {})}
    unharmed.intend(**{**keys, "nics": nics, "bridges": sip})
    started = time.monotonic()
    record = unharmed.configure()
    assert time.monotonic() - started < CONFIRM + GRACE
    assert record["status"] == "failed"
    message = record["message"]
    assert message.startswith(f"{NAME}: changing its network was tried, and ")
    assert said in message
    assert f"it was rolled back, and the host answers at {ADDRESS}" in message


def with_an_mtu(site: Site, confirm: float = CONFIRM) -> None:
    """A change that is good, if only it is confirmed."""
    site.intend(
        confirm=confirm,
        nics={"sip": "eno2"},
        bridges={"sip": {"nic": "sip", "mtu": 1400}, "local": {}, "new": {}},
        addresses={"new": "10.99.7.1/24"},
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", ["planned", "staged", "applied", "connected", "checked"])
def test_a_controller_that_is_killed_leaves_no_change(unharmed: Site, stage: str) -> None:
    with_an_mtu(unharmed)
    started = time.monotonic()
    assert unharmed.killed_at(stage) == -9
    if stage != "planned":
        pending = unharmed.configure(dry_run=True)
        assert "an earlier change of its network is not confirmed yet" in pending["message"]
        await_rollback(unharmed, started + CONFIRM + GRACE)


def await_rollback(site: Site, until: float) -> None:
    while "rolled-back" not in site.sh("ls /run/nornir-lxd-fleet/network"):
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", ["staged", "applied", "checked"])
def test_a_run_right_after_a_killed_one_waits_and_then_makes_the_change(
    site: Site, stage: str
) -> None:
    with_an_mtu(site)
    assert site.killed_at(stage) == -9
    record = site.configure()
    assert record["status"] == "changed", record["message"]
    assert "1400" in site.sh("cat /sys/class/net/br-sip/mtu")
    assert site.configure()["status"] == "ok"
    without_the_mtu(site)


def test_a_controller_that_is_killed_after_it_confirmed_has_changed_it(site: Site) -> None:
    with_an_mtu(site)
    assert site.killed_at("confirmed") == -9
    assert site.configure()["status"] == "ok"
    assert "1400" in site.sh("cat /sys/class/net/br-sip/mtu")
    without_the_mtu(site)


def without_the_mtu(site: Site) -> None:
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    record = site.configure(prune=True)
    assert ("delete", "bridge br-new") in steps(record)


def cut(site: Site, seconds: float) -> None:
    """Drop all that comes in, for so long; the host ends it itself."""
    site.sh(
        "iptables -I INPUT -i br-demo -j DROP; systemd-run --quiet --collect --timer-property="
        f"AccuracySec=100ms --on-active={seconds} iptables -D INPUT -i br-demo -j DROP"
    )


def test_a_connection_that_is_cut_for_long_is_undone(unharmed: Site) -> None:
    with_an_mtu(unharmed)
    record = unharmed.configure(at={"staged": lambda host: cut(unharmed, CONFIRM + 3)})
    assert record["status"] == "failed"
    assert "rolled back" in record["message"]


def test_a_connection_that_breaks_is_made_anew_and_the_change_confirmed(site: Site) -> None:
    def break_off(host: Host) -> None:
        host.connections["shell"].connection.connection.transport.close()

    with_an_mtu(site)
    record = site.configure(at={"staged": break_off, "connected": break_off})
    assert (record["status"], record["message"]) == ("changed", "")
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    assert site.configure(prune=True)["status"] == "changed"


def test_the_timer_of_a_change_taken_back_touches_no_later_one(site: Site) -> None:
    # it has fired, and waits for the lock of whoever prepares the next one
    site.sh("systemd-run --quiet --collect --unit=nornir-lxd-fleet-rollback sleep 60")
    with_an_mtu(site)
    record = site.configure()
    assert (record["status"], record["message"]) == ("changed", "")
    assert "1400" in site.sh("cat /sys/class/net/br-sip/mtu")
    site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    assert site.configure(prune=True)["status"] == "changed"


def test_a_full_disk_is_told_and_leaves_no_change(unharmed: Site) -> None:
    def fill(_: Host) -> None:
        unharmed.sh("dd if=/dev/zero of=/etc/netplan/filler bs=4k 2>/dev/null; true")

    with_an_mtu(unharmed)
    with unharmed.lab.small_disk(NAME, "/etc/netplan", 1):
        record = unharmed.configure(at={"checked": fill})
    assert record["status"] == "failed"
    assert "No space left on device" in record["message"]
    assert "rolled back" in record["message"]


def test_a_second_controller_is_kept_out(unharmed: Site) -> None:
    other: list[subprocess.CompletedProcess[str]] = []

    def second(_: Host) -> None:
        other.append(unharmed.another_controller())

    with_an_mtu(unharmed, confirm=40)
    record = unharmed.configure(at={"applied": second})
    assert (record["status"], record["message"]) == ("changed", "")
    assert "another run" in other[0].stdout
    unharmed.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
    assert unharmed.configure(prune=True)["status"] == "changed"


def test_a_reboot_in_between_comes_up_on_the_old_network(unharmed: Site) -> None:
    files = unharmed.sh("cat /etc/netplan/*; stat -c '%a %Y' /etc/netplan/*")

    def reboot(_: Host) -> None:
        before = next(h.pid for h in unharmed.lab.status() if h.name == NAME)
        unharmed.lab.exec(NAME, "systemctl reboot", timeout=20)
        unharmed.lab.wait_ready(NAME, after=before)

    with_an_mtu(unharmed)
    record = unharmed.configure(at={"checked": reboot})
    assert record["status"] == "failed"
    assert unharmed.sh("cat /etc/netplan/*; stat -c '%a %Y' /etc/netplan/*") == files
    assert "br-new" not in unharmed.sh("ls /sys/class/net")
    for name, number in (("c1", 1), ("c2", 2)):
        unharmed.sh(
            f"lxd waitready; lxc start {name} 2>/dev/null; lxc exec {name} -- sh -c "
            f"'ip link set if-demo up; ip addr replace 10.77.0.{number}/24 dev if-demo'"
        )


def test_what_netplan_refuses_never_reaches_the_host(unharmed: Site) -> None:
    unharmed.sh("printf 'network: {bridges: {br-x: {mtu: much}}}' >/etc/netplan/90-other.yaml")
    with_an_mtu(unharmed)
    record = unharmed.configure()
    unharmed.sh("rm /etc/netplan/90-other.yaml")
    assert record["status"] == "failed"
    assert "netplan refuses the new configuration, nothing was touched" in record["message"]


#: How Ubuntu 18.04's behaves: it knows no reload, and `netplan apply` restarts networkd.
NETWORKCTL = """#!/bin/sh
case $1 in
--help) /usr/bin/networkctl --help | grep -v ' reload' ;;
reload | reconfigure) exec systemctl restart systemd-networkd ;;
*) exec /usr/bin/networkctl "$@" ;;
esac
"""


class TestOldNetworkd:
    """With a stand-in for a networkctl that has no reload."""

    @pytest.fixture(autouse=True)
    def old(self, site: Site) -> Iterator[None]:
        site.sh(f"cat >/usr/local/sbin/networkctl <<'END'\n{NETWORKCTL}END\n"
                "chmod 755 /usr/local/sbin/networkctl")  # fmt: skip
        yield
        site.sh("rm /usr/local/sbin/networkctl")

    def test_a_change_goes_well(self, unharmed: Site) -> None:
        with_an_mtu(unharmed)
        record = unharmed.configure()
        assert (record["status"], record["message"]) == ("changed", "")
        unharmed.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}, "local": {}})
        assert unharmed.configure(prune=True)["status"] == "changed"

    def test_one_that_cuts_it_off_is_undone(self, unharmed: Site) -> None:
        sip = {"sip": {"nic": "sip"}, "local": {}}
        unharmed.intend(nics={"demo": "eno3", "sip": "eno2"}, bridges=sip)
        record = unharmed.configure()
        assert record["status"] == "failed"
        assert "it was rolled back" in record["message"]


class TestRemoval:
    def test_what_left_the_inventory_is_reported_and_stays(self, site: Site) -> None:
        site.sh("ip link add br-foreign type bridge")
        site.sh("umask 077; echo 'network: {version: 2}' >/etc/netplan/95-foreign.yaml")
        before = site.network()
        site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}})
        record = site.configure()
        assert record["status"] == "ok"
        assert record["message"].endswith(
            "bridge br-local is no longer in the inventory and stays; --prune removes it"
        )
        assert site.network() == before

    def test_a_bridge_that_carries_a_container_is_refused_by_its_name(self, site: Site) -> None:
        add = "lxc config device add c2 if-local nic name=if-local nictype=bridged parent=br-local"
        site.sh(add)
        before = site.network()
        record = site.configure(prune=True)
        assert record["status"] == "failed"
        assert "bridge br-local is to be removed, but carries c2" in record["message"]
        assert site.network() == before
        site.sh("lxc config device remove c2 if-local")

    def test_a_removal_goes_back_with_the_rest(self, site: Site) -> None:
        before = site.network()
        site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}}, gateway="192.168.56.99")
        record = site.configure(prune=True)
        assert "it was rolled back" in record["message"]
        assert site.network() == before
        site.intend(nics={"sip": "eno2"}, bridges={"sip": {"nic": "sip"}})

    def test_pruned_it_is_gone_from_the_host_and_the_file(self, site: Site) -> None:
        record = site.configure(prune=True)
        assert steps(record) == [("update", OURS), ("delete", "bridge br-local")]
        links = site.sh("ls /sys/class/net").split()
        assert "br-local" not in links
        assert "br-local" not in site.sh(f"cat {OURS}")
        assert "br-foreign" in links  # a foreign bridge and file never go
        assert "95-foreign.yaml" in site.sh("ls /etc/netplan")
        assert site.configure(prune=True)["status"] == "ok"


class Ping:
    """A ping every 10 ms from another host, for as long as the block takes."""

    sent = 0
    lost = 0

    def __init__(self, lab: Lab, address: str = ADDRESS) -> None:
        self.lab = lab
        self.address = address

    def __enter__(self) -> Ping:
        begin = f"ping -i 0.01 -W 1 {self.address} >/run/ping 2>&1 & echo $!"
        self._process = self.lab.exec(OTHER, begin, timeout=20).stdout.strip()
        return self

    def __exit__(self, *error: object) -> None:
        end = f"sleep 0.1; kill -INT {self._process}; sleep 0.3; cat /run/ping"
        said = self.lab.exec(OTHER, end, timeout=20).stdout
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)}
        self.sent = max(answered)
        self.lost = self.sent - len(answered)
