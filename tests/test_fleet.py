"""Opening a fleet: what a user gets, and what he is told instead."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nornir import InitNornir
from nornir.core.inventory import Defaults, Group, Host, ParentGroups
from nornir.core.task import Result, Task

from tasks.errors import InventoryError, UsageError
from tasks.fleet import derive_hostname, open_fleet
from tasks.profiles.task import sync_profiles
from tasks.run import run_of

ROOT = Path(__file__).parent.parent
CONFIGS = yaml.safe_load((ROOT / "tests" / "cases" / "settings.yaml").read_text())
HOSTS = {
    "host-01": {"groups": ["lxd-host"], "data": {"addresses": {"mgmt": "192.0.2.10"}}},
    "host-02": {
        "groups": ["lxd-host"],
        "hostname": "host-02.example",
        "port": 2222,
        "username": "fleet",
        "data": {"addresses": {"mgmt": "192.0.2.11"}},
    },
    "sbc-01": {"hostname": "192.0.2.50", "data": {"machine": {}}},
}
GROUPS = {
    "br-mgmt": {"data": {"bridge": {"nic": "mgmt", "subnet": "192.0.2.0/24"}}},
    "lxd-host": {
        "groups": ["br-mgmt"],
        "data": {"management": "mgmt", "lxd": {}, "nics": {"mgmt": "eno1"}},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small inventory; the working directory and the state are elsewhere."""
    inventory = tmp_path / "inventory" / "small"
    inventory.mkdir(parents=True)
    (inventory / "hosts.yaml").write_text(yaml.safe_dump(HOSTS))
    (inventory / "groups.yaml").write_text(yaml.safe_dump(GROUPS))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return inventory


@pytest.fixture
def untouched(folder: Path, tmp_path: Path) -> Iterator[None]:
    """Nothing is written, and the root logger and the working directory stay as they are."""
    before = surroundings()
    yield
    assert surroundings() == before
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "state").exists()


def surroundings() -> tuple[object, ...]:
    """What a library must leave alone in the process that uses it."""
    root = logging.getLogger()
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    return root.level, list(root.handlers), Path.cwd(), environment


@pytest.mark.usefixtures("untouched")
class TestOpen:
    def test_how_machines_are_reached(self, folder: Path) -> None:
        hosts = open_fleet(folder).inventory.hosts
        reached = {name: (h.hostname, h.port, h.username) for name, h in hosts.items()}
        assert reached == {
            "host-01": ("192.0.2.10", 22, "root"),
            "host-02": ("host-02.example", 2222, "fleet"),
            "sbc-01": ("192.0.2.50", 22, "root"),
        }

    def test_the_run_goes_with_every_filtered_copy(self, folder: Path) -> None:
        nr = open_fleet(folder, limit=["host-*"], dry_run=True, workers=3)
        run = run_of(nr)
        assert run.selected == {"host-01", "host-02"}
        assert set(nr.inventory.hosts) == {"host-01", "host-02", "sbc-01"}
        assert run.intent.name == "small"
        assert run.dry_run

        def who(task: Task) -> Result:
            return Result(host=task.host, result=(run_of(task) is run, task.is_dry_run()))

        done = nr.filter(name="host-01").run(who)
        assert list(done) == ["host-01"]
        assert done["host-01"].result == (True, True)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"limit": "host-01"}, "limit is a text; give a list of selectors: ['host-01']"),
            ({"workers": 0}, "0 workers do nothing; give 1 or more, or none"),
        ],
    )
    def test_wrong_arguments(self, folder: Path, arguments: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError) as wrong:
            open_fleet(folder, **arguments)
        assert str(wrong.value) == said

    def test_a_task_for_lxd_hosts_on_another_machine(self, folder: Path) -> None:
        result = open_fleet(folder).filter(name="sbc-01").run(sync_profiles)["sbc-01"][0]
        assert result.result["message"].startswith("sbc-01 is no LXD host; run it on one")

    def test_from_anywhere_by_a_relative_path(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder.parent)
        assert "host-01" in open_fleet("small").inventory.hosts
        monkeypatch.chdir(folder.parent.parent / "elsewhere")

    def test_a_failing_task_says_nothing_on_the_terminal(
        self, folder: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def fail(task: Task) -> Result:
            raise ValueError(task.host.name)

        assert open_fleet(folder).run(fail).failed
        assert capfd.readouterr() == ("", "")

    def test_state_folder(self, folder: Path, tmp_path: Path) -> None:
        state = tmp_path / "state" / "nornir-lxd-fleet" / "small"
        assert run_of(open_fleet(folder)).state.path == state

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("there", "inventory/there/small"),
            ("../there", "inventory/../there/small"),
            ("/srv/fleet", "/srv/fleet/small"),
        ],
    )
    def test_state_folder_of_the_config(
        self, folder: Path, tmp_path: Path, written: str, expected: str
    ) -> None:
        config = {"user_defined": {"state_dir": written}, "logging": {"enabled": True}}
        (folder.parent / "config.yaml").write_text(yaml.safe_dump(config))
        assert run_of(open_fleet(folder)).state.path == tmp_path / expected

    def test_workers_of_the_config_unless_an_argument_says_otherwise(self, folder: Path) -> None:
        config = {"runner": {"options": {"num_workers": 7}}}
        (folder.parent / "config.yaml").write_text(yaml.safe_dump(config))
        assert open_fleet(folder).config.runner.options == {"num_workers": 7}
        assert open_fleet(folder, workers=3).config.runner.options == {"num_workers": 3}

    def test_nornirs_own_settings_hold(self, folder: Path) -> None:
        config = {"core": {"raise_on_error": True}, "inventory": {"transform_function": "none"}}
        (folder.parent / "config.yaml").write_text(yaml.safe_dump(config))
        assert open_fleet(folder).config.core.raise_on_error


