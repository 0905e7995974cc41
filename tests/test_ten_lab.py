"""Ten containers on two hosts: from nothing, with faults in some, and where SSH does not answer.

The tests stand in the order in which a fleet lives, and build on each other.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.demo import messages, statuses
from tests.lab import Lab
from tests.ten import ADDRESSES, HOSTS, NAMES, Ten, host_of, ten_on

pytestmark = pytest.mark.lab

#: The root disk of one container is small, so that it can be full.
SMALL, SMALL_POOL, SMALL_DISK = "ten-06", "small", "/var/lib/small"
POOLS = {SMALL_POOL: {"driver": "dir", "source": SMALL_DISK}}
ON_A_SMALL_DISK = {"root": SMALL_POOL}
NOWHERE = "https://127.0.0.1:9/"
#: Somebody without SSH at an address, who has been heard on the network, and gone again.
STRANGER = """
ip netns add stranger
ip link add stranger0 type veth peer name stranger1 netns stranger
ip link set stranger0 master br-demo up
ip -n stranger addr add {address}/24 dev stranger1
ip -n stranger link set stranger1 up
ip netns exec stranger ping -c 1 -W 5 192.168.56.1
"""
NO_STRANGER = "ip netns delete stranger"
DEAD_MIRROR = """
rm -f /run/nornir-lxd-fleet.fetched # lists of a moment ago would do
mkdir /root/kept
mv /etc/apt/sources.list /etc/apt/sources.list.d/* /root/kept/ 2>/dev/null
echo 'deb [trusted=yes] http://192.168.56.1:9/ bookworm main' >/etc/apt/sources.list
"""
MIRROR = """
rm /etc/apt/sources.list
for file in /root/kept/*; do
    case $file in */sources.list) mv $file /etc/apt/ ;; *) mv $file /etc/apt/sources.list.d/ ;; esac
