"""Reboots of the demo fleet: of those that need one, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tasks import open_fleet, reboot_machine
from tasks.containers import writes
from tests.demo import ADDRESSES, HOSTS, WEBS, Demo, change, messages, statuses
from tests.lab import HOST_ADDRESSES, LabError

pytestmark = pytest.mark.lab

NEEDED = "touch /run/reboot-required; echo libc6 >/run/reboot-required.pkgs"
NO_MORE = "rm -f /run/reboot-required*"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id; sed 's/.*) //' /proc/1/stat | cut -d' ' -f20"
#: Inside: it does not obey when it is told to shut down.
OBSTINATE = "systemctl mask halt.target poweroff.target"
OBEDIENT = "systemctl unmask halt.target poweroff.target"
#: On an LXD host, until it boots anew: a reboot switches it off.
SWITCHED_OFF = (
    "ln -s /lib/systemd/system/poweroff.target /run/systemd/system/reboot.target && "
    "systemctl daemon-reload"
)
UP = 60


def maintain(demo: Demo, inventory: Path, *arguments: str) -> dict[str, Any]:
    done = demo.runbook("maintain", *arguments, "--json", "-", inventory=inventory)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "exit": done.returncode}


def boots(demo: Demo) -> dict[str, str]:
    hosts = {host: demo.lab.exec(host, BOOT_ID).stdout for host in HOSTS}
    return {**hosts, **{web: boot_in(demo, web) for web in WEBS}}


def boot_in(demo: Demo, web: str) -> str:
    """LXD 5.0.2 loses the output of an exec now and then, on a machine that is busy."""
    said = (demo.inside(web, BOOT_ID) for _ in range(5))
    return next(filter(None, said))


def rebooted(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if after[name] != before[name]}


def changed(report: dict[str, Any]) -> set[str]:
    return {name for name, status in statuses(report).items() if status == "changed"}


def apart_by_two(inventory: Path) -> None:
    """One of each pair on each host."""

    def apart(hosts: dict[str, Any]) -> None:
        for name, group in zip(WEBS, ("odd", "even", "odd", "even"), strict=True):
            hosts[name]["data"]["apart"] = group

    change(inventory, "hosts.yaml", apart)


def test_only_those_that_need_it_and_with_a_new_boot(demo: Demo, inventory: Path) -> None:
    before = boots(demo)
    demo.inside("web-01", NEEDED)
    demo.lab.exec(HOSTS[1], NEEDED)
    dry = maintain(demo, inventory, "reboot", "--dry-run")
    assert (dry["exit"], changed(dry)) == (3, {"web-01", HOSTS[1]})
    assert boots(demo) == before

    report = maintain(demo, inventory, "reboot")
    assert report["exit"] == 0, [messages(report, name) for name in report["hosts"]]
    assert changed(report) == {"web-01", HOSTS[1]}
    for name in ("web-01", HOSTS[1]):
        phases = {p["phase"]: p for p in report["hosts"][name]["phases"]}
        assert phases["reboot"]["steps"] == [
            {"action": "reboot", "object": f"machine {name}", "detail": "libc6"}
        ]
        assert phases["health"]["status"] == "ok"
    # what ran on the host runs again
    assert rebooted(before, boots(demo)) == {"web-01", HOSTS[1], "web-03", "web-04"}
    quiet = demo.runbook("maintain", "reboot", "--quiet", inventory=inventory)
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert demo.report()["summary"]["changed"] == 0


def test_what_does_not_start_with_its_host_is_started_where_it_is_declared(
    demo: Demo, inventory: Path
) -> None:
    host = HOSTS[1]
    demo.lab.exec(host, "lxc config set web-03 boot.autostart=false", timeout=60)
    demo.lab.exec(host, NEEDED)
    before = boots(demo)
    report = maintain(demo, inventory, "reboot", "--limit", host)
    demo.lab.exec(host, "lxc config unset web-03 boot.autostart", timeout=60)
    assert (report["exit"], changed(report)) == (0, {host}), messages(report, host)
    assert rebooted(before, boots(demo)) == {host, "web-03", "web-04"}
    assert demo.report()["summary"]["changed"] == 0


def test_a_container_without_ssh_is_restarted_and_proven_through_its_host(
    demo: Demo, inventory: Path
) -> None:
    before = boots(demo)
    demo.inside("web-03", f"systemctl disable --now ssh.service; {NEEDED}")
    report = maintain(demo, inventory, "reboot", "--limit", "web-03")
    entry = {p["phase"]: p for p in report["hosts"]["web-03"]["phases"]}
    assert entry["reboot"]["status"] == "changed", entry
    assert f"through lxc exec on {HOSTS[1]}" in entry["reboot"]["message"]
    assert entry["health"]["status"] == "failed"  # SSH does not answer, before it and after it
    assert rebooted(before, boots(demo)) == {"web-03"}
    demo.inside("web-03", "systemctl enable --now ssh.service")
    assert demo.report()["exit"] == 0


def test_one_that_does_not_shut_down_goes_on_and_so_do_the_others(
    demo: Demo, inventory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(demo.state_home))
    monkeypatch.setattr(writes, "STOP_TIMEOUT", 3)
    apart_by_two(inventory)
    before = boots(demo)
    for name in ("web-01", "web-04"):
        demo.inside(name, NEEDED)
    demo.inside("web-01", OBSTINATE)
    nr = open_fleet(inventory)
    both = nr.filter(filter_func=lambda host: host.name in ("web-01", "web-04"))
    result = both.run(task=reboot_machine)
    nr.close_connections()
    entries = {name: result[name][0].result for name in ("web-01", "web-04")}
    assert {n: e["status"] for n, e in entries.items()} == {"web-01": "failed", "web-04": "changed"}
    assert "restart it by hand" in entries["web-01"]["message"]
    assert rebooted(before, boots(demo)) == {"web-04"}
    demo.inside("web-01", f"{OBEDIENT}; {NO_MORE}")
    demo.lab.exec(HOSTS[0], "lxc restart --force web-01", timeout=90)
    until_answering(demo, "web-01")
    assert demo.report()["exit"] == 0


def test_packages_that_are_being_installed_are_not_interrupted(demo: Demo, inventory: Path) -> None:
    before = boots(demo)
    demo.inside(
        "web-01",
        f"{NEEDED}; setsid -f sh -c 'exec 9>/var/lib/dpkg/lock-frontend; echo $$ >/run/holder; "
        "exec sleep 60' >/dev/null 2>&1 </dev/null; until [ -s /run/holder ]; do sleep 0.1; done",
    )
    report = maintain(demo, inventory, "reboot", "--limit", "web-01")
    assert report["exit"] == 1
    assert "is left running: packages are being installed there" in messages(report, "web-01")
    assert rebooted(before, boots(demo)) == set()
    demo.inside("web-01", f"{NO_MORE}; kill $(cat /run/holder)")


def test_two_that_are_apart_are_never_both_out_of_service(demo: Demo, inventory: Path) -> None:
    """Both hosts need it, and one of each pair: proven from a log of every second."""
    apart_by_two(inventory)
    before = boots(demo)
    for name in ("web-02", "web-03"):
        demo.inside(name, NEEDED)
    for host in HOSTS:
        demo.lab.exec(host, NEEDED)
    with logging_who_answers() as log:
        report = maintain(demo, inventory, "reboot")
    assert report["exit"] == 0, [messages(report, name) for name in report["hosts"]]
    assert changed(report) == {*HOSTS, "web-02", "web-03"}
    assert rebooted(before, boots(demo)) == {*HOSTS, *WEBS}
    assert {name for answering in log for name in set(WEBS) - answering} == set(WEBS)
    for pair in (("web-01", "web-03"), ("web-02", "web-04")):
        assert not [answering for answering in log if not answering & set(pair)], pair


def test_a_host_whose_partner_is_down_is_left_running(demo: Demo, inventory: Path) -> None:
    apart_by_two(inventory)
    before = boots(demo)
    demo.lab.exec(HOSTS[1], "lxc stop web-03 --timeout 60", timeout=90)
    demo.lab.exec(HOSTS[0], NEEDED)
    report = maintain(demo, inventory, "reboot", "--limit", HOSTS[0])
    demo.lab.exec(HOSTS[1], "lxc start web-03", timeout=60)
    demo.lab.exec(HOSTS[0], NO_MORE)
    assert "is left running: web-03 of the group odd does not run" in messages(report, HOSTS[0])
    until_answering(demo, "web-03")
    assert rebooted(before, boots(demo)) == {"web-03"}


@pytest.mark.parametrize("moment", ["told to reboot", "down", "up again"])
def test_a_run_that_is_killed_leaves_a_host_that_comes_back_and_nothing_to_do(
    demo: Demo, inventory: Path, moment: str
) -> None:
    host = HOSTS[1]
    before = boots(demo)
    demo.lab.exec(host, NEEDED)
    run = demo.start("maintain", "reboot", "--limit", host, inventory=inventory)
    reached: dict[str, Callable[[], bool]] = {
        "told to reboot": lambda: "reboot" in demo.lab.exec(host, "systemctl list-jobs").stdout,
        "down": lambda: not reachable(HOST_ADDRESSES[host]),
        "up again": lambda: answers_anew(demo, host, before[host]),
    }
    until = time.monotonic() + UP
    while not reached[moment]():
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    while not answers_anew(demo, host, before[host]):
        assert time.monotonic() < until
        time.sleep(0.5)
    for web in WEBS[2:]:
        until_answering(demo, web)
    report = maintain(demo, inventory, "reboot", "health")
    assert (report["exit"], changed(report)) == (0, set()), messages(report, host)
    assert rebooted(before, boots(demo)) == {host, "web-03", "web-04"}
    assert demo.report()["summary"]["changed"] == 0


def test_a_host_that_does_not_come_back_fails_in_time_and_the_others_go_on(
    demo: Demo, inventory: Path
) -> None:
    gone = HOSTS[1]

    def hurry(hosts: dict[str, Any]) -> None:
        hosts[gone]["data"]["maintenance"] = {"deadline": 15}
        for web in WEBS:
            hosts[web]["data"]["apart"] = web

    change(inventory, "hosts.yaml", hurry)
    before = boots(demo)
    demo.inside("web-01", NEEDED)
    demo.lab.exec(HOSTS[0], NEEDED)
    assert demo.lab.exec(gone, f"{NEEDED}; {SWITCHED_OFF}").returncode == 0
    report = maintain(demo, inventory, "reboot")
    demo.lab.up(hosts=2)
    for web in WEBS:
        until_answering(demo, web)
    assert report["exit"] == 1
    told = "no other boot of it answers 15 s after it was told to reboot ("
    assert told in messages(report, gone)
    assert statuses(report)[gone] == "failed"
    assert changed(report) == {"web-01", HOSTS[0]}
    seconds = next(p["seconds"] for p in report["hosts"][gone]["phases"] if p["phase"] == "reboot")
    assert seconds < 15 + UP
    assert rebooted(before, boots(demo)) == {*HOSTS, *WEBS}
    assert demo.report()["exit"] == 0


#: Inside: what its drain and undrain were told, with the boot they were told it in.
WORK = "/var/log/work"
SAID = "echo {} $(sed 's/.*) //' /proc/1/stat | cut -d' ' -f20) >>" + WORK


def draining(inventory: Path, *webs: str, drain: str = SAID.format("drain")) -> None:
    def drained(hosts: dict[str, Any]) -> None:
        for web in webs:
            upkeep = {"drain": drain, "undrain": SAID.format("undrain")}
            hosts[web]["data"]["maintenance"] = upkeep

    change(inventory, "hosts.yaml", drained)


def worked(demo: Demo, web: str) -> list[tuple[str, bool]]:
    """What it was told since it was last asked, each with whether that was in its present boot."""
    boot = boot_in(demo, web).split()[1]
    lines = demo.inside(web, f"cat {WORK}; rm -f {WORK}").splitlines()
    return [(what, told == boot) for what, _, told in (line.partition(" ") for line in lines)]


def marks(demo: Demo, web: str) -> str:
    host = HOSTS[WEBS.index(web) >= 2]
    return demo.lab.exec(host, f"lxc config get {web} user.nornir-lxd-fleet.drained").stdout.strip()


def test_who_has_calls_is_drained_before_its_reboot_and_undrained_after_it(
    demo: Demo, inventory: Path
) -> None:
    draining(inventory, "web-01", "web-02")
    before = boots(demo)
    demo.inside("web-01", NEEDED)
    report = maintain(demo, inventory, "reboot")
    assert (report["exit"], changed(report)) == (0, {"web-01"}), messages(report, "web-01")
    assert worked(demo, "web-01") == [("drain", False), ("undrain", True)]
    demo.lab.exec(HOSTS[0], NEEDED)
    report = maintain(demo, inventory, "reboot")
    assert (report["exit"], changed(report)) == (0, {HOSTS[0]}), messages(report, HOSTS[0])
    for web in ("web-01", "web-02"):
        assert worked(demo, web) == [("drain", False), ("undrain", True)], web
        assert marks(demo, web) == ""
    assert rebooted(before, boots(demo)) == {HOSTS[0], "web-01", "web-02"}


def test_who_cannot_be_drained_keeps_its_host_running(demo: Demo, inventory: Path) -> None:
    draining(inventory, "web-01")
    draining(inventory, "web-02", drain="echo calls >&2; exit 3")
    before = boots(demo)
    demo.inside("web-02", NEEDED)
    demo.lab.exec(HOSTS[0], NEEDED)
    for name in ("web-02", HOSTS[0]):
        report = maintain(demo, inventory, "reboot", "--limit", name)
        assert report["exit"] == 1
        assert "web-02: draining it failed with exit status 3: calls" in messages(report, name)
    demo.lab.exec(HOSTS[0], NO_MORE)
    demo.inside("web-02", NO_MORE)
    assert rebooted(before, boots(demo)) == set()
    assert worked(demo, "web-01") == [("drain", True), ("undrain", True)]
    assert worked(demo, "web-02") == [("undrain", True)] * 2
    assert (marks(demo, "web-01"), marks(demo, "web-02")) == ("", "")


@pytest.mark.parametrize("job", ["reboot", "upgrade"])
def test_what_a_killed_run_has_drained_gets_its_work_again(
    demo: Demo, inventory: Path, job: str
) -> None:
    draining(inventory, "web-01", drain=f"{SAID.format('drain')}; sleep 60")
    demo.inside("web-01", NEEDED)
    run = demo.start("maintain", "reboot", "--limit", "web-01", inventory=inventory)
    until = time.monotonic() + UP
    while not demo.inside("web-01", f"cat {WORK} 2>/dev/null || true"):
        assert time.monotonic() < until
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=30)
    demo.inside("web-01", NO_MORE)
    assert marks(demo, "web-01").startswith("web-01 20")
    dry = maintain(demo, inventory, job, "--limit", "web-01", "--dry-run")
    assert (dry["exit"], marks(demo, "web-01") != "") == (3, True)
    report = maintain(demo, inventory, job, "--limit", "web-01")
    assert report["exit"] == 0, messages(report, "web-01")
    steps = [step for p in report["hosts"]["web-01"]["phases"] for step in p["steps"]]
    assert [(step["action"], step["object"]) for step in steps] == [("undrain", "container web-01")]
    assert [what for what, _ in worked(demo, "web-01")] == ["drain", "undrain"]
    assert marks(demo, "web-01") == ""
    assert maintain(demo, inventory, job, "--limit", "web-01")["summary"]["changed"] == 0


@contextmanager
def logging_who_answers() -> Iterator[list[set[str]]]:
    """Which of the four take a connection, all asked at once, at least every 1.5 s."""
    log: list[set[str]] = []
    ended = threading.Event()

    def watch() -> None:
        with ThreadPoolExecutor(len(WEBS)) as pool:
            while not ended.wait(0.3):
                answers = pool.map(lambda web: reachable(ADDRESSES[web]), WEBS)
                log.append({web for web, there in zip(WEBS, answers, strict=True) if there})

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield log
    finally:
        ended.set()
        watching.join()


def reachable(address: str) -> bool:
    """Whether its sshd takes a connection."""
    with suppress(OSError), socket.create_connection((address, 22), timeout=1):
        return True
    return False


def answers_anew(demo: Demo, host: str, before: str) -> bool:
    try:
        done = demo.lab.exec(host, BOOT_ID, timeout=20)
    except LabError:
        return False  # off, between two boots
    return bool(done.returncode == 0 and done.stdout not in ("", before))


def until_answering(demo: Demo, web: str) -> None:
    until = time.monotonic() + UP
    while not reachable(ADDRESSES[web]):
        assert time.monotonic() < until
    demo.inside(web, "systemctl is-system-running --wait; true")
