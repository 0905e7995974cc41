from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Result, Task

from tasks.actual import HostFacts, LxdFacts
from tasks.errors import DeadlineError, UnreachableError, UsageError
from tasks.intent.maintenance import Maintenance, Upgrade
from tasks.intent.model import Container, Ssh
from tasks.maintenance.jobs import JOBS, Job, chosen
from tasks.maintenance.maintain import maintain
from tasks.maintenance.runner import TurnRunner
from tasks.maintenance.turns import LXD_HOSTS, Turn, next_turns, turns_of
from tasks.maintenance.upgrade import packages, task
from tasks.maintenance.upgrade.packages import happened, simulated
from tasks.maintenance.upgrade.task import upgrade_packages
from tasks.maintenance.workable import why_not
from tasks.outcome import record
from tasks.run import run_of
from tasks.shell import Completed
from tests.machines import container_of, fleet_of, host_of, run_on

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "maintenance.yaml").read_text())


def cases(table: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[table], ids=lambda case: case["name"])


def steps(plan: Any) -> list[list[str]]:
    return [[step.action, step.object, step.detail] for step in plan.steps]


@cases("turns")
def test_whose_turn_it_is(case: dict[str, Any]) -> None:
    turns = {}
    for name, values in case["machines"].items():
        sets: dict[str, Any] = {k: frozenset(v) for k, v in values.items() if isinstance(v, list)}
        turns[name] = Turn(name, **{**values, **sets})
    assert next_turns(turns, case["waiting"], case["running"]) == case["start"]


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Turn]:
    """Up to three LXD hosts with their containers, other machines, pairs, a controlling one."""
    apart = st.sampled_from([None, None, "sip", "db"])
    turns = {}
    controlling = draw(st.booleans())
    for number in range(draw(st.integers(1, 3))):
        host = f"host{number}"
        batch = draw(st.integers(1, 3))
        last = controlling and number == 0
        if draw(st.booleans()):
            carries = draw(st.frozensets(st.sampled_from(["sip", "db"])))
            turns[host] = Turn(host, None, batch, draw(apart), last, carries=carries)
        for place in range(draw(st.integers(0, 5))):
            name = f"{host}-{place}"
            turns[name] = Turn(name, host, batch, draw(apart), last and place == 0)
    if draw(st.booleans()):
        turns["sbc"] = Turn("sbc", None, 1, draw(apart))
    return turns


def breaks_a_rule(turns: dict[str, Turn], name: str, left: list[str], at_work: list[str]) -> bool:
    """Whether a machine may not start while these are ``left`` (itself too), some of them at work.

    The rules written once more, one by one.
    """
    turn = turns[name]
    others = [turns[other] for other in left if other != name]
    busy = [turns[other] for other in at_work]
    return (
        (turn.last and not all(other.last for other in others))
        or any(turn.groups & other.groups for other in busy)
        or (turn.on is None and turn.name in [other.on for other in others])
        or (turn.on is not None and [other.on for other in busy].count(turn.on) >= turn.batch)
    )


@given(fleets(), st.randoms(), st.data())
def test_every_machine_gets_its_turn_and_no_rule_is_ever_broken(
    turns: dict[str, Turn], chance: Any, data: st.DataObject
) -> None:
    waiting, running, done = list(turns), list[str](), list[str]()
    chance.shuffle(waiting)
    first = data.draw(st.lists(st.sampled_from(waiting), unique=True)) if waiting else []
    waiting.sort(key=lambda name: name not in first)
    while waiting or running:
        started = next_turns(turns, waiting, running)
        assert set(started) <= set(waiting)
        preferred = [name for name in started if name in first]
        assert started[: len(preferred)] == preferred
        for name in waiting:  # those left undone start as early as the rules let them
            if name in first and name not in started:
                assert breaks_a_rule(turns, name, [*waiting, *running], [*running, *preferred])
        running += started
        waiting = [name for name in waiting if name not in started]
        assert running, f"nobody may start of {waiting}"
        at_work = [turns[name] for name in running]
        for turn in at_work:
            if turn.on:
                assert sum(other.on == turn.on for other in at_work) <= turn.batch
                assert turn.on not in running
                assert turn.on not in done
            for group in {turn.apart, *turn.carries} - {None}:
                assert sum(group in {other.apart, *other.carries} for other in at_work) == 1
            if turn.last:
                left = [turns[name] for name in (*waiting, *running)]
                assert all(other.last for other in left)
        ended = chance.choice(running)
        running.remove(ended)
        done.append(ended)
    assert sorted(done) == sorted(turns)