done
rmdir /root/kept
"""
MOTD = "/etc/motd"


@pytest.fixture(scope="module")
def ten(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ten]:
    for fleet in ten_on(lab, tmp_path_factory.mktemp("ten")):
        for host in HOSTS:
            fleet.sh(host, f"mkdir {SMALL_DISK}")
        with lab.small_disk(host_of(SMALL), SMALL_DISK, 600):
            yield fleet
            fleet.sh(host_of(SMALL), f"lxc delete -f {SMALL}; true")


def test_one_run_leads_from_nothing_to_ten_configured_containers(ten: Ten) -> None:
    ten.declare(containers={SMALL: ON_A_SMALL_DISK}, pools=POOLS)
    report = ten.provision()
    assert report["exit"] == 0, report
    assert statuses(report) == dict.fromkeys(statuses(report), "changed")
    assert set(statuses(report)) == {*HOSTS, *NAMES}
    print(f"from nothing to ten containers: {report['seconds']} s")
    for name in NAMES:
        proof = report["hosts"][name]["phases"][-1]
        assert (proof["phase"], proof["status"]) == ("prove", "ok")


@pytest.mark.once
def test_the_second_run_changes_nothing_and_costs_little(ten: Ten) -> None:
    report = ten.provision()
    assert (report["exit"], report["summary"]["ok"]) == (0, 12), report
    print(f"again: {report['seconds']} s")
    for name, machine in report["hosts"].items():
        exchanges = machine["exchanges"]
        # a host: lock, read, read as a machine, prove, ask its remotes; a container: read, prove
        wanted = (5, 0) if machine["kind"] == "lxd" else (2, 0)
        assert (exchanges["execs"], exchanges["requests"]) == wanted, name


def test_faults_are_told_for_their_container_alone(ten: Ten) -> None:
    no_image, no_mirror, taken = "ten-02", "ten-03", "ten-05"
    for name in (no_image, taken):
        ten.sh(host_of(name), f"lxc delete -f {name}")
    ten.inside(no_mirror, DEAD_MIRROR)
    ten.inside(SMALL, "dd if=/dev/zero of=/full bs=1M; true")
    ten.sh(HOSTS[1], STRANGER.format(address=ADDRESSES[taken]))
    more = {"bootstrap": {"packages": ["openssh-server", "tree"], "deadline": 60}}
    ten.declare(
        containers={
            no_image: {"image": "nowhere"},
            no_mirror: more,
            taken: {"image": "ready"},
            SMALL: {**ON_A_SMALL_DISK, **more},
        },
        pools=POOLS,
        images={
            HOSTS[0]: {
                "nowhere": {"server": NOWHERE, "alias": "nowhere", "network_config": "none"},
                "ready": ten.image_files("minimal", with_ssh=True),
            }
        },
    )
    started = time.monotonic()
    report = ten.provision()
    assert time.monotonic() - started < 90
    faulty = (no_image, no_mirror, taken, SMALL)
    # the image is missing on the host as well, whose other containers do not care
    expected = dict.fromkeys(statuses(report), "ok") | dict.fromkeys((*faulty, HOSTS[0]), "failed")
    assert statuses(report) == expected, report
    assert failures(report, HOSTS[0]).keys() == {"images"}
    for name, phase, told in (
        (no_image, "containers", ("image nowhere is not on this host", f"fetched from {NOWHERE}")),
        (no_mirror, "bootstrap", ("bootstrap stopped: install package tree", "192.168.56.1")),
        (taken, "containers", (f"{ADDRESSES[taken]} is in use: another machine answers",)),
        (SMALL, "bootstrap", ("bootstrap stopped: install package tree", "space")),
    ):
        assert failures(report, name).keys() == {phase}, failures(report, name)
        for words in told:
            assert words in failures(report, name)[phase], failures(report, name)
    assert not {no_image, taken} & {n for host in HOSTS for n in ten.left(host).instances}
    assert "Traceback" not in json.dumps(report)


def test_mended_the_next_run_finishes(ten: Ten) -> None:
    ten.inside("ten-03", MIRROR)
    ten.inside(SMALL, "rm /full")
    ten.sh(HOSTS[1], NO_STRANGER)
    ready = {"image": "ready"}
    ten.declare(
        containers={SMALL: ON_A_SMALL_DISK, "ten-02": ready, "ten-05": ready},
        pools=POOLS,
        images={HOSTS[0]: {"ready": ten.image_files("minimal", with_ssh=True)}},
    )
    report = ten.provision()
    assert report["exit"] == 0, report
    changed = {name for name, status in statuses(report).items() if status == "changed"}
    assert changed == {"ten-02", "ten-05"}


def test_a_profile_that_is_not_on_the_host(ten: Ten) -> None:
    late = {"late": {"data": {"profile": {"config": {"user.late": "yes"}}}}}
    ten.declare(containers={"ten-07": {"groups": ["web", "late"]}}, groups=late)
    report = ten.provision("--phase", "containers", "--limit", "ten-07", "--limit", "ten-08")
    assert report["exit"] == 1
    assert statuses(report) == {HOSTS[1]: "ok", "ten-07": "failed", "ten-08": "ok"}
    assert "profile late is not on this host" in messages(report, "ten-07")


def test_a_container_without_an_address_is_worked_on_through_its_host(ten: Ten) -> None:
    """From nothing, with an image that has no sshd; a drift is mended the same way."""
    name, host = "ten-10", HOSTS[1]
    ten.sh(host, f"lxc delete -f {name}")
    sshd = "/etc/ssh/sshd_config.d/10-fleet.conf"
    alone: dict[str, Any] = {
        "management": None,
        "addresses": {},
        "image": "minimal",
        "bootstrap": {"packages": []},
        "configure": {"files": {sshd: "absent"}},
    }
    ten.declare(containers={name: alone})
    why = f"through lxc exec on {host}: no address to reach it at is declared"
    raised = ten.provision("--limit", name)
    assert raised["exit"] == 0, raised
    phases = {phase["phase"]: phase for phase in raised["hosts"][name]["phases"]}
    assert [phases[p]["status"] for p in ("bootstrap", "configure", "prove")] == [
        "changed", "changed", "ok",
    ]  # fmt: skip
    assert all(why in phases[p]["message"] for p in ("bootstrap", "configure", "prove"))
    assert ten.inside(name, f"cat {MOTD}; command -v sshd || echo none").splitlines() == [
        "One of the ten.", "none",
    ]  # fmt: skip
    again = ten.provision("--limit", name)
    assert (statuses(again)[name], again["hosts"][name]["exchanges"]["execs"]) == ("ok", 2)
    ten.inside(name, f"echo other >{MOTD}")
    assert statuses(ten.provision("--limit", name))[name] == "changed"
    assert ten.inside(name, f"cat {MOTD}") == "One of the ten.\n"


def test_where_ssh_does_not_answer_it_is_configured_through_its_host(ten: Ten) -> None:
    name, host = "ten-09", HOSTS[1]
    ten.declare()
    ten.inside(name, f"echo other >{MOTD}; systemctl stop ssh.service")
    report = ten.provision("--phase", "configure", "--limit", name)
    assert (report["exit"], statuses(report)[name]) == (0, "changed"), report
    why = f"{ADDRESSES[name]} refuses connections to port 22"
    assert f"through lxc exec on {host}: {why}" in messages(report, name)
    assert ten.inside(name, f"cat {MOTD}") == "One of the ten.\n"
    proof = ten.provision("--phase", "prove", "--limit", name)
    assert statuses(proof)[name] == "failed"
    assert f"SSH does not answer: {why}" in messages(proof, name)
    health = ten.runbook("maintain", "health", "--limit", name)
    assert health.returncode == 1
    assert f"SSH does not answer: {why}" in health.stdout
    mended = ten.provision("--limit", name)
    assert (mended["exit"], statuses(mended)[name]) == (0, "changed"), mended
    assert "lxc exec" not in messages(mended, name)


def test_another_host_key_is_never_passed_by_through_exec(ten: Ten) -> None:
    name = "ten-08"
    ten.inside(
        name,
        f"echo other >{MOTD}; rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh.service",
    )
    report = ten.provision("--phase", "configure", "--limit", name)
    assert (report["exit"], statuses(report)[name]) == (1, "unreachable"), report
    assert "SSH host key" in messages(report, name)
    assert ten.inside(name, f"cat {MOTD}") == "other\n"


def failures(report: dict[str, Any], name: str) -> dict[str, str]:
    """What a machine says of each phase that failed."""
    phases = report["hosts"][name]["phases"]
    return {p["phase"]: p["message"] for p in phases if p["status"] == "failed"}
