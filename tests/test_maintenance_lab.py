"""Maintenance of real containers: packages are built there and come from a source of files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nornir.core import Nornir

from tasks.bootstrap.task import bootstrap_container
from tasks.intent.health import PortCheck, ServiceCheck
from tasks.intent.maintenance import Maintenance, Upgrade
from tasks.intent.model import Bootstrap, Container
from tasks.maintenance.health import check_health
from tasks.maintenance.maintain import maintain
from tasks.maintenance.upgrade.task import upgrade_packages
from tasks.outcome import Record
from tasks.report import Report
from tasks.run import run_of
from tasks.ssh.host_lock import LOCK_FILE
from tests.lab import Lab, client_public_key
from tests.machines import LabContainer, container_of, fleet_of, host_of, lab_container, run_on
from tests.packages import package

pytestmark = pytest.mark.lab

ADDRESSES = {"rep-1": "192.168.56.241", "rep-2": "192.168.56.242"}

#: Takes the lock on FILE as dpkg and apt do (fcntl, not flock), and holds it for five seconds.
HOLD = """
rm -f /run/held
cat >/run/hold <<'END'
use Fcntl;
open(my $file, ">", $ARGV[0]) or die;
my $whole = pack("s! s! x4 q q i x4", F_WRLCK, 0, 0, 0, 0);
fcntl($file, F_SETLK, $whole) or die;
print "held\\n";
close(STDOUT);
sleep 5;
END
perl /run/hold FILE >/run/held 2>&1 </dev/null &
until grep -q . /run/held; do sleep 0.1; done
cat /run/held
"""


#: Has what there is so far be in an archive for security, beside the one that comes after it.
SECURITY = """
set -e
mv /srv/rep /srv/sec
cd /srv/sec
sum=$(sha256sum Packages | cut -d' ' -f1)
echo "Suite: bookworm-security
SHA256:
 $sum $(stat -c %s Packages) Packages" >Release
echo 'deb [trusted=yes] copy:/srv/sec ./' >/srv/security.list
"""


class Machine(LabContainer):
    """A bootstrapped container that gets its packages from files."""

    def build(self, name: str, version: str, script: str = "true") -> None:
        self.inside(package(name, version, script))

    def install(self, name: str, version: str) -> None:
        self.build(name, version)
        self.inside(f"apt-get -q update && apt-get -q install -y {name}")

    def version(self, name: str) -> str:
        return self.inside(f"dpkg-query -W -f '${{Version}}' {name}")


def fleet(state: Path, *containers: Container, dry_run: bool = False, **host: Any) -> Nornir:
    """The containers and their LXD host, which itself is not selected."""
    nr = fleet_of(state, replace(host_of(), **host), *containers, dry_run=dry_run)
    run_of(nr).selected = frozenset(c.name for c in containers)
    return nr


#: With a way back there are tests of their own.
AT_ONCE = Upgrade(way_back=False)


def rep(name: str = "rep-1", **values: Any) -> Container:
    values = {"maintenance": Maintenance(upgrade=AT_ONCE), **values}
    return container_of(name, ADDRESSES[name], **values)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("maintenance")


@pytest.fixture(scope="module")
def machines(lab: Lab, state: Path) -> Iterator[dict[str, Machine]]:
    with ExitStack() as stack:
        found = {}
        for name in ADDRESSES:
            stack.enter_context(lab_container(lab, name))
            found[name] = Machine(lab, name)
            found[name].launch()
        bare = Bootstrap(
            packages=("openssh-server",),
            authorized_keys=(client_public_key().read_text().strip(),),
        )
        nr = fleet(state, *(rep(name, bootstrap=bare) for name in ADDRESSES))
        for name in ADDRESSES:
            booked = run_on(nr, name, bootstrap_container)
            assert booked["status"] == "changed", booked["message"]
        nr.close_connections()
        yield found


@pytest.fixture
def machine(machines: dict[str, Machine]) -> Machine:
    return machines["rep-1"]


def do(state: Path, task: Any, container: Container | None = None, **arguments: Any) -> Record:
    """A task's record on the first container, in a run of its own."""
    nr = fleet(state, container or rep())
    try:
        return run_on(nr, "rep-1", task, **arguments)
    finally:
        nr.close_connections()


