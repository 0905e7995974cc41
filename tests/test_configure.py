"""Configure: what is planned from what was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import MachineFacts, UnitFacts, UserFacts
from tasks.configure.plan import plan_configuration
from tasks.errors import FleetError
from tasks.intent.model import Bootstrap, Machine, Ssh
from tasks.intent.system import Configure, CronJob, File, Group, Repository, Service, User
from tasks.machine.change import Call
from tasks.plan import Step
from tests.machines import facts_of_yaml

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "configure.yaml").read_text())


def wanted_of(data: dict[str, Any]) -> Configure:
    def tuples(values: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    lists = {
        "repositories": Repository,
        "groups": Group,
        "users": User,
        "files": File,
        "cron": CronJob,
        "services": Service,
    }
    made = {key: tuple(of(**tuples(one)) for one in data.get(key, [])) for key, of in lists.items()}
    return Configure(**{**data, **made})


def facts_of(data: dict[str, Any]) -> MachineFacts:
    known, data = bool(data), dict(data)
    users: dict[str, Any] = dict(data.pop("users", {}))
    for name, user in users.items():
        lists = {key: tuple(user[key]) for key in ("groups", "keys") if key in user}
        users[name] = UserFacts(**{**user, **lists})
    units = {name: UnitFacts(*states) for name, states in data.pop("units", {}).items()}
    pending = tuple(data.pop("pending_restarts", ()))
    for key in ("added_keys", "made_groups"):
        data[key] = {name: tuple(found) for name, found in data.get(key, {}).items()}
    facts = facts_of_yaml("web-01", {"over": "ssh" if known else "", **data})
    return replace(facts, users=users, units=units, pending_restarts=pending)


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
def test_plan(case: dict[str, Any]) -> None:
    machine = Machine(
        "web-01",
        Ssh("10.0.0.1", username=case.get("log_in", "root")),
        configure=wanted_of(case["wanted"]),
        foreign=tuple(case.get("foreign", ())),
        let_in=tuple(case.get("let_in", ())),
        bootstrap=Bootstrap(authorized_keys=tuple(case.get("root", ()))),
    )
    plan = plan_configuration(
        machine,
        facts_of(case["facts"]),
        prune=case.get("prune", False),
        own_keys=case.get("own_keys", ()),
        before_files=[
            Step("remove", "it", (Call("remove_keys", ("root",), f"{line}\n".encode()),))
            for line in case.get("elsewhere", ())
        ],
    )
    assert [f"{step.action} {step.object}" for step in plan.steps] == case["steps"]
    assert plan.reason == case.get("reason", plan.reason)
    assert list(plan.notes) == case.get("notes", [])
    for detail in case.get("details", []):
        assert detail in [step.detail for step in plan.steps]
    for line in case.get("diff", []):
        assert line in plan.diff.splitlines(), plan.diff
    for text in case.get("absent", []):
        assert text not in plan.diff
        assert text not in repr(plan)
    calls = [" ".join((c.function, *c.arguments)) for step in plan.steps for c in step.write]
    for call in case.get("calls", []):
        assert any(made.startswith(call) for made in calls), calls
    if "all_calls" in case:
        assert calls == case["all_calls"]


@pytest.mark.parametrize(
    ("foreign", "wanted"),
    [
        ("/etc/ntp.conf", Configure(files=(File("/etc/ntp.conf", "x"),))),
        ("/etc", Configure(files=(File("/etc/ntp.conf", "x"),))),
        ("/etc/locale.gen", Configure(locale="nl_NL.UTF-8")),
        ("/srv/olga/.ssh", Configure(users=(User("olga", keys=("ssh-ed25519 AAAAolga",)),))),
    ],
)
def test_a_foreign_path_is_refused(foreign: str, wanted: Configure) -> None:
    """Also one that only the machine knows: where the home of a user is."""
    machine = Machine("web-01", Ssh("10.0.0.1"), configure=wanted, foreign=(foreign,))
    actual = MachineFacts("web-01", users={"olga": UserFacts("/bin/bash", "/srv/olga")})
    with pytest.raises(FleetError, match="foreign"):
        plan_configuration(machine, actual)


@pytest.mark.parametrize("prune", [False, True])
def test_what_left_the_inventory_and_is_foreign_now_is_left_alone(*, prune: bool) -> None:
    machine = Machine("web-01", Ssh("10.0.0.1"), foreign=("/etc/app",))
    actual = MachineFacts("web-01", over="ssh", configured=("/etc/app/a.conf",))
    plan = plan_configuration(machine, actual, prune=prune)
    assert (plan.steps, plan.notes) == ((), ())