@pytest.mark.usefixtures("untouched")
class TestRefusal:
    def test_no_folder(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"no inventory folder .*smal; .*: small$"):
            open_fleet(folder.parent / "smal")

    def test_the_folder_above(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"no hosts.yaml .*; give one of its folders: small"):
            open_fleet(folder.parent)

    def test_no_hosts_file(self, folder: Path) -> None:
        (folder / "hosts.yaml").unlink()
        with pytest.raises(UsageError, match=r"no hosts.yaml"):
            open_fleet(folder)

    @pytest.mark.parametrize("case", CONFIGS, ids=lambda case: case["name"])
    def test_a_mistaken_config(self, folder: Path, case: dict[str, Any]) -> None:
        file = folder.parent / "config.yaml"
        file.write_text(case["text"])
        with pytest.raises(InventoryError) as refused:
            open_fleet(folder)
        assert [m.removeprefix(str(file)) for m in refused.value.mistakes] == case["mistakes"]

    def test_a_mistake_in_the_inventory(self, folder: Path) -> None:
        (folder / "hosts.yaml").write_text("host-01:\nhost-02: {groups: [nobody]}\n")
        with pytest.raises(InventoryError) as refused:
            open_fleet(folder)
        assert len(refused.value.mistakes) >= 2

    def test_a_selector_that_matches_nothing(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="host-03"):
            open_fleet(folder, limit=["host-03"])

    def test_host_keys(self, folder: Path) -> None:
        good = f"SHA256:{'A' * 43}"
        assert run_of(open_fleet(folder, host_keys={"host-01": good})).host_keys
        with pytest.raises(UsageError, match=r"host-03.*not in the inventory"):
            open_fleet(folder, host_keys={"host-03": good})
        with pytest.raises(UsageError, match=r"host-01 is no fingerprint"):
            open_fleet(folder, host_keys={"host-01": "SHA256:AAAA"})


class TestPlainNornir:
    def test_the_transform_function_by_its_entry_point(self, folder: Path) -> None:
        nr = InitNornir(
            inventory={
                "plugin": "SimpleInventory",
                "options": {
                    "host_file": str(folder / "hosts.yaml"),
                    "group_file": str(folder / "groups.yaml"),
                    "defaults_file": str(folder / "defaults.yaml"),
                },
                "transform_function": "fleet",
            },
            logging={"enabled": False},
        )
        assert nr.inventory.hosts["host-01"].hostname == "192.0.2.10"
        assert nr.inventory.hosts["host-02"].hostname == "host-02.example"

    def test_the_demo_with_its_config(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        options = {
            "host_file": "inventory/demo/hosts.yaml",
            "group_file": "inventory/demo/groups.yaml",
            "defaults_file": "inventory/demo/defaults.yaml",
        }
        nr = InitNornir(
            config_file="inventory/config.yaml",
            inventory={
                "plugin": "SimpleInventory",
                "options": options,
                "transform_function": "fleet",
            },
        )
        host = nr.inventory.hosts["sidn-demo-01"]
        assert (host.hostname, host.port, host.username) == ("192.168.56.150", 22, "root")
        assert not (ROOT / "nornir.log").exists()

    def test_what_is_derived_from_layers(self) -> None:
        defaults = Defaults(data={"management": "demo", "addresses": {"sip": "192.0.2.3"}})
        group = Group("g", data={"management": "mgmt", "addresses": {"mgmt": "192.0.2.1/24"}})
        host = Host(
            "h",
            groups=ParentGroups([group]),
            data={"addresses": {"demo": "192.0.2.2"}},
            defaults=defaults,
        )
        derive_hostname(host)
        assert (host.hostname, host.port, host.username) == ("192.0.2.1", 22, "root")

    def test_nothing_to_derive(self) -> None:
        host = Host("h")
        derive_hostname(host)
        assert host.hostname is None
