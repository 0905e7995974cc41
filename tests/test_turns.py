"""In which order hosts change what could take redundant ones out of service at once."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.state import GlobalState
from nornir.core.task import AggregatedResult, Result, Task
from nornir.plugins.runners import SerialRunner

from tasks.actual import HostFacts, LxdFacts
from tasks.intent.model import Intent, LxdHost, LxdServer, Netplan, Ssh
from tasks.outcome import record, result_of
from tasks.provision import provision
from tasks.run import RUN_KEY, Run
from tasks.state import StateFolder

#: The module: the package's own name provision is the function.
whole = import_module("tasks.provision")

DEB = LxdFacts("deb", running=True, server={"environment": {"server_version": "5.0.2"}})
SNAP = replace(DEB, package="snap", channel="5.0/stable")
IN_A_CLUSTER = replace(
    DEB, server={"environment": {"server_version": "5.0.2", "server_clustered": True}}
)


class Fleet:
    """LXD hosts that shall all have the snap, one of which may fail to get it."""

    def __init__(self, folder: Path, lxd: dict[str, LxdFacts], fails: str) -> None:
        host = LxdHost("", Ssh("192.0.2.1"), lxd=LxdServer(package="snap"))
        hosts_of = {name: replace(host, name=name) for name in lxd}
        hosts_of["b"] = replace(hosts_of["b"], netplan=Netplan(canary=True))
        intent = Intent(
            folder=folder,
            lxd_hosts=hosts_of,
            containers={},
            machines={},
            bridges={},
            profiles={},
            images={},
        )
        self.facts = {
            name: HostFacts(name, os_id="ubuntu", os_version="18.04", lxd=found)
            for name, found in lxd.items()
        }
        self.fails = fails
        self.moved: list[list[str]] = []
        defaults = Defaults()
        hosts = Hosts({name: Host(name, defaults=defaults) for name in lxd})
        defaults.data[RUN_KEY] = Run(intent, StateFolder(folder / "state"), hosts, frozenset(lxd))
        self.nr = Nornir(
            Inventory(hosts, Groups(), defaults), runner=SerialRunner(), data=GlobalState()
        )

    def check(self, host: Host) -> None:
        run: Run = host[RUN_KEY]
        run.facts[host.name] = self.facts[host.name]

    def set_up(self, task: Task, prune: bool) -> Result:
        status = "failed" if task.host.name == self.fails else "changed"
        return result_of(task, record("lxd", status))  # type: ignore[arg-type]  # one of the two

    def saw(self, result: AggregatedResult) -> None:
        """Which hosts one Nornir run had."""
        self.moved.append(list(result))


@pytest.mark.parametrize(
    ("lxd", "fails", "runs"),
    [
        ({"a": SNAP, "b": SNAP, "c": SNAP}, "", [["a", "b", "c"]]),
        ({"a": DEB, "b": DEB, "c": SNAP, "d": DEB}, "", [["c"], ["b"], ["a"], ["d"]]),
        ({"a": DEB, "b": DEB, "c": SNAP, "d": DEB}, "b", [["c"], ["b"]]),
        ({"a": DEB, "b": DEB, "c": DEB}, "a", [["b"], ["a"]]),
        ({"a": IN_A_CLUSTER, "b": DEB, "c": DEB}, "a", [["a"], ["b"], ["c"]]),
    ],
    ids=["none moves", "in turn", "the canary fails", "another fails", "one that is refused"],
)
def test_lxd_is_moved_host_after_host_and_a_failure_stops_the_rest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lxd: dict[str, LxdFacts],
    fails: str,
    runs: list[list[str]],
) -> None:
    fleet = Fleet(tmp_path, lxd, fails)
    monkeypatch.setattr(whole, "lock_host", lambda _: None)
    monkeypatch.setattr(whole, "see_that_it_can_be_managed", fleet.check)
    monkeypatch.setattr(whole, "setup_lxd", fleet.set_up)
    report = provision(fleet.nr, phases=["lxd"], on_result=fleet.saw)
    assert fleet.moved[1 : 1 + len(runs)] == runs
    last = {name: host.phases[-1] for name, host in report.hosts.items()}
    skipped = {name for name, entry in last.items() if entry["status"] == "skipped"}
    assert skipped == set(lxd) - {name for run in runs for name in run}
    for name in skipped:
        said = f"its LXD was to be moved to the snap after {fails}, which failed"
        assert (last[name]["phase"], last[name]["message"]) == ("lxd", said)


def test_a_host_whose_network_waits_for_its_confirmation_has_a_turn_and_stops_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(tmp_path, {"a": DEB, "b": SNAP, "c": SNAP}, "")
    fleet.facts["b"] = replace(fleet.facts["b"], network_pending=True)

    def bridges(task: Task, prune: bool) -> Result:
        return result_of(task, record("bridges", "failed" if task.host.name == "b" else "ok"))

    monkeypatch.setattr(whole, "lock_host", lambda _: None)
    monkeypatch.setattr(whole, "see_that_it_can_be_managed", fleet.check)
    monkeypatch.setattr(whole, "setup_lxd", fleet.set_up)
    monkeypatch.setattr(whole, "configure_bridges", bridges)
    report = provision(fleet.nr, phases=["bridges", "lxd"], on_result=fleet.saw)
    assert fleet.moved[1:3] == [["c"], ["b"]]
    assert report.hosts["a"].phases[-1]["message"].endswith("after b, which failed")
