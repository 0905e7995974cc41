"""What a maintenance does to those that have the work of a pair, and to their LXD hosts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.intent.maintenance import Backup, Maintenance
from tasks.intent.model import Container
from tasks.maintenance.jobs import JOBS, Job
from tasks.state import StateFolder
from tests.machines import HOST, host_of
from tests.pretended import NIGHTLY, OUTSIDE, Pretended, booked


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended.of_four(tmp_path / "state", monkeypatch)


class TestPairs:
    """b on the first LXD host and e on the second have the work of a pair."""

    @pytest.fixture
    def pair(self, fleet: Pretended) -> Pretended:
        fleet.machines[2] = replace(fleet.machines[2], apart="pair")
        fleet.machines.insert(1, host_of("sidn-demo-01"))
        fleet.add("e", on="sidn-demo-01", apart="pair")
        return fleet

    @pytest.mark.parametrize("stopped", [(), ("b",), ("e",)])
    def test_an_upgrade_that_was_killed_is_ended_before_the_other_is_begun(
        self, pair: Pretended, stopped: Collection[str]
    ) -> None:
        for name in ("b", "e"):
            pair.stopped, pair.upgrading = set(stopped) & {name}, (name,)
            report = pair.run("upgrade", workers=3)
            assert [booked(report, "upgrade")[each] for each in ("b", "e")] == ["ok", "ok"]
            order = [job.split()[1] for job in pair.begun]
            assert order[0] == name
            pair.fails = (name,)
            report = pair.run("upgrade", workers=3)
            other = "e" if name == "b" else "b"
            said = f"{name} of its group pair has failed or is down: left alone"
            assert booked(report, "upgrade")[other] == said
            pair.fails = ()

    def test_the_other_alone_is_left_alone_until_it_has_ended(self, pair: Pretended) -> None:
        pair.upgrading = ("b",)
        report = pair.run("upgrade", limit=["e"])
        assert booked(report, "upgrade") == {
            "e": "b of its group pair has failed or is down: left alone"
        }
        assert pair.begun == []

    @pytest.mark.parametrize("stopped", [(), ("e",)])
    def test_who_was_left_drained_gets_its_work_again_whatever_is_in_the_way_of_the_job(
        self, pair: Pretended, stopped: Collection[str]
    ) -> None:
        pair.declare(maintenance=NIGHTLY)  # and it is noon
        pair.stopped = stopped
        for dry_run in (True, False):
            pair.drained = {"b"}
            report = pair.run("upgrade", dry_run=dry_run)
            check = report.hosts["b"].phases[0]
            assert [(s["action"], s["object"]) for s in check["steps"]] == [
                ("undrain", "container b")
            ]
            assert (check["phase"], check["status"]) == ("check", "changed")
            assert pair.drained == ({"b"} if dry_run else set())
            assert "upgrade b" not in pair.begun or dry_run

    def test_and_the_other_is_left_alone_while_it_cannot_have_it(self, pair: Pretended) -> None:
        pair.drained, pair.undrains = {"b"}, False
        report = pair.run("upgrade", workers=3)
        assert report.hosts["b"].status == "failed"
        assert not {"upgrade b", "upgrade e"} & set(pair.begun)
        said = "b of its group pair has failed or is down: left alone"
        assert booked(report, "upgrade")["e"] == said
        pair.undrains = True
        assert {"upgrade b", "upgrade e"} <= set(pair.begun_in("upgrade"))

    def test_one_whose_partner_is_down_on_a_host_that_is_not_selected(
        self, pair: Pretended
    ) -> None:
        pair.stopped = ("e",)
        report = pair.run("upgrade", limit=["b"])
        assert booked(report, "upgrade") == {
            "b": "e of its group pair has failed or is down: left alone"
        }

    def test_an_lxd_host_that_fails_keeps_the_partners_of_what_it_carries_from_it(
        self, pair: Pretended
    ) -> None:
        pair.fails = (HOST,)
        StateFolder(pair.folder).remember_undone({"upgrade": [HOST]})
        report = pair.run("upgrade")
        assert booked(report, "upgrade")[HOST] == "failed"
        said = f"{HOST} of its group pair has failed or is down: left alone"
        assert booked(report, "upgrade")["e"] == said


def test_those_whose_partner_failed_are_left_alone_and_not_put_before_it(fleet: Pretended) -> None:
    fleet.machines[2:4] = [replace(machine, apart="pair") for machine in fleet.machines[2:4]]
    fleet.fails = ("b",)
    report = fleet.run("upgrade")
    assert booked(report, "upgrade")["c"] == "b of its group pair has failed or is down: left alone"
    assert fleet.undone == {}

    # neither one that its window had left before the other failed
    fleet.machines[2] = replace(fleet.machines[2], maintenance=NIGHTLY)
    StateFolder(fleet.folder).remember_undone({"upgrade": ["b"]})
    fleet.fails = ("c",)
    report = fleet.run("upgrade")
    assert booked(report, "upgrade")["b"] == OUTSIDE
    assert (report.undone, fleet.undone) == ({}, {})


@pytest.mark.parametrize("limit", [(), ("c",)])
def test_whoever_has_the_work_of_a_partner_that_is_down_is_only_read(
    fleet: Pretended, limit: Collection[str]
) -> None:
    fleet.machines[2:4] = [replace(machine, apart="pair") for machine in fleet.machines[2:4]]
    fleet.stopped = ("b",)
    report = fleet.run("upgrade", "health", limit=limit)
    assert [job for job in fleet.begun if job.endswith(" c")] == ["health c"]
    assert booked(report, "upgrade")["c"] == "b of its group pair has failed or is down: left alone"
    assert fleet.undone == {}
    down = fleet.machines[2]
    assert isinstance(down, Container)
    fleet.machines[2] = replace(down, running=False)  # as declared: it has no work
    fleet.run("upgrade", limit=limit)
    assert "upgrade c" in fleet.begun


@pytest.mark.parametrize("trouble", ["fails", "stopped"])
def test_a_host_is_not_interrupted_where_it_carries_one_whose_partner_is_not_well(
    fleet: Pretended, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setitem(JOBS, "reboot", Job(fleet.pretend("reboot"), changes=True, interrupts=True))
    fleet.machines[2:4] = [replace(machine, apart="pair") for machine in fleet.machines[2:4]]
    setattr(fleet, trouble, ("b",))
    report = fleet.run("upgrade", "reboot")
    assert booked(report, "upgrade")[HOST] == "ok"
    assert booked(report, "reboot")[HOST] == "b of its group pair has failed or is down: left alone"
    assert fleet.undone == {}
    setattr(fleet, trouble, ())
    assert booked(fleet.run("upgrade", "reboot"), "reboot")[HOST] == "ok"


def test_and_to_one_whose_partner_is_not_well_but_no_other_job_is(fleet: Pretended) -> None:
    fleet.declare(apart="pair", maintenance=Maintenance(backup=Backup("sidn-demo-01")))
    fleet.machines[0] = replace(fleet.machines[0], apart=None)
    fleet.stopped = ("a",)
    report = fleet.run("backup", "upgrade", limit=("a", "b"))
    assert booked(report, "backup") == {"a": "ok", "b": "ok"}
    assert booked(report, "upgrade")["b"] == "a of its group pair has failed or is down: left alone"
