from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intent.maintenance import Retention
from tasks.maintenance.moments import snapshot_name, taken_at
from tasks.maintenance.retention import kept
from tasks.maintenance.snapshots import plan_pruning, plan_snapshot

DAY = timedelta(days=1)
#: A Monday.
TODAY = datetime(2026, 11, 23, 3, tzinfo=timezone.utc)


def names(*days: str) -> set[str]:
    return {f"fleet-2026{day}T030000Z" for day in days}


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Retention(last=3), names("1123", "1122", "1121")),
        (Retention(last=1, daily=3), names("1123", "1122", "1121")),
        # of each week its last day, a Sunday; the week that has just begun has one day
        (Retention(last=1, weekly=4), names("1123", "1122", "1115", "1108")),
        (
            Retention(last=3, daily=7, weekly=4),
            names("1123", "1122", "1121", "1120", "1119", "1118", "1117", "1115", "1108"),
        ),
    ],
)
def test_a_year_of_daily_snapshots_leaves_what_the_rule_names(
    rule: Retention, left: set[str]
) -> None:
    """The clock is the test's; each day takes one and prunes, as cron would."""
    existing = ["before-the-upgrade"]
    for day in range(365, -1, -1):
        name = snapshot_name(TODAY - day * DAY)
        assert [step.write for step in plan_snapshot(name, existing).steps] == [name]
        existing.append(name)
        for step in plan_pruning(existing, rule).steps:
            existing.remove(step.write)
    assert set(existing) == left | {"before-the-upgrade"}
    assert not plan_pruning(existing, rule).changed
    assert not plan_snapshot(snapshot_name(TODAY), existing).changed


def test_of_a_day_the_newest_is_kept_and_the_days_are_those_of_utc() -> None:
    morning, evening = TODAY - DAY, TODAY - DAY + timedelta(hours=18)
    rule = Retention(last=1, daily=2)
    assert kept([morning, evening, TODAY], rule) == {evening, TODAY}
    zone = timezone(timedelta(hours=9))  # there, the evening is in the next day already
    assert kept([m.astimezone(zone) for m in (morning, evening, TODAY)], rule) == {evening, TODAY}


def test_days_without_a_snapshot_do_not_count() -> None:
    days = [TODAY, TODAY - 30 * DAY, TODAY - 200 * DAY, TODAY - 300 * DAY]
    assert kept(days, Retention(last=1, daily=3)) == set(days[:3])
    assert kept(days, Retention(last=1, weekly=2)) == set(days[:2])


moments = st.lists(
    st.integers(0, 400 * 24).map(lambda hours: TODAY - timedelta(hours=hours)), unique=True
)
rules = st.builds(Retention, st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))


@given(moments, rules)
def test_pruned_after_each_one_or_all_at_once_the_same_are_left(
    given_moments: list[datetime], rule: Retention
) -> None:
    left: set[datetime] = set()
    for moment in sorted(given_moments):
        left = kept({*left, moment}, rule)
    assert left == kept(given_moments, rule)
    assert len(left) <= rule.last + rule.daily + rule.weekly
    if given_moments:
        assert max(given_moments) in left


def test_the_oldest_goes_first_and_is_shown() -> None:
    existing = [snapshot_name(TODAY - n * DAY) for n in range(3)]
    plan = plan_pruning(existing, Retention(last=1))
    assert [(step.action, step.object) for step in plan.steps] == [
        ("delete", "snapshot fleet-20261121T030000Z"),
        ("delete", "snapshot fleet-20261122T030000Z"),
    ]
    assert plan.diff == "-snapshot fleet-20261121T030000Z\n-snapshot fleet-20261122T030000Z"
    assert plan_pruning(existing[:1], Retention()).reason == "nothing to remove, 1 of ours kept"


@pytest.mark.parametrize(
    "name",
    ["snap0", "fleet-20261123T030000Z-old", "fleet-20261323T030000Z", "fleet-20261123T030000", ""],
)
def test_a_snapshot_of_another_name_is_never_ours(name: str) -> None:
    assert taken_at(name) is None
    assert not plan_pruning([name, snapshot_name(TODAY)], Retention()).changed


def test_a_name_says_when_it_was_taken() -> None:
    local = TODAY.astimezone(timezone(timedelta(hours=1)))
    assert taken_at(snapshot_name(local)) == TODAY