def steps(booked: Record) -> list[tuple[str, str, str]]:
    return [(step["action"], step["object"], step["detail"]) for step in booked["steps"]]


def test_a_package_is_really_upgraded_and_its_versions_are_told(
    machine: Machine, state: Path
) -> None:
    machine.install("rep-tool", "1.0")
    do(state, upgrade_packages)  # whatever else there is to do
    machine.build("rep-tool", "2.0")

    unseen = do(state, upgrade_packages, dry_run=True)
    assert (unseen["status"], unseen["steps"]) == ("ok", [])
    assert "lists as they are" in unseen["message"]
    machine.inside("apt-get -q update")
    foreseen = do(state, upgrade_packages, dry_run=True)
    assert steps(foreseen) == [("upgrade", "package rep-tool", "1.0 -> 2.0")]
    assert machine.version("rep-tool") == "1.0"

    done = do(state, upgrade_packages)
    assert done["status"] == "changed"
    assert steps(done) == [("upgrade", "package rep-tool", "1.0 -> 2.0")]
    assert done["diff"] == foreseen["diff"] == "-rep-tool 1.0\n+rep-tool 2.0"
    assert machine.version("rep-tool") == "2.0"
    again = do(state, upgrade_packages)
    assert (again["status"], again["changed"]) == ("ok", False)


def test_a_dry_run_writes_nothing(machine: Machine, state: Path) -> None:
    machine.install("rep-dry", "1.0")
    machine.build("rep-dry", "2.0")
    machine.inside("apt-get -q update; rm -f /var/cache/apt/*.bin")
    look = (
        "ls /run; find / -xdev -path /proc -prune -o -path /sys -prune -o -type f "
        "-not -path '/var/log/*' -not -path '/run/*' -printf '%p %T@ %s\\n' | sort"
    )
    before = machine.inside(look)
    booked = do(state, upgrade_packages, dry_run=True)
    assert booked["changed"]
    assert machine.inside(look) == before


@pytest.mark.parametrize(
    ("lock", "seconds"),
    [
        ("/var/lib/dpkg/lock-frontend", 30),
        ("/var/lib/dpkg/lock", 5),
        ("/var/lib/apt/lists/lock", 5),
    ],
)
def test_a_lock_that_another_process_holds_is_waited_for(
    machine: Machine, state: Path, lock: str, seconds: int
) -> None:
    machine.build("rep-lock", "1.0")
    hold = HOLD.replace("FILE", lock).replace("sleep 5", f"sleep {seconds}")
    assert machine.inside(hold) == "held\n"
    started = time.monotonic()
    booked = do(state, upgrade_packages)
    assert booked["status"] in ("ok", "changed"), booked["message"]
    assert time.monotonic() - started > seconds - 1.5


def test_a_lock_that_is_never_let_go_is_a_clear_failure(machine: Machine, state: Path) -> None:
    assert machine.inside(HOLD.replace("FILE", "/var/lib/dpkg/lock-frontend")) == "held\n"
    started = time.monotonic()
    booked = do(state, upgrade_packages, rep(maintenance=Maintenance(deadline=6, upgrade=AT_ONCE)))
    assert booked["status"] == "failed"
    assert "lock" in booked["message"]
    assert booked["message"].startswith("rep-1: ")
    assert time.monotonic() - started < 5
    time.sleep(4)


def test_a_mirror_that_is_gone_is_a_failure_in_apt_s_words(machine: Machine, state: Path) -> None:
    machine.inside("echo 'deb [trusted=yes] http://192.168.56.1:9/ ./' >/etc/apt/sources.list")
    started = time.monotonic()
    booked = do(state, upgrade_packages)
    machine.build("rep-tool", "2.0")
    assert booked["status"] == "failed"
    assert not booked["changed"]
    assert "apt-get update:" in booked["message"]
    assert "Failed to fetch http://192.168.56.1:9/" in booked["message"]
    assert time.monotonic() - started < 60


