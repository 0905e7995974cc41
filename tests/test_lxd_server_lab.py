"""The LXD of one fresh host: its pools, its config and the kernel's, tampered with and mended.

The tests stand in the order in which a host lives, and build on each other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.intent.kernel import PRODUCTION
from tests import zfs_stand_in
from tests.lab import HOST_ADDRESSES, Lab
from tests.lxd_site import NAME, LxdSite
from tests.records import steps

pytestmark = pytest.mark.lab

POOLS: dict[str, dict[str, Any]] = {
    "default": {"driver": "dir", "rsync.bwlimit": "10MB"},
    "loop": {"driver": "btrfs", "size": "200MiB", "btrfs.mount_options": "noatime"},
}
WANTED: dict[str, Any] = {
    "listen": f"{HOST_ADDRESSES[NAME]}:8443",
    "pools": POOLS,
    "config": {"images.auto_update_interval": 0},
    "kernel": {"vm.max_map_count": 262146, "fs.aio-max-nr": 70001},
}
SYSCTL = "/etc/sysctl.d/60-nornir-lxd-fleet.conf"
#: Of LXD's list, what a machine in a network namespace of its own has.
PRODUCTION_HERE = [key for key in PRODUCTION if not key.startswith("net.")]
#: All that these tests set up, as it is.
STATE = f"""
cat {SYSCTL} /proc/sys/vm/max_map_count /proc/sys/fs/aio-max-nr
LXD_CONF=/run/look
export LXD_CONF
lxc config show
for pool in $(lxc storage list -f csv | cut -d, -f1); do lxc storage show "$pool"; done
lxc profile show default
lxc config trust list -f csv
rm -rf /run/look
sha256sum /root/.config/lxc/c* /var/lib/lxd/server.*
"""


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LxdSite]:
    lab.up(hosts=3)
    lab.reset(NAME)
    host = LxdSite(lab, tmp_path_factory.mktemp("lxd"))
    # A lab host has no device nodes of its own for files as disks, nor Debian's btrfs tools.
    host.sh(
        "mknod /dev/loop-control c 10 237; "
        "for n in 0 1 2 3 4 5 6 7; do mknod /dev/loop$n b 7 $n; done; "
        "apt-get -qq update && apt-get -qqy install --no-install-recommends btrfs-progs >/dev/null",
        timeout=300,
    )
    yield host
    lab.remove(NAME)


def test_lxd_with_a_pool_on_a_file_and_kernel_settings(site: LxdSite) -> None:
    site.intend(**WANTED)
    record = site.set_up()
    assert (record["status"], record["message"]) == ("changed", "")
    assert ("create", "pool loop") in steps(record)
    loop = site.query("/1.0/storage-pools/loop")
    assert (loop["driver"], loop["config"]["size"]) == ("btrfs", "200MiB")
    assert loop["config"]["source"] == "/var/lib/lxd/disks/loop.img"  # LXD's own
    # Where LXD has mounted it is its own affair, in a mount namespace of its own.
    mounts = site.sh("cat /proc/$(systemctl show -p MainPID --value lxd)/mounts").splitlines()
    assert any("/storage-pools/loop btrfs " in line and "noatime" in line for line in mounts)
    assert site.sh(f"cat {SYSCTL} && stat -c %a {SYSCTL}").splitlines() == [
        "fs.aio-max-nr = 70001",
        "vm.max_map_count = 262146",
        "644",
    ]
    live = site.sh("cat /proc/sys/vm/max_map_count /proc/sys/fs/aio-max-nr")
    assert live.split() == ["262146", "70001"]


@pytest.mark.once
def test_a_second_run_changes_nothing_and_asks_its_api_nothing(site: LxdSite) -> None:
    before = site.sh(STATE)
    record, run = site.set_up_and_look()
    assert (record["status"], record["message"]) == ("ok", "LXD is as wanted")
    assert run.exchanges[NAME]["execs"] == 1
    assert run.exchanges[NAME]["requests"] == 0
    assert site.sh(STATE) == before


@pytest.mark.parametrize(
    ("tamper", "step", "diff"),
    [
        (
            "lxc config set core.https_address 127.0.0.1:8443",
            ("set", "core.https_address"),
            ["-127.0.0.1:8443", f"+{WANTED['listen']}"],
        ),
        (
            "lxc storage set default rsync.bwlimit 1MB",
            ("update", "pool default"),
            ["-rsync.bwlimit: 1MB", "+rsync.bwlimit: 10MB"],
        ),
        (
            "lxc storage unset loop btrfs.mount_options",
            ("update", "pool loop"),
            ["+btrfs.mount_options: noatime"],
        ),
        (
            "lxc config set images.auto_update_interval 12",
            ("set", "images.auto_update_interval"),
            ["-12", "+0"],
        ),
        (
            "echo 262147 >/proc/sys/vm/max_map_count",
            ("set", "kernel vm.max_map_count"),
            ["-262147", "+262146"],
        ),
        (
            f"sed -i s/70001/70002/ {SYSCTL}",
            ("set", "kernel fs.aio-max-nr"),
            ["-70002", "+70001"],
        ),
    ],
    ids=["listen", "pool", "pool on a file", "config", "kernel", "kernel's file"],
)
def test_what_was_tampered_with_is_shown_and_mended_alone(
    site: LxdSite, tamper: str, step: tuple[str, str], diff: list[str]
) -> None:
    right = sorted(site.sh(STATE).splitlines())
    site.sh(f"export LXD_CONF=/run/look; {tamper}; rm -rf /run/look")
    wrong = site.sh(STATE)
    assert sorted(wrong.splitlines()) != right
    shown = site.set_up(dry_run=True)
    assert site.sh(STATE) == wrong
    record = site.set_up()
    for one in (shown, record):
        assert (one["status"], steps(one)) == ("changed", [step]), one["message"]
        changes = [line for line in one["diff"].splitlines() if line[:1] in "+-"]
        assert [line for line in changes if not line.startswith(("---", "+++"))] == diff
    assert sorted(site.sh(STATE).splitlines()) == right


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pools": {**POOLS, "loop": {"driver": "btrfs", "size": "300MiB"}}},
            "pool loop has size 200MiB, the inventory wants 300MiB: this LXD cannot resize a pool",
        ),
        (
            {"pools": {**POOLS, "loop": {"driver": "dir"}}},
            "pool loop has the driver btrfs, the inventory wants dir",
        ),
        (
            {"kernel": {"vm.no_such_thing": 1}},
            "its kernel has no setting vm.no_such_thing",
        ),
    ],
    ids=["size", "driver", "kernel setting"],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    site: LxdSite, change: dict[str, Any], message: str
) -> None:
    before = site.sh(STATE)
    site.intend(**{**WANTED, **change})
    record, run = site.set_up_and_look()
    site.intend(**WANTED)
    assert record["status"] == "failed"
    assert message in record["message"]
    assert not record["changed"]
    assert run.exchanges[NAME]["requests"] == 0
    assert site.sh(STATE) == before


def test_a_server_key_that_lxd_does_not_know_is_named_and_a_secret_is_not(
    site: LxdSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # LXD's own error has the value: cannot set 'core.no_such_key' to 'HorseStaple'.
    monkeypatch.setenv("SITE_SECRET", "HorseStaple")
    site.intend(**{**WANTED, "config": {"core.no_such_key": {"env": "SITE_SECRET"}}})
    record = site.set_up()
    assert record["status"] == "failed"
    assert record["message"].startswith(f"{NAME}: server config key core.no_such_key: ")
    assert "mend or leave out lxd.config: core.no_such_key" in record["message"]
    assert "to '(secret)': unknown key" in record["message"]
    assert "HorseStaple" not in str(record)
    assert "LxdError" in caplog.text  # the log has the error with its traceback
    assert "HorseStaple" not in caplog.text


def test_a_pool_that_lxd_refuses_is_named(site: LxdSite) -> None:
    site.intend(**{**WANTED, "pools": {**POOLS, "odd": {"driver": "dir", "zfs.export": True}}})
    record = site.set_up()
    assert record["message"].startswith(f"{NAME}: pool odd: LXD refused POST")
    assert 'Invalid option "zfs.export"' in record["message"]
    site.intend(**WANTED)


def test_a_kernel_setting_that_the_kernel_does_not_take(site: LxdSite) -> None:
    before = site.sh(STATE)
    site.intend(**{**WANTED, "kernel": {"vm.max_map_count": "many"}})
    record = site.set_up()
    assert record["status"] == "failed"
    assert "the kernel does not take vm.max_map_count = many" in record["message"]
    assert site.sh(STATE) == before  # not kept for the next boot either
    site.intend(**WANTED)
    assert site.set_up()["status"] == "ok"


def test_a_former_certificate_of_the_controller_goes_with_prune(site: LxdSite) -> None:
    trusted = "LXD_CONF=/run/look lxc config trust list -f csv; rm -rf /run/look"
    for file in (site.folder / "state").rglob("client.*"):
        file.unlink()
    before = site.sh(trusted).splitlines()
    renewed = site.set_up()
    assert [action for action, _ in steps(renewed)] == ["trust"]
    assert "is trusted and no longer this controller's; --prune removes it" in renewed["message"]
    assert len(site.sh(trusted).splitlines()) == len(before) + 1
    pruned = site.set_up(prune=True)
    assert [action for action, _ in steps(pruned)] == ["distrust"]
    left = site.sh(trusted).splitlines()
    assert len(left) == len(before)
    assert left != before
    again = site.set_up(prune=True)
    assert (again["status"], again["notes"]) == ("ok", [])


def test_what_lxds_documentation_asks_of_the_kernel_is_a_minimum(site: LxdSite) -> None:
    site.intend(**{**WANTED, "kernel": {"production": True}})
    site.sh(
        f"rm {SYSCTL}; echo 65530 >/proc/sys/vm/max_map_count; echo 600000 >/proc/sys/fs/aio-max-nr"
    )
    record = site.set_up()
    assert record["status"] == "changed"
    assert ("set", "kernel vm.max_map_count") in steps(record)
    assert ("set", "kernel fs.aio-max-nr") not in steps(record)  # it is higher already
    live = {key: site.sh(f"cat /proc/sys/{key.replace('.', '/')}") for key in PRODUCTION_HERE}
    assert all(int(live[key]) >= PRODUCTION[key] for key in PRODUCTION_HERE), live
    # A network namespace has these of its own machine only.
    assert record["notes"] == [
        "its kernel has no net.core.bpf_jit_limit, net.ipv4.neigh.default.gc_thresh3, "
        "net.ipv6.neigh.default.gc_thresh3, which LXD's production setup asks for"
    ]
    assert site.set_up()["status"] == "ok"
    site.intend(**WANTED)
    assert site.set_up()["status"] == "changed"


def test_a_password_that_is_left_over_is_pointed_out(site: LxdSite) -> None:
    site.sh("LXD_CONF=/run/look lxc config set core.trust_password Horse; rm -rf /run/look")
    record = site.set_up()
    assert record["status"] == "ok"
    assert any("lxc config unset core.trust_password" in note for note in record["notes"])


def test_zfs_with_stand_in_programs(site: LxdSite) -> None:
    zfs_stand_in.install(site, "tank")
    zfs = {"driver": "zfs", "source": "tank/lxd", "zfs.clone_copy": False}
    site.intend(**{**WANTED, "pools": {**POOLS, "fast": zfs}})
    record = site.set_up()
    assert (record["status"], steps(record)) == ("changed", [("create", "pool fast")]), record[
        "message"
    ]
    calls = site.sh(f"cat {zfs_stand_in.CALLS}").splitlines()
    assert "zfs create -o mountpoint=legacy tank/lxd" in calls
    assert "zfs create -o mountpoint=legacy tank/lxd/containers" in calls
    assert site.set_up()["status"] == "ok"

    site.intend(**{**WANTED, "pools": {**POOLS, "fast": {**zfs, "zfs.clone_copy": "rebase"}}})
    record = site.set_up()
    assert record["steps"] == [
        {"action": "update", "object": "pool fast", "detail": "zfs.clone_copy rebase"}
    ]
    assert site.query("/1.0/storage-pools/fast")["config"]["zfs.clone_copy"] == "rebase"

    site.intend(**{**WANTED, "pools": {**POOLS, "fast": {**zfs, "source": "tank/other"}}})
    assert (
        "pool fast has the source tank/lxd, the inventory wants tank/other"
        in (site.set_up()["message"])
    )
