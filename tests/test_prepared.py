"""Prepared images, planned from a table of cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import LxdFacts
from tasks.images.prepared import (
    BASE,
    BASE_NAME,
    PREPARED,
    prepared_alias,
    prepared_aliases,
    starts_from,
)
from tasks.intent.model import Bootstrap, Container, Image, Profile, Ssh
from tasks.ownership import BUILDER_KEY, CREATED_KEY
from tasks.prepared.plan import plan_prepared, waiting_for

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "prepared.yaml").read_text())
NOW = datetime(2026, 2, 20, tzinfo=timezone.utc)
PLAIN = {"plain": Image("plain", prepare=True)}


def container(name: str, packages: list[str], **fields: Any) -> Container:
    bootstrap = Bootstrap(packages=tuple(packages))
    return Container(
        name, Ssh("192.0.2.2"), on="voice-01", image="plain", bootstrap=bootstrap, **fields
    )


def image_document(alias: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "aliases": [{"name": alias}] if facts["alias"] else [],
        "created_at": f"{facts['made']}T06:00:00Z",
        "properties": {PREPARED: alias, BASE: facts["base"], BASE_NAME: "plain"},
    }


def facts_of(alias: str, has: dict[str, Any], instances: dict[str, Any]) -> LxdFacts:
    documents = {fingerprint: image_document(alias, facts) for fingerprint, facts in has.items()}
    plain = {"aliases": [{"name": "plain"}], "properties": {}}
    return LxdFacts(images={"base0000": plain, **documents}, instances=instances)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(case: dict[str, Any]) -> None:
    new = [container(name, packages) for name, packages in case["new"].items()]
    recipes = list(prepared_aliases(new, PLAIN, {})) or [""]
    there = [container(name, []) for name in case.get("there", [])]
    instances = {c.name: {"name": c.name, "config": {}} for c in there}
    for name, ours in case.get("left", {}).items():
        builder = {BUILDER_KEY: name} if ours else {}
        instances[name] = {"name": name, "config": {CREATED_KEY: name, **builder}}
    plan = plan_prepared(
        [*there, *new],
        {"plain": Image("plain", prepare=True, prepare_days=case.get("days"))},
        {},
        facts_of(recipes[0], case.get("has", {}), instances),
        others={
            name: facts_of(recipes[0], has, {c: {} for c in case.get("elsewhere", [])})
            for name, has in case.get("others", {}).items()
        },
        now=NOW,
    )
    names = dict(zip(recipes, ("RECIPE", "OTHER"), strict=False))
    told = [
        [s.action, f"image {names[s.write.alias]}" if s.write.alias else s.object, s.detail]
        for s in plan.steps
    ]
    assert told == case["steps"]
    if "reason" in case:
        assert plan.reason == case["reason"]


def test_the_recipe_is_what_bootstrap_and_cloud_init_do_and_nothing_else() -> None:
    one = container("web-01", ["python3"])
    profile = Profile("app", config={"user.user-data": "#cloud-config\n"})
    with_profile = container("web-01", ["python3"], profiles=("app",))
    assert prepared_alias(one, {}) == prepared_alias(container("other", ["python3"]), {})
    assert prepared_alias(with_profile, {"app": profile}) != prepared_alias(one, {})
    assert prepared_alias(with_profile, {"app": Profile("app")}) == prepared_alias(one, {})
    limits = container("web-01", ["python3"], config={"limits.memory": "1GiB"})
    assert prepared_alias(limits, {}) == prepared_alias(one, {})


@pytest.mark.parametrize("prepare", [True, False])
def test_a_container_starts_from_the_prepared_image_only_where_it_is_asked_for(
    prepare: bool,
) -> None:
    one = container("web-01", ["python3"])
    alias = prepared_alias(one, {})
    facts = facts_of(alias, {"aaaa": {"made": "2026-02-01", "base": "base0000", "alias": 1}}, {})
    images = {"plain": Image("plain", prepare=prepare)}
    assert starts_from(one, images, {}, facts, NOW) == (alias if prepare else "plain")
    assert starts_from(one, images, {}, LxdFacts(), NOW) == "plain"


def test_only_new_containers_of_an_image_that_is_to_be_prepared_wait() -> None:
    images = {**PLAIN, "other": Image("other")}
    new, made, there = (container(name, [name]) for name in ("new", "made", "there"))
    containers = [new, made, there, replace(container("another", []), image="other")]
    has = {"cafe0000": {"alias": True, "base": "base0000", "made": "2026-02-01"}}
    facts = facts_of(prepared_alias(made, {}), has, {"there": {"name": "there", "config": {}}})
    plan = plan_prepared(containers, images, {}, facts, others={}, now=NOW)
    assert waiting_for(plan, containers, images, {}, facts, others={}) == {"new"}
    elsewhere = {"voice-02": LxdFacts(instances={"new": {}})}
    plan = plan_prepared(containers, images, {}, facts, others=elsewhere, now=NOW)
    assert waiting_for(plan, containers, images, {}, facts, others=elsewhere) == set()
