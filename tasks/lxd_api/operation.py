"""Background operations of LXD: waited for in bounded slices, watched from their start."""

from __future__ import annotations

import time
from typing import Any

from tasks.errors import DeadlineError, LxdError, LxdNotFoundError, LxdStalledError
from tasks.intent.secret import hide
from tasks.lxd_api.session import Json, LxdSession

#: Seconds that one request waits for a background operation; a wait goes on with the next one.
SLICE = 10
#: LXD's status codes of an operation (its REST documentation, "Return values").
SUCCESS = 200
RUNNING = range(100, 200)


def follow(
    session: LxdSession, operation: str, what: str, until: float, *, stall: float | None = None
) -> Any:
    """Wait for an operation until ``until`` (monotonic clock); returns its metadata.

    A client's own time-out would cut the wait off while LXD carries on, so it is waited for in
    slices that end by themselves. With ``stall`` it is ended after so many seconds, and a slice at
    most, without any progress. Raises :class:`LxdError` where it failed or LXD no longer knows it,
    :class:`LxdStalledError` where it was ended, :class:`DeadlineError` where it still runs.
    """
    progress = _Progress(session, operation)
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise _still_running(session.where, what)
        seconds = max(1, min(SLICE, int(left), int(SLICE if stall is None else stall)))
        try:
            answer = session.request("GET", f"{operation}/wait?timeout={seconds}")
        except LxdNotFoundError:
            raise LxdError(
                f"the outcome of {what} is unknown: LXD has forgotten the operation",
                where=session.where,
                remedy="run again: it reads what is there",
            ) from None
        state = answer.json()["metadata"]
        if state["status_code"] == SUCCESS:
            return state["metadata"]
        if state["status_code"] not in RUNNING:
            said = hide(str(state.get("err") or state.get("status")))
            raise LxdError(f"{what} failed in LXD: {said}", where=session.where)
        if stall is not None and progress.seconds_without(state, stall) >= stall:
            raise _ended(session, operation, what, stall, began=bool(state["metadata"]))


class _Progress:
    """When an operation was last seen to get on."""

    def __init__(self, session: LxdSession, operation: str) -> None:
        self._session = session
        self._operation = operation
        self._seen: object = None
        self._others: object = None
        self._since = time.monotonic()

    def seconds_without(self, state: Json, enough: float) -> float:
        """How long it has made none. ``enough`` are the seconds that count as long.

        LXD downloads an image once: a second request waits for the first, and shows no progress of
        its own. So once it seems to stall, the other operations of its kind count too.
        """
        now = time.monotonic()
        if str((state["metadata"] or {}).get("download_progress", "")).startswith("rootfs: 100%"):
            self._since = now  # it is unpacked, of which LXD tells nothing
        seen = (state.get("updated_at"), state["metadata"])
        if seen != self._seen:
            self._seen, self._since = seen, now
        elif now - self._since >= enough:
            others = self._of_its_kind(state)
            if others and others != self._others:
                self._since = now
            self._others = others
        return now - self._since

    def _of_its_kind(self, state: Json) -> object:
        found = self._session.request("GET", "/1.0/operations?recursion=1").json()["metadata"]
        return [
            (other["id"], other.get("updated_at"), other["metadata"])
            for other in sorted((found or {}).get("running") or [], key=lambda each: each["id"])
            if other["description"] == state["description"]
            and not self._operation.endswith(other["id"])
            and other["metadata"]
        ]


def _ended(
    session: LxdSession, operation: str, what: str, stall: float, *, began: bool
) -> LxdStalledError:
    """Have LXD cancel an operation that stalls; the error that says what became of it."""
    stalled = f"no progress for {stall:.0f} s"
    try:
        session.request("DELETE", operation)
    except LxdError:  # LXD 5.0 cannot, say, while it waits for an image server's first answer
        name = operation.rsplit("/", 1)[-1]
        return LxdStalledError(
            f"{stalled}; LXD cannot cancel {what}, its operation {name} goes on there until it "
            "fails by itself",
            where=session.where,
            remedy="see it on the host with: lxc operation list (a restart of LXD ends it)",
            began=began,
        )
    return LxdStalledError(f"{stalled}; {what} was cancelled", where=session.where, began=began)


def _still_running(where: str, what: str) -> DeadlineError:
    return DeadlineError(
        f"{what} is still running in LXD after its deadline",
        where=where,
        remedy="wait for it (on the host: lxc operation list), then run again",
    )
