"""How the steps of a restore are carried out, with a fake in place of LXD and the backup's keeper;
which steps they are is in test_backups.py, and what LXD makes of them in the tests on the lab."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.errors import LxdError
from tasks.maintenance.backups.stored import Part
from tasks.maintenance.restore import task as restore
from tasks.maintenance.restore.plan import RestoreWrite
from tasks.plan import Plan, Step
from tasks.run import run_of
from tests.machines import container_of, fleet_of, host_of

Restoring = Callable[[Callable[[RestoreWrite], None]], None]
PART = Part("container", "default", 2)
WRITES = (
    RestoreWrite("import", "web-01", PART, half="half", wait=True),
    RestoreWrite("retire", "web-01", rename="web-01-replaced-20261125"),
    RestoreWrite("place", "web-01", PART, half="half"),
    RestoreWrite("start", "web-01"),
)


@pytest.fixture
def restoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restoring:
    """Applies ``WRITES`` to a container, with a fake in place of LXD and the backup's keeper."""
    nr = fleet_of(tmp_path, host_of(), container_of("web-01", "192.0.2.1"))
    container = run_of(nr).intent.containers["web-01"]
    plan = Plan(tuple(Step(write.action, "it", write) for write in WRITES))
    monkeypatch.setattr(restore, "api_of", lambda _: None)
    monkeypatch.setattr(restore._Restoring, "_store", None)
    monkeypatch.setattr(restore._Restoring, "_backup", lambda _: (None, None))
    monkeypatch.setattr(restore._Restoring, "_verify", lambda *_: None)
    monkeypatch.setattr(restore._Restoring, "_prove", lambda _: None)
    monkeypatch.setattr(restore._Restoring, "plan", lambda *_: plan)

    def apply(carry_out: Callable[[RestoreWrite], None]) -> None:
        fake = SimpleNamespace(carry_out=carry_out, let_go=lambda: None)
        monkeypatch.setattr(restore, "RestoreWriter", lambda *_: fake)
        host = nr.inventory.hosts["web-01"]
        restore._Restoring(host, container, replace_it=True, moment="").apply(plan)

    return apply


@pytest.mark.parametrize("failing", ["import", "place", "start"])
def test_what_fails_once_the_one_before_went_names_it_with_a_fake_lxd(
    restoring: Restoring, failing: str
) -> None:
    def carry_out(write: RestoreWrite) -> None:
        if write.action == failing:
            raise LxdError("it is full", where="one", remedy="make room")

    with pytest.raises(LxdError) as error:
        restoring(carry_out)
    kept = "; the one that was there is kept, stopped, as web-01-replaced-20261125: run again, or"
    said = "one: it is full; make room" + kept * (failing != "import")
    assert str(error.value).startswith(said)
    assert ("is kept" in str(error.value)) == (failing != "import")


def test_one_at_a_time_is_brought_to_an_lxd_host_with_a_fake_lxd(restoring: Restoring) -> None:
    at_work: list[str] = []
    together: list[int] = []

    def carry_out(write: RestoreWrite) -> None:
        if write.action == "start":
            return
        at_work.append(write.action)
        time.sleep(0.05)
        together.append(len(at_work))
        at_work.remove(write.action)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: restoring(carry_out), range(3)))
    assert together == [1] * 9
