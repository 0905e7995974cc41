"""Our block in a user's crontab; everything else in it is the user's."""

from __future__ import annotations

from tasks.errors import FleetError


def with_block(crontab: str, title: str, line: str | None) -> str:
    """The crontab with this line as the block of this title, in its place where there is one.

    Without a line the block is taken out. Raises :class:`FleetError` where the block that is there
    is not whole.
    """
    begin, end = (
        f"# nornir-lxd-fleet {title}: begin",
        f"# nornir-lxd-fleet {title}: end",
    )
    # not splitlines, which knows line ends that cron does not
    lines = crontab.removesuffix("\n").split("\n") if crontab else []
    block = [begin, line, end] if line is not None else []
    if (lines.count(begin), lines.count(end)) == (0, 0):
        return _text([*lines, *block])
    first, last = _place(lines, begin), _place(lines, end)
    if lines.count(begin) != 1 or lines.count(end) != 1 or first > last:
        raise FleetError(
            f"the block between {begin!r} and {end!r} is not whole",
            where="crontab",
            remedy="take what is left of it out with crontab -e",
        )
    return _text([*lines[:first], *block, *lines[last + 1 :]])


def _place(lines: list[str], line: str) -> int:
    return lines.index(line) if line in lines else -1


def _text(lines: list[str]) -> str:
    """Cron does not take a last line without its end."""
    return "".join(f"{line}\n" for line in lines)
