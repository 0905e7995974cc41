"""What maintenance left undone, so that the next run begins with it, decided purely."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

#: Machines by job, those that wait longest first.
Undone = Mapping[str, Sequence[str]]


def still_undone(
    before: Undone, left: Undone, settled: Mapping[str, Collection[str]], names: Collection[str]
) -> dict[str, list[str]]:
    """What is undone after a run: what was so before and had no turn, then what the run left.

    Arguments:
        before: what was undone before the run.
        left: what it left undone.
        settled: by job the machines that had their turn.
        names: the machines that the inventory has.
    """
    undone = {}
    for job in dict.fromkeys((*before, *left)):
        now, done = left.get(job, ()), settled.get(job, ())
        waiting = [name for name in before.get(job, ()) if name in now or name not in done]
        found = [name for name in dict.fromkeys((*waiting, *now)) if name in names]
        if found:
            undone[job] = found
    return undone


def first_of(undone: Undone, jobs: Iterable[str]) -> list[str]:
    """The machines that any of these jobs is undone on, each once."""
    return list(dict.fromkeys(name for job in jobs for name in undone.get(job, ())))
