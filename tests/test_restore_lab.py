"""What keeps a container from being restored, and what does not. The tests build on each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.backup_site import BOX, FIRST, FOLDER, OTHER, SECOND, BackupSite, backup_site
from tests.lab import Lab
from tests.ten import ADDRESSES

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackupSite]:
    """A container that a plain machine has a backup of, deleted; its host's peer lets nobody in."""
    with backup_site(lab, tmp_path_factory.mktemp("restore")) as found:
        found.declare(to={OTHER: BOX})
        report = found.maintain("backup", "--limit", OTHER)
        assert report["exit"] == 0, report["hosts"]
        found.fleet.sh(SECOND, f"LXD_CONF=/run/site lxc delete -f {OTHER}")
        found.fleet.sh(FIRST, "systemctl stop ssh.service")
        yield found
        found.fleet.sh(FIRST, "systemctl start ssh.service")


def restored(site: BackupSite, *words: str) -> dict[str, Any]:
    """The record of it."""
    report = site.maintain("restore", "--limit", OTHER, *words)
    (entry,) = [p for p in report["hosts"][OTHER]["phases"] if p["phase"] == "restore"]
    return {**entry, "exit": report["exit"]}


def test_one_whose_address_somebody_has_is_not_restored(site: BackupSite) -> None:
    site.fleet.sh(SECOND, f"ip address add {ADDRESSES[OTHER]}/32 dev br-demo")
    refused = restored(site)
    site.fleet.sh(SECOND, f"ip address del {ADDRESSES[OTHER]}/32 dev br-demo")
    assert (refused["exit"], refused["changed"]) == (1, False)
    assert (
        f"{OTHER}: somebody answers at its address {ADDRESSES[OTHER]} in the network demo, the LXD "
        f"host {SECOND}: it may still run on"
    ) in refused["message"]


def test_nor_where_something_that_it_needs_is_missing(site: BackupSite) -> None:
    lxc = "export LXD_CONF=/run/site; lxc"
    site.fleet.sh(SECOND, f"{lxc} profile rename web gone")
    refused = restored(site)
    site.fleet.sh(SECOND, f"{lxc} profile rename gone web")
    assert refused["exit"] == 1
    assert f"{OTHER}: {SECOND} has no profile web, which the container needs" in refused["message"]
    unknown = restored(site, "--backup", "20200101T000000Z")
    (moment,) = site.kept(OTHER, BOX)
    assert f"it has no backup 20200101T000000Z on {BOX}; there is {moment}" in unknown["message"]


def test_nor_from_a_file_that_is_damaged(site: BackupSite) -> None:
    (moment,) = site.kept(OTHER, BOX)
    file = f"{FOLDER}/ten/{OTHER}/{moment}/container"
    write = f"dd of={file} bs=1 seek=9 conv=notrunc"
    (before,) = site.fleet.sh(BOX, f"od -An -to1 -j9 -N1 {file}").split()
    site.fleet.sh(BOX, f"printf x | {write}")
    refused = restored(site)
    site.fleet.sh(BOX, f"printf '\\{before}' | {write}")
    assert (
        "container is not what was written (sha256); there is none before it"
        in (refused["message"])
    )
    assert OTHER not in site.fleet.left(SECOND).instances


def test_a_host_that_lets_nobody_in_holds_nothing_up_and_is_named(site: BackupSite) -> None:
    done = restored(site)
    assert (done["exit"], done["status"]) == (0, "changed"), done["message"]
    assert f"not looked for on {FIRST}, which could not be read" in done["message"]
    assert site.over_ssh(OTHER, "hostname") == f"{OTHER}\n"
