"""A machine that is read or changed is the one that is meant: by its key, never by its address."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest
from nornir.core import Nornir

from tasks.actual import HostFacts, LxdFacts, MachineFacts
from tasks.bootstrap.task import bootstrap_container
from tasks.configure.task import configure_system
from tasks.intent.model import Attachment, Container, Ssh
from tasks.intent.system import Configure
from tasks.run import run_of
from tasks.shell import Shell
from tests.machines import HOST, container_of, fleet_of, run_on
from tests.sshd import Sshd, free_port, make_key, why_no_sshd

pytestmark = pytest.mark.skipif(bool(why_no_sshd()), reason=why_no_sshd())
HERE = "127.0.0.1"


def at(name: str, sshd: Sshd, address: str = HERE) -> Container:
    """A container that is to be at an address, on the port of the tests' sshd, which is the machine
    that has it: web-04, as everybody knows it."""
    network = {"demo": Attachment("demo", address=ip_interface(f"{address}/8"))}
    ssh = Ssh(address, sshd.port, sshd.user, sshd.user_key)
    return replace(container_of(name, address), ssh=ssh, attachments=network)


def fleet(
    folder: Path, sshd: Sshd, *containers: Container, dry_run: bool = True, **instances: str
) -> Nornir:
    """A fleet whose LXD host has these instances in these states, and that knows web-04's key."""
    nr = fleet_of(folder, *containers, dry_run=dry_run)
    run = run_of(nr)
    there = {name.replace("_", "-"): {"status": status} for name, status in instances.items()}
    run.facts[HOST] = HostFacts(HOST, lxd=LxdFacts(running=True, instances=there))
    key = sshd.public(sshd.host_keys["ed25519"])
    run.state.learn_host_key("web-04", HERE, sshd.port, key)
    return nr


def inside(monkeypatch: pytest.MonkeyPatch, facts: MachineFacts) -> None:
    """What a read over exec finds; over SSH nobody shall be read."""

    class Exec:
        pass

    def read(shell: Shell, *_: object, **__: object) -> MachineFacts:
        assert isinstance(shell, Exec), "read over SSH"
        return facts

    monkeypatch.setattr("tasks.facts.machine.exec_shell_of", lambda host: Exec())
    monkeypatch.setattr("tasks.facts.machine.read_machine", read)


ANSWERS = f"web-05: {HERE} answers as web-04, by its SSH host key SHA256:"


def test_a_dry_run_tells_who_has_the_address_of_a_container_to_be_made(
    tmp_path: Path, sshd: Sshd
) -> None:
    entry = run_on(fleet(tmp_path, sshd, at("web-05", sshd)), "web-05", bootstrap_container)
    assert entry["status"] == "failed"
    assert entry["message"].startswith(ANSWERS)
    assert "stop web-04, or give one of the two another address; --prune" in entry["message"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_renamed_container_is_not_read_where_the_former_one_answers(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    inside(monkeypatch, MachineFacts("web-05", over="exec", hostname="web-05"))
    nr = fleet(tmp_path, sshd, at("web-05", sshd), dry_run=dry_run, web_05="Running")
    entry = run_on(nr, "web-05", bootstrap_container)
    assert (entry["status"], entry["changed"]) == ("failed", False)
    assert entry["message"].startswith(ANSWERS)


def test_two_machines_with_one_address_are_told_apart_by_their_keys(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_key(tmp_path / "other").with_name("other.pub").read_text()
    facts = MachineFacts(
        "web-05", over="exec", host_key=" ".join(other.split()[:2]),
        addresses={"if-demo": (ip_interface(f"{HERE}/8"),)},
    )  # fmt: skip
    inside(monkeypatch, facts)
    nr = fleet(tmp_path, sshd, at("web-05", sshd), web_05="Running")
    assert run_on(nr, "web-05", bootstrap_container)["message"].startswith(ANSWERS)


def test_who_answers_without_ssh_is_another_machine_unless_the_container_has_the_address(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = at("web-05", sshd)
    closed = replace(closed, ssh=replace(closed.ssh, port=free_port()))
    without = MachineFacts("web-05", over="exec", hostname="web-05")
    inside(monkeypatch, without)
    entry = run_on(fleet(tmp_path, sshd, closed, web_05="Running"), "web-05", bootstrap_container)
    assert (entry["status"], entry["changed"]) == ("failed", False)
    assert f"web-05: {HERE} is in use: another machine answers there" in entry["message"]
    inside(monkeypatch, replace(without, addresses={"if-demo": (ip_interface(f"{HERE}/8"),)}))
    entry = run_on(fleet(tmp_path, sshd, closed, web_05="Running"), "web-05", bootstrap_container)
    assert entry["status"] == "changed", entry["message"]


def test_its_own_key_is_no_other_machine(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sshd.public(sshd.host_keys["ed25519"])
    facts = MachineFacts(
        "web-05", over="exec", hostname="web-05", host_key=" ".join(key.split()[:2]),
        addresses={"if-demo": (ip_interface(f"{HERE}/8"),)},
    )  # fmt: skip
    inside(monkeypatch, facts)
    nr = fleet(tmp_path, sshd, at("web-05", sshd), web_05="Running")
    assert run_on(nr, "web-05", bootstrap_container)["status"] == "changed"


def test_who_leaves_in_this_run_is_in_nobodys_way(tmp_path: Path, sshd: Sshd) -> None:
    nr = fleet(tmp_path, sshd, at("web-05", sshd))
    run_of(nr).leaving.add("web-04")
    assert run_on(nr, "web-05", bootstrap_container)["status"] == "changed"


def test_who_gets_another_address_in_this_run_is_in_nobodys_way(tmp_path: Path, sshd: Sshd) -> None:
    nr = fleet(tmp_path, sshd, at("web-05", sshd), at("web-04", sshd, "127.0.0.2"))
    assert run_on(nr, "web-05", bootstrap_container)["status"] == "changed"


def test_what_only_the_users_own_file_knows_is_compared_by_its_name(
    tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    key = sshd.public(sshd.host_keys["ed25519"])
    (home / ".ssh" / "known_hosts").write_text(f"[{HERE}]:{sshd.port} {key}")
    monkeypatch.setenv("HOME", str(home))
    found = MachineFacts("web-05", over="ssh", hostname="web-04.example.net")
    monkeypatch.setattr("tasks.facts.machine.read_machine", lambda *_, **__: found)
    wanted = replace(at("web-05", sshd), configure=Configure(timezone="Europe/Amsterdam"))
    nr = fleet(tmp_path, sshd, wanted, dry_run=False, web_05="Running")
    (tmp_path / "known_hosts").unlink()
    entry = run_on(nr, "web-05", configure_system)
    nr.close_connections()
    assert entry["status"] == "failed"
    assert entry["message"].startswith(f"web-05: {HERE} answers as web-04.example.net; stop")


@pytest.mark.parametrize("task", [bootstrap_container, configure_system])
@pytest.mark.parametrize("state", ["Stopped", "Frozen"])
def test_a_dry_run_foresees_nothing_inside_a_container_that_is_stopped(
    tmp_path: Path, sshd: Sshd, state: str, task: object
) -> None:
    wanted = replace(at("web-05", sshd), configure=Configure(timezone="Europe/Amsterdam"))
    entry = run_on(fleet(tmp_path, sshd, wanted, web_05=state), "web-05", task)
    why = f"it is {state.lower()} on {HOST}: what there is to do inside is seen when it runs"
    assert (entry["status"], entry["changed"], entry["notes"]) == ("ok", False, [why])