def test_turns_follow_the_inventory(tmp_path: Path) -> None:
    nr = fleet_of(
        tmp_path,
        replace(host_of(), maintenance=Maintenance(batch=3)),
        container_of("rep-1", "192.168.56.241", apart="sip"),
    )
    intent = nr.inventory.defaults.data["nornir-lxd-fleet"].intent
    assert turns_of(intent, ["sidn-demo-02", "rep-1"], last=["rep-1"]) == {
        "sidn-demo-02": Turn("sidn-demo-02", None, 3, None, last=True),
        "rep-1": Turn("rep-1", "sidn-demo-02", 3, "sip", last=True),
    }
    interrupting = turns_of(intent, ["sidn-demo-02", "rep-1"], interrupting=True)
    assert {name: set(turn.groups) for name, turn in interrupting.items()} == {
        "sidn-demo-02": {"sip", LXD_HOSTS}, "rep-1": {"sip"},
    }  # fmt: skip


def test_those_left_undone_come_first_and_what_an_undone_host_waits_for(tmp_path: Path) -> None:
    nr = fleet_of(
        tmp_path,
        host_of("sidn-demo-01"),
        host_of(),
        container_of("a", "192.0.2.1", on="sidn-demo-01"),
        container_of("b", "192.0.2.2", on="sidn-demo-01"),
        container_of("c", "192.0.2.3"),
        container_of("d", "192.0.2.4"),
    )
    intent = run_of(nr).intent
    machines = ["sidn-demo-01", "a", "b", "sidn-demo-02", "c", "d"]
    undone = ["gone", "d", "b"]
    assert list(turns_of(intent, machines)) == machines
    assert list(turns_of(intent, machines, undone=undone)) == [
        *("d", "b", "sidn-demo-01", "a", "sidn-demo-02", "c")
    ]
    assert list(turns_of(intent, machines, undone=["sidn-demo-02", "a"])) == [
        *("sidn-demo-02", "a", "c", "d", "sidn-demo-01", "b")
    ]


def test_the_runner_begins_with_the_first_of_the_turns() -> None:
    turns = {name: Turn(name) for name in ("c", "a", "b")}
    inventory = Inventory(Hosts({name: Host(name) for name in "abc"}), Groups(), Defaults())
    nr = Nornir(inventory, runner=TurnRunner(turns, num_workers=1))
    begun: list[str] = []

    def work(task: Task) -> Result:
        begun.append(task.host.name)
        return Result(host=task.host)

    nr.run(task=work)
    assert begun == ["c", "a", "b"]


def test_the_runner_keeps_to_the_turns_and_works_side_by_side() -> None:
    turns = {
        "host": Turn("host", batch=2),
        **{f"ct-{number}": Turn(f"ct-{number}", "host", 2) for number in range(4)},
        "sbc": Turn("sbc"),
    }
    inventory = Inventory(Hosts({name: Host(name) for name in turns}), Groups(), Defaults())
    nr = Nornir(inventory, runner=TurnRunner(turns))
    events: list[tuple[str, str]] = []
    pair = threading.Barrier(2, timeout=10)  # only passed where two containers work at once

    def work(task: Task) -> Result:
        events.append(("start", task.host.name))
        if task.host.name.startswith("ct-"):
            pair.wait()
        if task.host.name == "ct-1":
            raise ValueError("one that fails")
        events.append(("end", task.host.name))
        return Result(host=task.host)

    results = nr.run(task=work)
    assert set(results) == set(turns)
    assert set(results.failed_hosts) == {"ct-1"}
    assert events.index(("start", "host")) > max(
        events.index(("end", f"ct-{n}")) for n in (0, 2, 3)
    )


def test_the_runner_works_on_no_more_than_it_may() -> None:
    turns = {str(number): Turn(str(number)) for number in range(6)}
    inventory = Inventory(Hosts({name: Host(name) for name in turns}), Groups(), Defaults())
    nr = Nornir(inventory, runner=TurnRunner(turns, num_workers=2))
    at_work: list[int] = []
    busy = threading.Semaphore(2)

    def work(task: Task) -> Result:
        free = busy.acquire(blocking=False)
        at_work.append(free)
        time.sleep(0.02)
        if free:
            busy.release()
        return Result(host=task.host)

    nr.run(task=work)
    assert at_work == [True] * 6


