"""Keys of machines that are controllers no longer: told, and with ``--prune`` let in no more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tasks.actual import MachineFacts
from tasks.identity import Identity
from tasks.intent.model import Machine
from tasks.intent.system import User
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT
from tasks.machine.keys import key_of
from tasks.machine.paths import ROOT_KEYS, is_foreign, keys_path
from tasks.plan import Step, text_diff


def plan_departed_keys(
    former: Collection[Identity], machine: Machine, actual: MachineFacts, *, prune: bool
) -> Iterator[Step[Calls] | str]:
    """A step, or without ``prune`` a note, for each key that a machine still lets in: as root, or
    as the user that logs in there.

    Arguments:
        former: those that are controllers no longer.
        machine: with all keys that it has for other reasons.
    """
    held = {"root": actual.files.get(ROOT_KEYS, ABSENT).text.split("\n")}
    paths = {"root": ROOT_KEYS}
    log_in = machine.ssh.username
    if log_in in actual.users:
        held.setdefault(log_in, list(actual.users[log_in].keys))
        paths.setdefault(log_in, keys_path(User(log_in), actual.users[log_in].home))
    users = {user.name: user.keys for user in machine.configure.users}
    wanted = {"root": (*machine.bootstrap.authorized_keys, *users.get("root", ()))}
    for user, lines in held.items():
        others = {key_of(line) for line in wanted.get(user, users.get(user, ()))}
        for identity in former:
            key = key_of(identity.public_key or "")
            its = [line for line in lines if key and key == key_of(line)]
            if its and key not in others:
                foreign = paths[user] if is_foreign(paths[user], machine) else ""
                yield _departed(identity, its, user, foreign=foreign, prune=prune)


def _departed(
    identity: Identity, lines: Sequence[str], user: str, *, foreign: str, prune: bool
) -> Step[Calls] | str:
    what = f"authorized key of {identity.name}" + ("" if user == "root" else f" for {user}")
    if foreign:
        return f"{what} is let in, and it is no controller any more; take it out of {foreign} there"
    if not prune:
        return f"{what} is let in, and it is no controller any more; --prune removes it"
    text = "".join(f"{line}\n" for line in lines)
    call = Call("remove_keys", (user,), text.encode())
    diff = text_diff(text, "", f"authorized keys of {user}")
    return Step("remove", what, (call,), "it is no controller any more", diff)
