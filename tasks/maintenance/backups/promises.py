"""Room that backups under way are still to fill, so that no two are told of the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tasks.run import Run


@contextmanager
def promised_room(
    run: Run, look: Callable[[Mapping[str, int]], Mapping[str, int]]
) -> Iterator[Callable[[str, int], None]]:
    """Have room promised to what is done within, so that no two are told of the same free bytes.

    Arguments:
        look: gets the bytes that are promised to others, by machine, sees that what is free beside
            them is enough, and returns what is needed. Nothing is promised or given back meanwhile.

    Yields what is called with a machine and the bytes that have been written there.
    """
    with run.promising():
        left = dict(look(dict(run.promised)))
        for machine, size in left.items():
            run.promised[machine] = run.promised.get(machine, 0) + size

    def give_back(machine: str, size: int) -> None:
        with run.promising():
            run.promised[machine] -= size
            left[machine] -= size

    try:
        yield give_back
    finally:
        for machine, size in tuple(left.items()):
            give_back(machine, size)