@pytest.mark.parametrize(
    ("names", "jobs"),
    [
        ((), ["upgrade", "health", "certificates"]),
        (("health",), ["health"]),
        (("prune-snapshots", "snapshot"), ["snapshot", "prune-snapshots"]),
        (("health", "upgrade", "health"), ["upgrade", "health"]),
    ],
)
def test_jobs_by_name_in_their_own_order(names: tuple[str, ...], jobs: list[str]) -> None:
    assert list(chosen(names)) == jobs


def test_an_unknown_job_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown job upgarde; did you mean upgrade\?"):
        chosen(["health", "upgarde"])


@cases("simulated")
def test_what_a_simulation_tells(case: dict[str, Any]) -> None:
    plan = simulated(case["output"])
    assert steps(plan) == case["steps"]
    assert plan.reason == ("" if case["steps"] else "nothing to upgrade")


@cases("happened")
def test_what_happened_to_packages(case: dict[str, Any]) -> None:
    plan = happened(case["before"], case["after"])
    assert steps(plan) == case["steps"]
    assert plan.diff == case["diff"]


@pytest.mark.parametrize(
    ("said", "dry_run", "changed"),
    [
        (DeadlineError("it did not end", where="box"), False, True),
        (DeadlineError("it did not end", where="box"), True, False),
        (Completed(1, b"# before\na 1\n# after\na 2\n", b"E: b"), False, True),
        (Completed(1, b"# before\na 1\n# after\na 1\n", b"E: b"), False, False),
        (None, False, False),
    ],
)
def test_an_upgrade_that_fails_has_changed_what_it_has_or_may_have(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Completed | Exception | None,
    dry_run: bool,
    changed: bool,
) -> None:
    class Machine:
        def run(self, *_: Any, **__: Any) -> Completed:
            if isinstance(said, Completed):
                return said
            assert said
            raise said

    def shell_of(_: Host) -> Machine:
        if said is None:
            raise UnreachableError("no answer", where="box")
        return Machine()

    for module in (packages, task):
        monkeypatch.setattr(module, "shell_of", shell_of)
    rules = Maintenance(upgrade=Upgrade(way_back=False))
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1", maintenance=rules))
    record = run_on(nr, "web", upgrade_packages, dry_run=dry_run)
    assert (record["status"] != "ok", record["changed"]) == (True, changed)


@pytest.mark.parametrize(
    ("lxd", "reason"),
    [
        (LxdFacts(instances={"web": {"status": "Running"}}), ""),
        (LxdFacts(instances={"web": {"status": "Stopped"}}), "it is stopped on host"),
        (LxdFacts(instances={"web": {"status": "Frozen"}}), "it is frozen on host"),
        (LxdFacts(instances={}), "it does not exist on host"),
        (LxdFacts(problem="no answer"), ""),
    ],
)
def test_why_a_container_is_skipped(lxd: LxdFacts, reason: str) -> None:
    web = Container("web", Ssh("192.0.2.1"), on="host")
    assert why_not(web, HostFacts("host", lxd=lxd)) == reason


@cases("there")
def test_a_container_that_is_not_there_is_not_well_where_it_should_be(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nr = fleet_of(tmp_path, container_of("web", "192.0.2.1", running=case["declared"] == "running"))
    instances = {"web": {"status": case["status"]}} if case["status"] else {}

    def answer(host: Host) -> HostFacts:
        read = HostFacts(host.name, lxd=LxdFacts(running=True, instances=instances))
        run_of(host).facts[host.name] = read
        return read

    def well(task: Task) -> Result:
        return Result(host=task.host, result=record("health", "ok", message="well"))

    module = sys.modules[maintain.__module__]  # its name is also the function's
    monkeypatch.setattr(module, "facts_of", answer)
    monkeypatch.setattr(module, "lock_host", lambda host: None)
    monkeypatch.setitem(JOBS, "health", Job(well, changes=False))
    monkeypatch.setattr(run_of(nr), "selected", frozenset({"web"}))
    report = maintain(nr, case["jobs"])
    found = [[p["phase"], p["status"], p["message"]] for p in report.hosts["web"].phases]
    assert found == case["booked"]
    assert report.exit_status() == case["exit"]