def test_an_interrupted_dpkg_is_finished_first(machine: Machine, state: Path) -> None:
    machine.build("rep-half", "1.0", "touch /srv/rep-configured")
    machine.inside("dpkg --unpack /srv/rep/rep-half_1.0_all.deb; test ! -e /srv/rep-configured")
    booked = do(state, upgrade_packages)
    assert booked["status"] in ("ok", "changed"), booked["message"]
    machine.inside('test -e /srv/rep-configured && test -z "$(dpkg --audit)"')


def test_security_alone_and_held_packages(machine: Machine, state: Path) -> None:
    """A package that security has, one that only others have, one that both have, one that is held
    though security has it."""
    names = ("sec-only", "rep-only", "sec-both", "sec-held")
    for name in names:
        machine.install(name, "1.0")
    for name in ("sec-only", "sec-both", "sec-held"):
        machine.build(name, "1.1")
    machine.inside(SECURITY)
    for name in ("rep-only", "sec-both"):
        machine.build(name, "2.0")
    machine.inside("cat /srv/security.list >>/etc/apt/sources.list; apt-get -q update")
    rules = Upgrade(kind="security", hold=("sec-h*",), way_back=False)
    wanted = rep(maintenance=Maintenance(upgrade=rules))
    expected = [("upgrade", f"package {name}", "1.0 -> 1.1") for name in ("sec-both", "sec-only")]
    assert sorted(steps(do(state, upgrade_packages, wanted, dry_run=True))) == expected
    assert steps(do(state, upgrade_packages, wanted)) == expected
    assert steps(do(state, upgrade_packages, wanted)) == []
    found = {name: machine.version(name) for name in names}
    assert found == {"sec-only": "1.1", "sec-both": "1.1", "sec-held": "1.0", "rep-only": "1.0"}
    assert machine.inside("apt-mark showhold") == ""
    machine.inside(f"apt-get -q -y purge {' '.join(names)}; rm -r /srv/sec /srv/security.list")


def test_an_upgrade_that_fails_half_way_tells_both(machine: Machine, state: Path) -> None:
    machine.install("rep-bad", "1.0")
    machine.build("rep-bad", "2.0", "echo it will not do >&2; exit 1")
    booked = do(state, upgrade_packages)
    assert booked["status"] == "failed"
    assert ("upgrade", "package rep-bad", "1.0 -> 2.0") in steps(booked)
    assert booked["changed"]
    assert "rep-bad" in booked["message"]
    machine.inside("dpkg --purge --force-all rep-bad; rm /srv/rep/rep-bad*")
    machine.build("rep-tool", "2.0")


def test_a_daemon_left_by_an_upgrade_does_not_hold_it_up(machine: Machine, state: Path) -> None:
    machine.install("rep-daemon", "1.0")
    machine.build("rep-daemon", "2.0", "sleep 20 &")
    started = time.monotonic()
    booked = do(state, upgrade_packages)
    assert booked["status"] == "changed", booked["message"]
    assert time.monotonic() - started < 15


def test_health_of_a_machine_that_is_well_and_of_one_that_is_not(
    machine: Machine, state: Path
) -> None:
    checks = (ServiceCheck("ssh"), PortCheck(22))
    well = do(state, check_health, rep(health=checks))
    assert well["status"] == "ok", well["message"]
    assert "disk" in well["message"]
    machine.inside("systemd-run --unit=rep-broken --wait false || true")
    more = (*checks, PortCheck(81), ServiceCheck("cron-not-here"))
    ill = do(state, check_health, rep(health=more))
    machine.inside("systemctl reset-failed")
    assert ill["status"] == "failed"
    assert ill["message"] == (
        "rep-1: failed units: rep-broken.service; nothing listens on TCP port 81; "
        "service cron-not-here is inactive"
    )


def statuses(report: Report) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(phase["phase"], phase["status"]) for phase in host.phases]
        for name, host in report.hosts.items()
    }


def maintained(nr: Nornir, *jobs: str) -> Report:
    """A maintenance whose locks and connections are gone afterwards."""
    try:
        return maintain(nr, jobs)
    finally:
        for host in nr.inventory.hosts.values():
            host.close_connections()


