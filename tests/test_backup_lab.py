"""Backups of real containers on another host, and a wiped host's containers raised on the other.

The tests stand in the order in which a fleet lives, and build on each other.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.obstacles import LEAST_FREE
from tests.backup_site import (
    BOX,
    CLOUD,
    DATA,
    FIRST,
    FOLDER,
    OTHER,
    SECOND,
    BackupSite,
    backup_site,
)
from tests.killed_backup import BACKUP_STAGES, REPLACE_STAGES, RESTORE_STAGES
from tests.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackupSite]:
    with backup_site(lab, tmp_path_factory.mktemp("backup")) as found:
        yield found


def phase(report: dict[str, Any], name: str, job: str) -> dict[str, Any]:
    (found,) = [p for p in report["hosts"][name]["phases"] if p["phase"] == job]
    entry: dict[str, Any] = found
    return entry


def steps(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["action"], step["object"]) for step in entry["steps"]]


def clear_kept(site: BackupSite) -> None:
    """Remove what replacements of ``DATA`` have kept."""
    lxc = "export LXD_CONF=/run/site; lxc"
    for name, instance in site.fleet.left(FIRST).instances.items():
        if name.startswith(f"{DATA}-replaced-"):
            volume = instance["devices"]["calls"]["source"]
            site.fleet.sh(
                FIRST, f"{lxc} delete {name}; {lxc} storage volume delete default {volume}"
            )


def test_containers_are_backed_up_with_their_volumes(site: BackupSite) -> None:
    site.over_ssh(DATA, "echo call 1 >/srv/calls/log; echo one >/root/note; sync")
    dry = site.maintain("backup", "--dry-run")
    assert dry["exit"] == 3
    assert site.kept(DATA, SECOND) == {}
    report = site.maintain("backup")
    assert report["exit"] == 0, report["hosts"]
    for name, keeper in ((DATA, SECOND), (CLOUD, SECOND), (OTHER, FIRST)):
        (manifest,) = site.kept(name, keeper).values()
        moment = manifest["moment"]
        entry = phase(report, name, "backup")
        assert steps(entry) == [("create", f"backup {moment}")]
        assert entry["steps"][0]["detail"].startswith(f"on {keeper}: container ")
        assert entry["message"] == "its files are those read while it ran"  # on dir
        assert [(p["pool"], p["volume"]) for p in manifest["parts"]] == [("default", "")] + [
            ("default", "calls")
        ] * (name == DATA)
        folder = f"{FOLDER}/ten/{name}/{moment}"
        for part in manifest["parts"]:
            found = site.fleet.sh(
                keeper, f"cd {folder}; sha256sum {part['file']}; wc -c {part['file']}"
            )
            assert found.split() == [
                part["sha256"], part["file"], str(part["bytes"]), part["file"]
            ]  # fmt: skip
        assert {line.rsplit(" ", 1)[1] for line in site.files(name, keeper)} == {"700", "600"}
    assert site.exports(FIRST) == site.exports(SECOND) == []
    assert "MB" in phase(report, DATA, "backup")["steps"][0]["detail"]


def test_only_what_is_ours_and_not_kept_goes_and_never_the_newest(site: BackupSite) -> None:
    (first,) = site.kept(OTHER, FIRST)
    site.declare(keep={"last": 1})
    theirs = f"{FOLDER}/ten/{OTHER}/before-my-work"
    site.fleet.sh(FIRST, f"mkdir {theirs}; echo mine >{theirs}/manifest")
    report = site.maintain("backup", "--limit", OTHER)
    assert report["exit"] == 0, report["hosts"]
    (second,) = [moment for moment in site.kept(OTHER, FIRST) if moment != first]
    assert steps(phase(report, OTHER, "backup")) == [
        ("create", f"backup {second}"),
        ("delete", f"backup {first}"),
    ]
    assert sorted(site.fleet.sh(FIRST, f"ls {FOLDER}/ten/{OTHER}").split()) == [
        second, "before-my-work"
    ]  # fmt: skip
    assert site.fleet.sh(FIRST, f"cat {theirs}/manifest; rm -r {theirs}") == "mine\n"
    site.declare()


def test_without_room_nothing_is_written(site: BackupSite) -> None:
    for host, place in ((FIRST, FOLDER), (SECOND, "/var/lib/lxd/backups")):
        before = site.files(OTHER, FIRST)
        enter = "nsenter -t $(systemctl show -p MainPID --value lxd) -m --"
        site.fleet.sh(host, f"{enter} mount -t tmpfs -o size=100m tmpfs {place}; mount")
        report = site.maintain("backup", "--limit", OTHER)
        site.fleet.sh(host, f"{enter} umount {place}")
        entry = phase(report, OTHER, "backup")
        assert (report["exit"], entry["status"], entry["changed"]) == (1, "failed", False)
        said = entry["message"]
        assert f"{host}: no room in {place}" in said
        assert " bytes are needed (" in said
        assert " are free (104.9 MB)" in said
        assert site.files(OTHER, FIRST) == before


def test_what_a_half_backup_takes_is_no_lack_of_room(site: BackupSite) -> None:
    place = f"{FOLDER}/ten/{OTHER}"
    site.fleet.sh(FIRST, f"mkdir -p {place}; mount -t tmpfs -o size=260m,mode=700 tmpfs {place}")
    killed = site.killed("first file there", OTHER, "backup", "--limit", OTHER)
    assert killed == -signal.SIGKILL
    left = int(site.fleet.sh(FIRST, f"df --output=avail -B1 {place} | tail -1"))
    report = site.maintain("backup", "--limit", OTHER)
    whole = site.kept(OTHER, FIRST)
    site.fleet.sh(FIRST, f"umount {place}")
    assert report["exit"] == 0, report["hosts"]
    (manifest,) = whole.values()
    assert manifest["parts"][0]["size"] + LEAST_FREE > left  # beside the half


@pytest.mark.parametrize("stage", BACKUP_STAGES)
def test_a_backup_that_is_killed_is_cleared_away_by_the_next(site: BackupSite, stage: str) -> None:
    before = set(site.kept(DATA, SECOND))
    assert site.killed(stage, DATA, "backup", "--limit", DATA) == -signal.SIGKILL
    between = set(site.kept(DATA, SECOND))
    assert len(between - before) == (stage == "kept")
    report = site.maintain("backup", "--limit", DATA)
    assert report["exit"] == 0, report["hosts"]
    after = site.kept(DATA, SECOND)
    assert len(after.keys() - between) == 1
    folders = site.fleet.sh(SECOND, f"ls {FOLDER}/ten/{DATA}").split()
    assert sorted(folders) == sorted(after)  # no half is left
    assert site.exports(FIRST) == []
    assert site.fleet.left(FIRST).operations == []
    assert site.instance(FIRST, DATA)["status"] == "Running"  # type: ignore[index]


def test_an_export_that_a_dead_client_left_in_lxd_goes_and_an_operators_stays(
    site: BackupSite,
) -> None:
    path = f"/1.0/instances/{CLOUD}/backups"
    lxc = "LXD_CONF=/run/site lxc query --wait -X"
    make = f"{lxc} POST {path} -d"
    mine = '{"name": "mine", "instance_only": true}'
    site.fleet.sh(FIRST, f"{make} '{mine}'", timeout=200)
    assert site.killed("begun", CLOUD, "backup", "--limit", CLOUD) == -signal.SIGKILL
    # what a client leaves that dies with its machine
    site.fleet.sh(FIRST, f"{make} '{{\"instance_only\": true}}'", timeout=200)
    assert sorted(path.rsplit("/", 1)[1] for path in site.exports(FIRST)) == ["backup0", "mine"]
    report = site.maintain("backup", "--limit", CLOUD)
    assert report["exit"] == 0, report["hosts"]
    assert ("delete", "export backup0") in steps(phase(report, CLOUD, "backup"))
    assert [path.rsplit("/", 1)[1] for path in site.exports(FIRST)] == ["mine"]
    site.fleet.sh(FIRST, f"{lxc} DELETE {path}/mine")


def test_a_container_that_is_there_is_not_overwritten(site: BackupSite) -> None:
    report = site.maintain("restore", "--limit", DATA)
    entry = phase(report, DATA, "restore")
    assert (report["exit"], entry["changed"]) == (1, False)
    assert (
        f"container {DATA} is on {FIRST}, and nothing is overwritten; with --replace"
        in (entry["message"])
    )
    elsewhere = site.maintain("restore", "--limit", DATA, "--to", SECOND)
    assert elsewhere["exit"] == 1
    assert (
        f"{DATA}: it runs on {FIRST}: two machines would have its addresses"
        in (phase(elsewhere, DATA, "restore")["message"])
    )
    assert site.fleet.runbook("maintain", "restore").returncode == 2
    assert site.fleet.runbook("maintain", "restore", "upgrade", "--limit", DATA).returncode == 2


def test_a_container_and_its_volume_are_replaced_over_the_remote(site: BackupSite) -> None:
    identity = site.identity(DATA)
    site.over_ssh(DATA, "echo lost >>/srv/calls/log; sync")
    report = site.maintain("restore", "--limit", DATA, "--replace")
    entry = phase(report, DATA, "restore")
    assert report["exit"] == 0, entry
    assert [action for action, _ in steps(entry)] == [
        "restore", "restore", "rename", "rename", "place", "place", "start"
    ]  # fmt: skip
    assert site.over_ssh(DATA, "cat /srv/calls/log /root/note") == "call 1\none\n"
    assert site.identity(DATA) == identity
    (kept,) = [n for n in site.fleet.left(FIRST).instances if n.startswith(f"{DATA}-replaced-")]
    former, now = site.instance(FIRST, kept), site.instance(FIRST, DATA)
    assert former is not None
    assert now is not None
    assert former["status"] == "Stopped"
    assert not [key for key in former["config"] if key.endswith(".hwaddr")]
    volume = former["devices"]["calls"]["source"]
    assert volume.startswith("calls-replaced-")
    assert now["devices"]["calls"]["source"] == "calls"
    clear_kept(site)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", REPLACE_STAGES)
def test_a_replacement_that_is_killed_is_finished_by_the_next(site: BackupSite, stage: str) -> None:
    site.over_ssh(DATA, "echo lost >>/srv/calls/log; sync")
    words = ("restore", "--limit", DATA, "--replace")
    assert site.killed(stage, DATA, *words) == -signal.SIGKILL
    between = site.instance(FIRST, DATA) or {"status": "gone"}
    assert between["status"] == {"container marked": "Running", "container placed": "Stopped"}.get(
        stage, "gone"
    )
    report = site.maintain(*words)
    assert report["exit"] == 0, report["hosts"]
    assert site.over_ssh(DATA, "cat /srv/calls/log /root/note") == "call 1\none\n"
    instances = site.fleet.left(FIRST).instances
    (kept,) = [name for name in instances if name not in (DATA, CLOUD)]
    volume = instances[kept]["devices"]["calls"]["source"]
    assert volume.startswith("calls-replaced-")
    lxc = "export LXD_CONF=/run/site; lxc"
    listed = site.fleet.sh(FIRST, f"{lxc} storage volume list default -f csv | grep ^custom")
    assert sorted(line.split(",")[1] for line in listed.splitlines()) == ["calls", volume]
    clear_kept(site)


def test_one_that_was_not_proven_gives_way_to_another_backup(site: BackupSite) -> None:
    earlier = max(site.kept(DATA, SECOND))
    assert site.maintain("backup", "--limit", DATA)["exit"] == 0
    words = ("restore", "--limit", DATA)
    assert site.killed("to be started", DATA, *words, "--replace") == -signal.SIGKILL
    refused = site.maintain(*words, "--backup", earlier)
    assert "and nothing is overwritten" in phase(refused, DATA, "restore")["message"]
    report = site.maintain(*words, "--backup", earlier, "--replace")
    assert report["exit"] == 0, report["hosts"]
    now = site.instance(FIRST, DATA)
    assert now is not None
    assert now["config"]["user.nornir-lxd-fleet.restored"] == f"{DATA} {earlier} done"
    assert site.over_ssh(DATA, "cat /srv/calls/log /root/note") == "call 1\none\n"
    clear_kept(site)


def test_a_wiped_host_is_raised_on_the_other_with_one_command(site: BackupSite) -> None:
    moments = sorted(site.kept(DATA, SECOND))
    identity = {name: site.identity(name) for name in (DATA, CLOUD)}
    site.over_ssh(DATA, "echo call 2 >>/srv/calls/log; sync")
    report = site.maintain("backup", "--limit", f"on={FIRST}")
    assert report["exit"] == 0, report["hosts"]
    newest = max(site.kept(DATA, SECOND))
    damage = f"printf x | dd of={FOLDER}/ten/{DATA}/{newest}/volume-1 bs=1 seek=9 conv=notrunc"
    site.fleet.sh(SECOND, damage)
    site.lab.reset(FIRST)

    lost = ("restore", "--limit", f"on={FIRST}", "--to", SECOND)
    foreseen = site.maintain(*lost, "--dry-run")
    assert foreseen["exit"] == 3
    assert set(site.fleet.left(SECOND).instances) == {OTHER}
    report = site.maintain(*lost)
    assert report["exit"] == 1
    assert report["hosts"][CLOUD]["status"] == "changed", phase(report, CLOUD, "restore")
    entry = phase(report, DATA, "restore")
    assert entry["message"].startswith(
        f"{DATA}: the backup {newest} on {SECOND} is damaged: volume-1 is not what was written "
        f"(sha256); take the one before: --backup {moments[-1]}; "
    )
    assert DATA not in site.fleet.left(SECOND).instances
    again = site.maintain(*lost, "--backup", moments[-1])
    assert phase(again, DATA, "restore")["status"] == "changed", phase(again, DATA, "restore")
    for name in (DATA, CLOUD):
        assert site.identity(name) == identity[name]
        assert site.instance(SECOND, name)["status"] == "Running"  # type: ignore[index]
    assert site.over_ssh(DATA, "cat /srv/calls/log /root/note") == "call 1\none\n"


def test_what_provision_then_says(site: BackupSite) -> None:
    site.fleet.provision("--phase", "bridges", "--phase", "lxd", "--phase", "remotes")
    report = site.fleet.provision("--phase", "containers", "--dry-run", "--limit", DATA)
    said = "\n".join(p["message"] for p in report["hosts"][DATA]["phases"])
    assert f"container {DATA} is declared on {FIRST} and found on {SECOND}" in said


@pytest.mark.parametrize("stage", RESTORE_STAGES)
def test_a_restore_that_is_killed_is_finished_by_the_next(site: BackupSite, stage: str) -> None:
    moment = min(site.kept(DATA, SECOND))
    site.fleet.sh(
        SECOND,
        f"export LXD_CONF=/run/site; lxc delete -f {DATA}; lxc storage volume delete default calls",
    )
    words = ("restore", "--limit", DATA, "--to", SECOND, "--backup", moment)
    assert site.killed(stage, DATA, *words) == -signal.SIGKILL
    report = site.maintain(*words)
    assert report["exit"] == 0, report["hosts"]
    left = site.fleet.left(SECOND)
    assert set(left.instances) == {DATA, CLOUD, OTHER}
    assert left.instances[DATA]["status"] == "Running"
    assert left.operations == []
    assert site.over_ssh(DATA, "cat /srv/calls/log /root/note") == "call 1\none\n"
    volumes = site.fleet.sh(SECOND, "LXD_CONF=/run/site lxc storage volume list default -f csv")
    names = [line.split(",")[1] for line in volumes.splitlines() if line.startswith("custom")]
    assert names == ["calls"]
    mark = "lxc storage volume get default calls user.nornir-lxd-fleet.restored"
    assert site.fleet.sh(SECOND, f"LXD_CONF=/run/site {mark}") == f"{DATA} {moment} {FIRST} done\n"
    assert site.maintain(*words)["hosts"][DATA]["status"] == "ok"


def test_a_plain_machine_keeps_backups_and_a_container_is_replaced_by_one(site: BackupSite) -> None:
    site.declare(to={OTHER: BOX})
    site.over_ssh(OTHER, "echo before >/root/note; sync")
    report = site.maintain("backup", "--limit", OTHER)
    assert report["exit"] == 0, report["hosts"]
    (manifest,) = site.kept(OTHER, BOX).values()
    (part,) = manifest["parts"]
    sent = report["hosts"][SECOND]["exchanges"]
    assert part["bytes"] <= sent["received"] < part["bytes"] + 200_000
    identity = site.identity(OTHER)
    site.over_ssh(OTHER, "echo after >/root/note; sync")
    report = site.maintain("restore", "--limit", OTHER, "--replace")
    assert report["exit"] == 0, report["hosts"]
    assert [action for action, _ in steps(phase(report, OTHER, "restore"))] == [
        "restore", "rename", "place", "start"
    ]  # fmt: skip
    assert site.over_ssh(OTHER, "cat /root/note") == "before\n"
    assert site.identity(OTHER) == identity
    (kept,) = [n for n in site.fleet.left(SECOND).instances if n.startswith(f"{OTHER}-replaced-")]
    former = site.instance(SECOND, kept)
    assert former is not None
    assert former["status"] == "Stopped"
    assert not [key for key in former["config"] if key.endswith(".hwaddr")]
    assert former["config"]["boot.autostart"] == "false"
