"""Before anything is written to an LXD host: its lock is held, and its LXD is known.

The tasks as a notebook runs them, on hosts whose facts are given and whose shell and API only
remember what they were asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.state import GlobalState
from nornir.core.task import Result
from nornir.plugins.runners import SerialRunner

from tasks.actual import ClientFolder, HostFacts, LxdFacts
from tasks.certificate import make_client_certificate
from tasks.containers import task as raising
from tasks.containers.task import raise_containers
from tasks.errors import CommandError, LockedError, LxdError, LxdUntrustedError
from tasks.facts import host as facts_host
from tasks.facts import machine as facts_machine
from tasks.images import task as images_sync
from tasks.images.task import sync_images
from tasks.intent.model import Container, Image, Intent, LxdHost, LxdServer, Profile, Ssh
from tasks.lxd_api import connection
from tasks.lxd_server import task as lxd_server
from tasks.lxd_server.task import setup_lxd
from tasks.outcome import Record, converge
from tasks.plan import Plan, Step
from tasks.profiles import task as profiles_sync
from tasks.profiles.task import sync_profiles
from tasks.remotes import task as remotes
from tasks.remotes.task import sync_remotes
from tasks.run import RUN_KEY, Run
from tasks.shell import Completed
from tasks.state import StateFolder

PEM = make_client_certificate()[0]
DOWN = LxdFacts("snap", problem="no answer to server within 8 s", certificate=PEM)
UP = LxdFacts("deb", running=True, certificate=PEM)
IMAGE = Image("tiny", server="https://images.example.net", alias="tiny")
WEB = Container("web-01", Ssh("192.0.2.2"), on="box", image="tiny")


@dataclass
class Fleet:
    """A fleet of the LXD hosts box and peer, and what was done to box, in order."""

    nr: Nornir
    run: Run
    done: list[str] = field(default_factory=list)

    def do(self, task: Any, **options: Any) -> Result:
        """A task's Result on box."""
        self.nr.data.reset_failed_hosts()
        return self.nr.filter(name="box").run(task=task, **options)["box"][0]

    def see(self, host: str, lxd: LxdFacts) -> None:
        """What has been read of a host."""
        client = ClientFolder("root", "/root/.config/lxc", certificate=PEM)
        self.run.facts[host] = HostFacts(host, clients={"root": client}, lxd=lxd)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    box = LxdHost(
        "box",
        Ssh("192.0.2.1"),
        lxd=LxdServer(listen="192.0.2.1:8443"),
        profiles=("demo",),
        images=("tiny",),
    )
    intent = Intent(
        folder=tmp_path,
        lxd_hosts={"box": box, "peer": replace(box, name="peer", ssh=Ssh("192.0.2.9"))},
        containers={"web-01": WEB},
        machines={},
        bridges={},
        profiles={"demo": Profile("demo")},
        images={"tiny": IMAGE},
    )
    defaults = Defaults()
    hosts = Hosts({name: Host(name, defaults=defaults) for name in ("box", "peer", "web-01")})
    run = Run(intent, StateFolder(tmp_path / "state"), hosts, frozenset(("box", "web-01")))
    defaults.data[RUN_KEY] = run
    inventory = Inventory(hosts, Groups(), defaults)
    made = Fleet(Nornir(inventory, runner=SerialRunner(), data=GlobalState()), run)
    made.see("box", UP)
    made.see("peer", UP)

    class Shell:
        def __init__(self, _: Host) -> None:
            """A shell that fails whatever it is asked."""

        def run(self, *_: Any, **__: Any) -> Completed:
            made.done.append("write")
            return Completed(1, b"", b"it failed")

    for module in (lxd_server, remotes):
        monkeypatch.setattr(module, "shell_of", Shell)
    for module in (lxd_server, remotes, connection):
        monkeypatch.setattr(module, "lock_host", lambda _: made.done.append("lock"))
    return made


WRITERS: dict[str, Callable[..., Result]] = {
    "setup_lxd": setup_lxd,
    "sync_remotes": sync_remotes,
}


@pytest.mark.parametrize("name", WRITERS)
def test_who_writes_over_ssh_takes_the_hosts_lock_first(fleet: Fleet, name: str) -> None:
    dry = fleet.do(WRITERS[name], dry_run=True)
    assert (dry.changed, fleet.done) == (True, [])
    fleet.do(WRITERS[name])
    assert fleet.done == ["lock", "write"]


def test_who_asks_for_the_api_has_the_hosts_lock(fleet: Fleet) -> None:
    class Connection:
        connection = "the API"

    host = fleet.run.hosts["box"]
    host.connections["lxd"] = Connection()  # type: ignore[assignment]  # as far as it is used
    assert connection.api_of(host) == "the API"  # type: ignore[comparison-overlap]  # see above
    assert fleet.done == ["lock"]


