"""When a machine may be changed, what ends a run, and what is undone after it."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageError
from tasks.intent.windows import DAYS, Calendar, Freeze, freeze_of, window_of
from tasks.maintenance.calendar import is_open, next_opening, why_closed
from tasks.maintenance.gate import why_ended
from tasks.maintenance.undone import first_of, still_undone

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "maintenance_calendar.yaml").read_text())
MINUTE = timedelta(minutes=1)
#: Zones whose clocks change at two, at midnight, by half an hour, by two hours, or never.
ZONES = ("Europe/Amsterdam", "Asia/Beirut", "Australia/Lord_Howe", "Antarctica/Troll", "UTC")


def cases(table: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", CASES[table], ids=lambda case: case["name"])


@cases("closed")
def test_why_a_machine_may_not_be_changed(case: dict[str, Any]) -> None:
    calendar = Calendar(
        tuple(window_of(text) for text in case.get("window", [])),
        tuple(freeze_of(text) for text in case.get("freezes", [])),
        case.get("timezone", "Europe/Amsterdam"),
    )
    moment = datetime.fromisoformat(case["at"].replace("Z", "+00:00"))
    assert why_closed(calendar, moment) == case["why"]


def test_without_a_time_zone_it_is_that_of_this_machine() -> None:
    here = datetime(2026, 3, 4, 2, 30).astimezone()
    calendar = Calendar((window_of("wed 02:00-03:00"),))
    assert why_closed(calendar, here.astimezone(timezone.utc)) == ""
    assert "opens wed 2026-03-11 02:00" in why_closed(calendar, here + timedelta(hours=1))


def test_a_time_zone_that_is_unknown_here_is_said_and_never_guessed() -> None:
    calendar = Calendar((window_of("02:00-03:00"),), timezone="Europe/Nowhere")
    with pytest.raises(UsageError, match=r"time zone Europe/Nowhere .* tzdata"):
        why_closed(calendar, datetime.now(timezone.utc))


@st.composite
def clocks(draw: st.DrawFn) -> str:
    return f"{draw(st.integers(0, 23)):02}:{draw(st.sampled_from([0, 1, 15, 30, 59])):02}"


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, list[str], str, str]:
    """A window's text with its days, its start and its end."""
    start, end = draw(st.lists(clocks(), min_size=2, max_size=2, unique=True))
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True))
    return f"{','.join(days)} {start}-{end}", days, start, end


@given(windows(), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)))
def test_a_window_is_what_it_reads_like(
    window: tuple[str, list[str], str, str], wall: datetime
) -> None:
    text, days, start, end = window
    today, clock = DAYS[wall.weekday()], f"{wall:%H:%M}"
    yesterday = DAYS[(wall - timedelta(days=1)).weekday()]
    if start < end:
        within = today in days and start <= clock < end
    else:
        within = (today in days and clock >= start) or (yesterday in days and clock < end)
    assert is_open(Calendar((window_of(text),)), wall) is within


@st.composite
def nights(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and a moment in UTC, mostly within days of a change of its clock."""
    zone = draw(st.sampled_from(ZONES))
    changes = [datetime(2026, 3, 29), datetime(2026, 10, 25), datetime(2026, 4, 5)]
    day = draw(st.sampled_from([*changes, datetime(2026, 10, 4), datetime(2026, 7, 1)]))
    return zone, (day - timedelta(minutes=draw(st.integers(-1500, 3000)))).replace(
        tzinfo=timezone.utc
    )


@settings(max_examples=60, deadline=None)  # it is held against each minute of twelve days
@given(
    nights(),
    st.lists(windows(), max_size=3),
    st.lists(st.tuples(st.integers(-2, 4), st.integers(0, 6)), max_size=2),
)
def test_it_opens_at_the_first_minute_that_is_open(
    night: tuple[str, datetime],
    written: list[tuple[str, list[str], str, str]],
    frozen: list[tuple[int, int]],
) -> None:
    zone, moment = night
    day = moment.date()
    freezes = [
        Freeze(day + timedelta(days=first), day + timedelta(days=first + more))
        for first, more in frozen
    ]
    calendar = Calendar(tuple(window_of(text) for text, *_ in written), tuple(freezes), zone)
    minutes = [moment + MINUTE * n for n in range(1, 12 * 24 * 60)]
    walls = (minute.astimezone(ZoneInfo(zone)) for minute in minutes)
    first = next((wall for wall in walls if is_open(calendar, wall)), None)
    found = next_opening(calendar, moment)
    assert found is not None
    if first is None:
        assert found.astimezone(timezone.utc) > minutes[-1]
    else:
        assert found.astimezone(timezone.utc) == first.astimezone(timezone.utc)


@pytest.mark.parametrize(
    "text",
    ["", "mon", "mon-fri", "mon,-fri 01:00-02:00", "MON 01:00-02:00", "25:00-26:00", "01:60-02:00",
     "mon 01:00-02:00 ", "mon  01:00-02:00", "00:00-00:00", "01:00-24:01"],
)  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError):
        window_of(text)


def test_a_freeze_is_days() -> None:
    assert freeze_of("2026-12-31..2027-01-01") == Freeze(date(2026, 12, 31), date(2027, 1, 1))
    for text in ("2026-13-01", "2026-01-02..2026-01-01", "2026-01-01..", "2026-1-1", "2026-01-01 "):
        with pytest.raises(ValueError):
            freeze_of(text)


@cases("ended")
def test_how_many_failures_end_a_run(case: dict[str, Any]) -> None:
    assert why_ended(case["failed"]) == case["why"]


@cases("undone")
def test_what_is_undone_after_a_run(case: dict[str, Any]) -> None:
    after = still_undone(case["before"], case["left"], case["settled"], {"a", "b", "c", "d"})
    assert after == case["after"]


def test_whom_any_of_the_jobs_is_undone_on() -> None:
    undone = {"tidy": ["d"], "upgrade": ["b", "a"], "snapshot": ["c", "a"]}
    assert first_of(undone, ["snapshot", "upgrade"]) == ["c", "a", "b"]
