"""The demo fleet from nothing, end to end, as its operator sees it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml

from tests.demo import ADDRESSES, CONTAINERS, HOSTS, INVENTORY, Demo, messages, statuses
from tests.lab import CLIENT_KEY

pytestmark = pytest.mark.lab


def test_a_dry_run_on_bare_hosts_prints_the_whole_plan(demo: Demo) -> None:
    assert demo.dry.returncode == 3, demo.dry.stderr
    for name in (*HOSTS, *CONTAINERS):
        assert name in demo.dry.stdout
    for planned in ("br-demo", "core.https_address", "profile demo", "pool default", "image"):
        assert planned in demo.dry.stdout, planned
    assert "Traceback" not in demo.dry.stdout + demo.dry.stderr


def test_a_dry_run_on_bare_hosts_changes_nothing(demo: Demo) -> None:
    for host in HOSTS:
        assert len(demo.before[host].splitlines()) > 100
        assert demo.after[host].splitlines() == demo.before[host].splitlines()
    assert all(path == "lock" or path.startswith("logs/") for path in demo.state_after_dry), (
        demo.state_after_dry
    )


def test_the_first_run_raises_everything(demo: Demo) -> None:
    assert demo.raised.returncode == 0, demo.raised.stdout + demo.raised.stderr
    report = json.loads(demo.raised.stdout)
    assert statuses(report) == dict.fromkeys((*HOSTS, *CONTAINERS), "changed")
    assert [report["hosts"][c]["on"] for c in CONTAINERS] == [HOSTS[0]] * 3 + [HOSTS[1]] * 2


@pytest.mark.once
def test_the_second_run_changes_nothing_and_costs_little(demo: Demo) -> None:
    report = demo.report()
    assert report["exit"] == 0
    assert report["summary"] == {"ok": 7, "changed": 0, "failed": 0, "unreachable": 0, "skipped": 0}
    for name, host in report["hosts"].items():
        assert host["exchanges"]["requests"] == 0, name
        # an LXD host: lock, read, read as a machine, prove; a container: read, prove
        assert host["exchanges"]["execs"] <= (5 if host["kind"] == "lxd" else 2), name


def test_every_host_lists_every_host_through_its_remotes(demo: Demo) -> None:
    for host in HOSTS:
        for peer, there in zip(HOSTS, (CONTAINERS[:3], CONTAINERS[3:]), strict=True):
            listed = demo.lab.exec(host, f"lxc list {peer}: -f csv -c n")
            assert listed.returncode == 0, listed.stderr
            assert set(there) <= set(listed.stdout.split())


def test_an_operator_launches_and_deletes_by_hand_on_the_other_host(demo: Demo) -> None:
    peer = HOSTS[1]
    launched = demo.lab.exec(
        HOSTS[0], f"lxc launch {peer}:minimal {peer}:by-hand -p demo", timeout=120
    )
    assert launched.returncode == 0, launched.stderr
    assert "by-hand" in demo.lab.exec(peer, "lxc list -f csv -c n").stdout.split()
    assert demo.lab.exec(HOSTS[0], f"lxc delete -f {peer}:by-hand").returncode == 0
    assert "by-hand" not in demo.lab.exec(peer, "lxc list -f csv -c n").stdout.split()


def test_containers_on_different_hosts_reach_each_other_on_layer_2(demo: Demo) -> None:
    demo.inside("web-01", f"ping -c 1 -W 3 {ADDRESSES['web-04']}")
    neighbour = demo.inside("web-01", f"ip neighbour show {ADDRESSES['web-04']}")
    mac = demo.inside("web-04", "cat /sys/class/net/if-demo/address").strip()
    assert mac in neighbour


@pytest.mark.parametrize("container", CONTAINERS)
def test_ssh_logs_in_without_a_host_key_question(demo: Demo, container: str) -> None:
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", str(CLIENT_KEY), "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={demo.state}/known_hosts",
         "-o", "ConnectTimeout=5", f"root@{ADDRESSES[container]}", "hostname"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, container), done.stderr


def test_the_profiles_user_data_ran_in_the_cloud_init_containers(demo: Demo) -> None:
    for container in ("web-02", "web-04"):
        assert "done" in demo.inside(container, "cloud-init status")
        assert "Europe/Amsterdam" in demo.inside(container, "readlink /etc/localtime")
        seen = demo.inside(container, "cloud-init query userdata; python3 --version")
        assert seen.startswith("#cloud-config")
        assert "Python 3" in seen
        log = demo.inside(container, "cat /var/log/cloud-init.log")
        assert "cc_timezone" in log
        assert "config-package-update-upgrade-install ran successfully" in log


def test_the_control_container_is_as_the_description_raises_it(demo: Demo) -> None:
    shown = demo.lab.exec(HOSTS[0], "lxc query /1.0/instances/control").stdout
    control = json.loads(shown)
    assert control["profiles"] == []
    assert demo.inside("control", "cat /sys/class/net/if-demo/address") == "00:16:3e:00:00:a0\n"
    assert "192.168.56.160/24" in demo.inside("control", "ip -o addr show if-demo")


@pytest.mark.parametrize("container", CONTAINERS)
def test_configured_machines_take_no_passwords_and_greet(demo: Demo, container: str) -> None:
    assert "passwordauthentication no" in demo.inside(container, "sshd -T").splitlines()
    assert "Europe/Amsterdam" in demo.inside(container, "readlink /etc/localtime")
    assert container in demo.inside(container, "cat /etc/motd")
    assert "adm" in demo.inside(container, "id -nG operator").split()


def test_a_container_deleted_by_hand_comes_back_and_nothing_else_changes(demo: Demo) -> None:
    assert demo.lab.exec(HOSTS[0], "lxc delete -f web-01").returncode == 0
    report = demo.report()
    assert report["exit"] == 0, report
    expected = dict.fromkeys((*HOSTS, *CONTAINERS), "ok") | {"web-01": "changed"}
    assert statuses(report) == expected


def test_a_host_that_is_off_is_unreachable_and_the_rest_ends_well(demo: Demo) -> None:
    remotes = demo.lab.exec(HOSTS[0], "cat /root/.config/lxc/config.yml").stdout
    demo.lab.power_off(HOSTS[1])
    try:
        report = demo.report()
    finally:
        demo.lab.power_on(HOSTS[1])
    assert report["exit"] == 1
    assert statuses(report) == dict.fromkeys((HOSTS[0], *CONTAINERS[:3]), "ok") | {
        HOSTS[1]: "unreachable", "web-03": "skipped", "web-04": "skipped",
    }  # fmt: skip
    assert HOSTS[1] in messages(report, "web-03")
    assert f"{HOSTS[1]} unreachable" in messages(report, HOSTS[0])
    assert report["hosts"][HOSTS[0]]["edges"][HOSTS[1]] == "unreachable"
    assert demo.lab.exec(HOSTS[0], "cat /root/.config/lxc/config.yml").stdout == remotes


def test_a_limit_changes_only_what_it_selects(demo: Demo) -> None:
    for name in ("web-01", "web-02"):
        demo.inside(name, "rm /root/.hushlogin")
    report = demo.report("--limit", "web-01")
    assert report["exit"] == 0
    assert statuses(report) == {HOSTS[0]: "ok", "web-01": "changed"}
    pending = demo.report("--dry-run")
    assert pending["exit"] == 3
    assert statuses(pending)["web-02"] == "changed"
    assert demo.report("--limit", "web-02")["exit"] == 0


def test_a_limit_that_selects_nothing_names_what_is_near(demo: Demo) -> None:
    done = demo.runbook("provision", "--limit", "web-1")
    assert done.returncode == 2
    assert "web-01" in done.stderr


@pytest.mark.once
def test_quiet_prints_nothing_when_nothing_changed(demo: Demo) -> None:
    done = demo.runbook("provision", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_pipe_gets_plain_lines_and_verbose_the_nested_results(demo: Demo) -> None:
    plain = demo.runbook("provision")
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout
    assert "sidn-demo-01" in plain.stdout
    verbose = demo.runbook("provision", "-v")
    assert "vvvv" in verbose.stdout  # print_result's mark of a grouped task


def test_a_profile_changed_by_hand_is_shown_and_mended(demo: Demo) -> None:
    host = HOSTS[1]
    assert demo.lab.exec(host, "lxc profile device set demo if-demo mtu 1400").returncode == 0
    pending = demo.report("--dry-run")
    assert pending["exit"] == 3
    assert statuses(pending) == dict.fromkeys((*HOSTS, *CONTAINERS), "ok") | {host: "changed"}
    diff = "".join(phase["diff"] for phase in pending["hosts"][host]["phases"])
    assert "mtu" in diff
    assert statuses(demo.report())[host] == "changed"
    profile = yaml.safe_load(demo.lab.exec(host, "lxc profile show demo").stdout)
    assert "mtu" not in profile["devices"]["if-demo"]


NOTEBOOK = """
from tasks import open_fleet, sync_profiles
for dry_run in (True, False):
    nr = open_fleet({inventory!r}, dry_run=dry_run).filter(name="sidn-demo-01")
    result = nr.run(task=sync_profiles)["sidn-demo-01"]
    print(result.failed, result.changed, result[0].result["status"])
    nr.close_connections()
"""


def test_a_notebook_cell_runs_one_task_on_one_host(demo: Demo) -> None:
    assert demo.lab.exec(HOSTS[0], "lxc profile device set demo if-demo mtu 1400").returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK.format(inventory=str(INVENTORY))],
        env=demo.environment(), capture_output=True, text=True, timeout=60, check=False,
        cwd=demo.state_home,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["False True changed", "False True changed"], done.stderr
    assert demo.report()["summary"]["changed"] == 0
    assert not (demo.state_home / "nornir.log").exists()
