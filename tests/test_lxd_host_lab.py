"""One fresh host of the lab, from its installer's network to a remote of its own, and its faults.

The tests stand in the order in which a host lives, and build on each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import yaml
from nornir.core.task import Result, Task

from tasks.bridges.task import configure_bridges
from tasks.check import check_host
from tasks.facts.host import facts_of, gather_facts
from tasks.lxd_api.connection import api_of
from tasks.lxd_server.task import setup_lxd
from tasks.remotes.edges import prove_edges
from tasks.remotes.task import sync_remotes
from tasks.transport import shell_of
from tests.lab import Lab
from tests.records import steps
from tests.spare_host import INSTALLER, NAME, SpareHost

pytestmark = pytest.mark.lab

OURS = "/etc/netplan/60-nornir-lxd-fleet.yaml"
SNAPSHOT = r"""
find /etc /root /var/lib -not -path '*/systemd/timers/*' \
    \( -type l -printf '%p %l\n' -o -type f -printf '%p %m %u %g ' -exec sha256sum {} \; \) | sort
ls -a /run | grep -e lxc -e nornir
ip -o link show | cut -d' ' -f2-; ip -o -4 addr show | cut -d' ' -f2-7; ip route
systemctl is-active lxd.service
true
"""


@pytest.fixture(scope="module")
def spare(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpareHost]:
    lab.up(hosts=3)
    lab.reset(NAME)
    host = SpareHost(lab, tmp_path_factory.mktemp("spare"))
    host.write_inventory()
    yield host
    lab.remove(NAME)


def ask_edges(task: Task) -> Result:
    edges, failures = prove_edges(task.host)
    return Result(host=task.host, result={"edges": edges, "failures": failures})


def test_a_dry_run_on_a_bare_host_shows_all_and_changes_nothing(spare: SpareHost) -> None:
    before = spare.sh(SNAPSHOT)
    tasks = (check_host, configure_bridges, setup_lxd, sync_remotes)
    records, run = spare.run_and_look(*tasks, dry_run=True)
    assert spare.sh(SNAPSHOT) == before
    assert "inactive" in before.splitlines()[-1]  # LXD was not even woken
    assert [record["status"] for record in records] == ["ok", "changed", "changed", "changed"]
    assert steps(records[1]) == [
        ("take over", INSTALLER),
        ("create", OURS),
        ("create", "bridge br-demo"),
    ]
    assert [action for action, _ in steps(records[2])] == [
        "set", "trust", "create", "create", "add",
    ]  # fmt: skip
    assert steps(records[3]) == [
        ("trust", f"certificate {NAME}"),
        ("create", f"remote {NAME}"),
    ]
    assert (run.exchanges[NAME]["execs"], run.exchanges[NAME]["requests"]) == (1, 0)
    assert not list(run.state.path.rglob("*.crt"))


def test_a_nic_that_is_not_there_is_refused_with_those_that_are(spare: SpareHost) -> None:
    spare.write_inventory(nic="enp9s0")
    record = spare.run(check_host)[0]
    spare.write_inventory()
    assert record["status"] == "failed"
    assert record["message"] == (
        f"{NAME}: there is no NIC enp9s0 for demo; its NICs are: eno2, eno3, enp1s0"
    )


def test_the_bridges_come_first(spare: SpareHost) -> None:
    spare.write_inventory(sip="eno2")
    record = spare.run(configure_bridges)[0]
    assert (record["status"], record["message"]) == ("changed", "")


def test_lxd_is_set_up(spare: SpareHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARE_PASSWORD", "HorseStaple")
    config = ", config: {core.trust_password: {env: SPARE_PASSWORD}, core.shutdown_timeout: '7'}"
    spare.write_inventory(sip="eno2", lxd=config)
    records, run = spare.run_and_look(setup_lxd)
    assert (records[0]["status"], records[0]["message"]) == ("changed", "")
    assert "HorseStaple" not in str(records)
    pin = run.state.pin(NAME)
    assert pin is not None
    assert pin.read_text() == spare.sh("cat /var/lib/lxd/server.crt")
    config = yaml.safe_load(spare.sh("LXD_CONF=/run/look lxc config show; rm -r /run/look"))
    assert config["config"] == {
        "core.https_address": "[::]:8443",
        "core.shutdown_timeout": "7",
        "core.trust_password": True,
    }
    profile = yaml.safe_load(spare.sh("lxc profile show default"))
    assert profile["devices"] == {"root": {"path": "/", "pool": "default", "type": "disk"}}
    pool = yaml.safe_load(spare.sh("lxc storage show default"))
    assert (pool["driver"], pool["config"]["user.nornir-lxd-fleet"]) == ("dir", "default")
    key = spare.sh("stat -c '%a %U' /root/.config/lxc/client.key; head -1 /root/.config/lxc/*.key")
    assert key.split()[:2] == ["600", "root"]
    assert spare.sh("ls -d /run/nornir-lxd-fleet.* 2>/dev/null || true") == ""


@pytest.mark.once
def test_a_second_run_changes_nothing_in_lxd_and_asks_its_api_nothing(
    spare: SpareHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARE_PASSWORD", raising=False)  # it is set there, nobody has to know it
    records, run = spare.run_and_look(setup_lxd)
    assert (records[0]["status"], records[0]["message"]) == ("ok", "LXD is as wanted")
    assert (run.exchanges[NAME]["execs"], run.exchanges[NAME]["requests"]) == (1, 0)


def test_the_api_trusts_us_and_its_certificate_is_the_pinned_one(spare: SpareHost) -> None:
    def ask(task: Task) -> Result:
        server, _ = api_of(task.host).get("/1.0")
        return Result(host=task.host, result={"auth": server["auth"]})

    assert spare.run(ask) == [{"auth": "trusted"}]


def test_remotes_crosswise_with_a_peer_that_is_away(spare: SpareHost) -> None:
    spare.sh(
        "lxc remote add elsewhere https://cloud.example --protocol simplestreams --public "
        "|| sed -i 's/^aliases: {}/aliases:\\n  ll: list -cns/' /root/.config/lxc/config.yml"
    )
    before = yaml.safe_load(spare.sh("cat /root/.config/lxc/config.yml"))
    spare.write_inventory(sip="eno2", peer=True)
    records, run = spare.run_and_look(sync_remotes, ask_edges)
    assert records[0]["status"] == "changed"
    assert records[0]["message"] == "peer nowhere unreachable, its remote is left as it is"
    assert "nowhere" in run.unreachable
    after = yaml.safe_load(spare.sh("cat /root/.config/lxc/config.yml"))
    remote = after["remotes"].pop(NAME)
    assert remote["addr"] == "https://192.168.56.152:8443"
    assert after == before
    assert records[1]["edges"] == {NAME: "ok", "nowhere": "unreachable"}
    assert records[1]["failures"] == []  # there is no such remote yet, as the note has said
    assert "lxc" not in spare.sh("ls /run")
    spare.sh(f"timeout 20 lxc list {NAME}:")


@pytest.mark.once
def test_a_second_run_changes_no_remote(spare: SpareHost) -> None:
    spare.write_inventory(sip="eno2")
    records, run = spare.run_and_look(sync_remotes)
    assert (records[0]["status"], records[0]["message"]) == (
        "ok", "remotes and trust are as wanted",
    )  # fmt: skip
    assert run.exchanges[NAME]["execs"] == 1


def test_an_edge_to_a_peer_that_this_run_could_not_reach_is_no_failure(spare: SpareHost) -> None:
    spare.sh(
        "lxc remote list >/dev/null; cd /root/.config/lxc && cp config.yml /root/kept && "
        "sed -i 's/^remotes:/remotes:\\n  nowhere: {addr: \"https:\\/\\/127.0.0.1:9\"}/' config.yml"
    )
    spare.write_inventory(sip="eno2", peer=True)
    records, _ = spare.run_and_look(sync_remotes, ask_edges)
    spare.sh("mv /root/kept /root/.config/lxc/config.yml")
    assert records[0]["status"] == "ok"
    assert records[1] == {"edges": {NAME: "ok", "nowhere": "unreachable"}, "failures": []}


def test_a_client_configuration_changed_meanwhile_is_not_overwritten(spare: SpareHost) -> None:
    spare.write_inventory(sip="eno2")
    spare.sh(f"lxc remote remove {NAME}")

    def meddle(task: Task) -> Result:
        facts_of(task.host)
        spare.sh("echo '# by hand' >>/root/.config/lxc/config.yml")
        return sync_remotes(task)

    record = spare.run(meddle)[0]
    assert record["status"] == "failed"
    assert "/root/.config/lxc/config.yml was changed meanwhile" in record["message"]
    assert "# by hand" in spare.sh("cat /root/.config/lxc/config.yml")
    assert spare.run(sync_remotes)[0]["status"] == "changed"


def test_an_edge_that_is_not_trusted_and_one_with_another_certificate(spare: SpareHost) -> None:
    spare.sh(f"lxc config trust remove $(lxc config trust list -f csv | grep {NAME} | cut -d, -f4)")
    untrusted = spare.run(ask_edges)[0]
    assert untrusted["edges"] == {NAME: "untrusted"}
    assert untrusted["failures"] == [
        f"remote {NAME} is untrusted; run the phase remotes, which makes the peer trust this user "
        "again"
    ]
    spare.sh(f"cp /root/.config/lxc/client.crt /root/.config/lxc/servercerts/{NAME}.crt")
    mismatch = spare.run(ask_edges)[0]
    assert mismatch["edges"] == {NAME: "certificate mismatch"}
    record, edges = spare.run(sync_remotes, ask_edges)
    assert steps(record) == [("trust", f"certificate {NAME}"), ("update", f"remote {NAME}")]
    assert edges == {"edges": {NAME: "ok"}, "failures": []}


def test_a_new_server_certificate_is_pinned_anew(spare: SpareHost) -> None:
    spare.sh("cd /var/lib/lxd && rm server.crt server.key && systemctl restart lxd")
    records, run = spare.run_and_look(setup_lxd, sync_remotes, ask_edges)
    assert [record.get("status") for record in records[:2]] == ["ok", "changed"]
    pin = run.state.pin(NAME)
    assert pin is not None
    assert pin.read_text() == spare.sh("cat /var/lib/lxd/server.crt")
    assert records[2]["edges"] == {NAME: "ok"}


def test_a_host_is_read_in_little_time(spare: SpareHost) -> None:
    def read(task: Task) -> Result:
        shell_of(task.host)
        started = time.monotonic()
        gather_facts(task, refresh=True)
        return Result(host=task.host, result={"seconds": time.monotonic() - started})

    fastest = min(spare.run(read)[0]["seconds"] for _ in range(5))
    assert fastest < 1.0  # 0.2 on an idle machine


def test_a_user_of_its_own_gets_a_client(spare: SpareHost) -> None:
    spare.sh("useradd --create-home --shell /bin/sh voip && adduser voip lxd")
    spare.write_inventory(sip="eno2", lxd=", users: [root, voip, ghost]")
    records = spare.run(setup_lxd, sync_remotes, ask_edges)
    assert [record.get("status") for record in records[:2]] == ["changed", "changed"]
    assert "user ghost does not exist" in records[0]["message"]
    assert records[2] == {"edges": {NAME: "ok"}, "failures": []}
    assert steps(records[1]) == [
        ("trust", f"certificate voip@{NAME}"),
        ("create", f"remote {NAME} of voip"),
    ]
    files = spare.sh("find /home/voip/.config /home/voip/.config/lxc -printf '%u %f %m\\n'")
    assert {line.split()[0] for line in files.splitlines()} == {"voip"}
    assert "voip client.key 600" in files
    spare.sh(f"runuser -u voip -- env HOME=/home/voip timeout 20 lxc list {NAME}:")


@pytest.mark.parametrize(
    ("stop", "start", "problem", "within"),
    [
        (
            "systemctl stop lxd.socket lxd.service",
            "systemctl start lxd.socket lxd.service",
            "LXD does not answer",
            10,
        ),
        (
            "kill -STOP $(systemctl show -p MainPID --value lxd)",
            "kill -CONT $(systemctl show -p MainPID --value lxd)",
            "no answer to server within 8 s",
            20,
        ),
    ],
    ids=["stopped", "hanging"],
)
def test_an_lxd_that_does_not_answer(
    spare: SpareHost, stop: str, start: str, problem: str, within: float
) -> None:
    spare.write_inventory(sip="eno2")
    spare.sh(stop)
    started = time.monotonic()
    try:
        records = spare.run(configure_bridges, setup_lxd)
    finally:
        spare.sh(start)
    assert time.monotonic() - started < within
    assert records[0]["status"] == "ok"  # the bridges do not depend on LXD
    assert records[1]["status"] == "failed"
    assert problem in records[1]["message"]
    assert records[1]["message"].startswith(f"{NAME}: LXD does not answer")
    assert "systemctl start lxd" in records[1]["message"]
    assert "\n" not in records[1]["message"]
    assert "Traceback" not in records[1]["message"]


def test_a_full_disk_is_named_before_anything_is_touched(spare: SpareHost) -> None:
    with spare.lab.small_disk(NAME, "/var/lib", 400):
        spare.sh(
            "fallocate -l $(($(df -Pk /var/lib | awk 'END {print $4}') - 20000))K /var/lib/full"
        )
        record = spare.run(check_host)[0]
    assert record["status"] == "failed"
    assert "MB free on /var/lib, make room there" in record["message"]
