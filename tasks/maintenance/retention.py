"""Which of many moments to keep: the newest ones, and one of each day and week."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone

from tasks.intent.maintenance import Retention


def kept(moments: Iterable[datetime], rule: Retention) -> set[datetime]:
    """The moments that a rule keeps; all others may go.

    Kept are the newest ``last``; of each of the newest ``daily`` days that have any the newest; and
    of each of the newest ``weekly`` weeks likewise. Days and ISO 8601 weeks are those of UTC, so
    that what is kept does not depend on who asks. Pruned after each new moment or once a year, the
    same ones are left.
    """
    newest_first = sorted(set(moments), reverse=True)
    return {
        *newest_first[: rule.last],
        *_newest_of_each(newest_first, rule.daily, lambda at: at.date()),
        *_newest_of_each(newest_first, rule.weekly, lambda at: at.isocalendar()[:2]),
    }


def _newest_of_each(
    newest_first: Iterable[datetime], periods: int, period_of: Callable[[datetime], object]
) -> list[datetime]:
    newest: dict[object, datetime] = {}
    for moment in newest_first:
        newest.setdefault(period_of(moment.astimezone(timezone.utc)), moment)
    return list(newest.values())[:periods]
