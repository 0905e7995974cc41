"""Keys of machines that are controllers no longer: told, and with ``--prune`` let in no more."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tasks.actual import MachineFacts
from tasks.controllers.identity import Identity
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT
from tasks.machine.paths import ROOT_KEYS
from tasks.plan import Step, text_diff


def plan_departed_keys(
    former: Collection[Identity], wanted: Collection[str], actual: MachineFacts, *, prune: bool
) -> Iterator[Step[Calls] | str]:
    """A step, or without ``prune`` a note, for each key that root of a machine still lets in.

    Arguments:
        former: those that are controllers no longer.
        wanted: the public keys that the machine has for other reasons.
    """
    held = actual.files.get(ROOT_KEYS, ABSENT).text.splitlines()
    others = {_key(line) for line in wanted}
    for identity in former:
        key = _key(identity.public_key or "")
        line = next((line for line in held if key and key in line.split()), None)
        if line is None or key in others:
            continue
        what = f"authorized key of {identity.name}"
        if prune:
            call = Call("remove_keys", ("root",), f"{key}\n".encode())
            diff = text_diff(line, "", "authorized keys of root")
            yield Step("remove", what, (call,), "it is no controller any more", diff)
        else:
            yield f"{what} is let in, and it is no controller any more; --prune removes it"


def _key(line: str) -> str:
    return next((word for word in line.split() if word.startswith("AAAA")), "")
