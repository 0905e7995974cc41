"""Files of a configuration: written, removed where declared absent, taken back once departed."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tasks.actual import MachineFacts
from tasks.intent.system import File
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, absent_step, file_step
from tasks.plan import Step, mapping_diff


def plan_file(file: File, actual: MachineFacts, off: Collection[str] = ()) -> Step[Calls] | None:
    """The step for one file; None where it is as declared.

    Noted before it is written: a run that is killed in between has written it all the same. No
    restart is noted of the services that are ``off``.
    """
    held = actual.files.get(file.path, ABSENT)
    if file.absent:
        return absent_step(file, held)
    before = tuple(Call("pend_restart", (name,)) for name in file.restarts if name not in off)
    if file.path not in actual.configured:
        before = (Call("note_configured", (file.path,)), *before)
    return file_step(file, held, before=before)


def take_back(path: str) -> Step[Calls]:
    """The step that undoes what we did to a file."""
    return Step(
        "take back",
        f"file {path}",
        (Call("take_back", (path,)),),
        "no longer in the inventory; what was there before comes back",
        mapping_diff({path: "ours"}, {path: "as before"}, "files"),
    )


def revoke(path: str) -> Step[Calls]:
    """The step that removes a file of ours which gave a user rights that it has no longer."""
    return Step(
        "remove",
        f"file {path}",
        (Call("revoke", (path,)),),
        "its user has no sudo any more",
        mapping_diff({path: "ours"}, {path: "absent"}, "files"),
    )


def departed_notes(departed: Collection[str]) -> Iterator[str]:
    """What is said of files that we wrote and that left the inventory."""
    for path in departed:
        yield f"file {path} is no longer in the inventory; --prune takes it back"