@pytest.mark.parametrize("name", WRITERS)
def test_where_another_controller_has_the_lock_nothing_is_written(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def held(_: Host) -> None:
        raise LockedError("another run holds the host's lock", where="box")

    for module in (lxd_server, remotes):
        monkeypatch.setattr(module, "lock_host", held)
    result = fleet.do(WRITERS[name])
    assert (result.failed, result.changed, fleet.done) == (True, False, [])
    assert "box: another run holds the host's lock; nothing was changed" in result.result["message"]


@pytest.mark.parametrize(
    "task", [setup_lxd, sync_remotes, sync_profiles, sync_images, raise_containers]
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_an_lxd_that_is_silent_is_not_empty(fleet: Fleet, task: Any, dry_run: bool) -> None:
    fleet.see("box", DOWN)
    if task is setup_lxd:
        fleet.see("box", replace(DOWN, package="deb"))
    result = fleet.do(task, dry_run=dry_run)
    assert (result.failed, result.changed, result.result["steps"]) == (True, False, [])
    said = result.result["message"]
    assert said.startswith("box: LXD does not answer (no answer to server within 8 s); on that")
    assert f"systemctl status {'lxd' if task is setup_lxd else 'snap.lxd.daemon'};" in said
    assert fleet.done == []


def test_a_host_without_lxd_is_empty_and_planned_as_such(fleet: Fleet) -> None:
    fleet.see("box", LxdFacts())
    dry = fleet.do(raise_containers, dry_run=True)
    assert (dry.failed, dry.changed) == (False, True)


def test_where_lxd_is_silent_a_container_may_be_too(fleet: Fleet) -> None:
    fleet.see("peer", DOWN)
    fleet.run.unreachable["web-01"] = "no LXD host"
    record = fleet.do(raise_containers, dry_run=True).result["containers"]["web-01"]
    assert record["notes"] == ["not looked for on peer, which could not be read"]


def test_a_container_of_a_silent_lxd_is_not_taken_for_missing(fleet: Fleet) -> None:
    fleet.see("box", DOWN)
    with pytest.raises(LxdError, match="box: LXD does not answer"):
        facts_machine.is_there(fleet.run.hosts["web-01"])


STEPS = (Step("create", "thing one", None, diff="+one"), Step("update", "thing two", None))


def outcome(
    fleet: Fleet, *, ready: Callable[[], object] = list, apply: Callable[[], object] = list
) -> Record:
    """The record of a phase with two steps whose proof finds nothing left."""
    plans = iter((Plan(STEPS), Plan[None]()))

    def write(_: Plan[None]) -> None:
        apply()

    def phase(task: Any) -> Result:
        return converge(
            task,
            "things",
            plan=lambda fresh: next(plans),
            ready=ready,
            apply=write,
            dry_run=False,
        )

    record: Record = fleet.do(phase).result
    return record


def fail() -> object:
    raise CommandError("it broke", where="box")


def test_a_failure_before_anything_was_written_has_changed_nothing(fleet: Fleet) -> None:
    record = outcome(fleet, ready=fail, apply=lambda: fleet.done.append("write"))
    assert (record["status"], record["changed"], record["steps"]) == ("failed", False, [])
    assert record["diff"] == "+one"
    assert record["message"] == (
        "box: it broke; nothing was changed, planned was: create thing one, update thing two"
    )
    assert fleet.done == []


def test_a_failure_while_it_was_written_may_have_changed_something(fleet: Fleet) -> None:
    record = outcome(fleet, apply=fail)
    assert (record["status"], record["changed"]) == ("failed", True)
    assert [step["object"] for step in record["steps"]] == ["thing one", "thing two"]
    assert record["message"] == "box: it broke"


def test_no_failure(fleet: Fleet) -> None:
    record = outcome(fleet)
    assert (record["status"], record["changed"], len(record["steps"])) == ("changed", True, 2)


@pytest.mark.parametrize(
    ("module", "task"), [(profiles_sync, sync_profiles), (images_sync, sync_images)]
)
def test_an_api_that_cannot_be_used_has_changed_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, module: Any, task: Any
) -> None:
    def refused(_: Host) -> None:
        raise LxdUntrustedError("its LXD does not trust us", where="box")

    monkeypatch.setattr(module, "api_of", refused)
    result = fleet.do(task)
    assert (result.failed, result.changed) == (True, False)
    assert "nothing was changed, planned was: create" in result.result["message"]


def test_a_container_whose_image_is_missing_was_not_begun(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raising, "api_of", lambda _: None)
    monkeypatch.setattr(facts_host, "shell_of", None)
    monkeypatch.setattr(
        raising, "lxd_facts_of", lambda host, fresh=False: fleet.run.facts[host.name].lxd
    )
    record = fleet.do(raise_containers).result["containers"]["web-01"]
    assert (record["status"], record["changed"], record["steps"]) == ("failed", False, [])
    assert "image tiny is not on this host" in record["message"]
    assert "planned was: create container web-01, start container web-01" in record["message"]