def test_a_fleet_is_upgraded_then_has_nothing_to_do(
    machines: dict[str, Machine], state: Path
) -> None:
    for machine in machines.values():
        machine.install("rep-fleet", "1.0")
        machine.build("rep-fleet", "2.0")
    containers = [rep(name, apart="pair") for name in machines]
    report = maintained(fleet(state, *containers), "upgrade")
    changed = [("upgrade", "changed"), ("health", "ok")]
    assert statuses(report) == {
        "sidn-demo-02": [("check", "ok")],
        "rep-1": changed,
        "rep-2": changed,
    }
    assert report.exit_status() == 0
    assert {machine.version("rep-fleet") for machine in machines.values()} == {"2.0"}
    second = maintained(fleet(state, *containers), "upgrade")
    assert not second.changed
    assert statuses(second)["rep-1"] == [("upgrade", "ok")]


def test_a_service_that_an_upgrade_breaks_keeps_its_pair_from_it(
    machines: dict[str, Machine], state: Path
) -> None:
    for machine in machines.values():
        machine.install("rep-service", "1.0")
        machine.build("rep-service", "2.0", "systemd-run --unit=rep-service --wait false || true")
    containers = [rep(name, apart="pair") for name in machines]
    report = maintained(fleet(state, *containers), "upgrade")
    assert statuses(report)["rep-1"] == [("upgrade", "changed"), ("health", "failed")]
    assert statuses(report)["rep-2"] == [("upgrade", "skipped")]
    assert (
        report.hosts["rep-2"].phases[0]["message"].startswith("rep-1 of its group pair has failed")
    )
    assert machines["rep-2"].version("rep-service") == "1.0"
    assert report.exit_status() == 1
    machines["rep-1"].inside("systemctl reset-failed")
    for machine in machines.values():
        machine.inside("dpkg --purge rep-service; rm /srv/rep/rep-service*")
        machine.build("rep-tool", "2.0")


def test_a_stopped_container_is_not_well_and_the_others_go_on(
    machines: dict[str, Machine], state: Path
) -> None:
    machines["rep-2"].lxc("stop -f rep-2")
    try:
        report = maintained(fleet(state, *(rep(name) for name in machines)), "health")
    finally:
        machines["rep-2"].lxc("start rep-2")
    assert statuses(report)["rep-1"] == [("health", "ok")]
    assert statuses(report)["rep-2"] == [("health", "failed")]
    why = "it is stopped on sidn-demo-02, declared running"
    assert report.hosts["rep-2"].phases[0]["message"] == why
    assert report.exit_status() == 1


def test_a_second_controller_does_nothing_while_the_first_holds_the_host(
    lab: Lab, machine: Machine, state: Path
) -> None:
    hold = f"""
        echo "1 token somebody else" >{LOCK_FILE}
        flock {LOCK_FILE} sleep 8 </dev/null >/dev/null 2>&1 &
        while flock -n {LOCK_FILE} true; do sleep 0.1; done
    """
    assert lab.exec("sidn-demo-02", hold, timeout=20).returncode == 0
    reading = maintained(fleet(state, rep()), "health")
    report = maintained(fleet(state, rep()), "upgrade")
    assert report.exit_status() == 4
    (left_out,) = report.hosts["rep-1"].phases
    assert (left_out["status"], left_out["changed"]) == ("skipped", False)
    assert left_out["message"] == "nothing was done: another run works on an LXD host of this one"
    assert "somebody else" in report.hosts["sidn-demo-02"].phases[0]["message"]
    assert reading.exit_status() == 0
    lab.exec("sidn-demo-02", f"flock -w 10 {LOCK_FILE} true", timeout=20)


def test_containers_of_a_host_that_is_gone_are_skipped(machine: Machine, tmp_path: Path) -> None:
    gone = replace(host_of().ssh, port=9)
    report = maintained(fleet(tmp_path, rep(), ssh=gone), "health")
    assert statuses(report) == {
        "sidn-demo-02": [("check", "unreachable")],
        "rep-1": [("check", "skipped")],
    }
    assert report.hosts["rep-1"].phases[0]["message"] == "its LXD host sidn-demo-02 is unreachable"
    assert report.exit_status() == 1
