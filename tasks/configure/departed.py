"""Keys, users and groups that we made and that left the inventory: told, removed with ``--prune``.

What was there before us is not among them: only what we add is noted on the machine. What is gone
already is forgotten at once: who makes it again makes it theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tasks.actual import MachineFacts, UserFacts
from tasks.configure.users import forget_group, forget_user
from tasks.intent.model import Machine
from tasks.intent.system import User
from tasks.machine.change import Call, Calls
from tasks.machine.keys import forget_key, key_name, key_of, keys_taken
from tasks.machine.paths import is_foreign, keys_path
from tasks.plan import Step, mapping_diff, text_diff

Found = Iterator[Step[Calls] | str]
_WHY = "no longer in the inventory"
_LEFT = f"is {_WHY}"


def plan_departed(
    machine: Machine,
    actual: MachineFacts,
    *,
    prune: bool,
    own_keys: Collection[str] = (),
    elsewhere: Iterable[Step[Calls] | str] = (),
) -> Found:
    """A step, or without ``prune`` a note, for each of them; keys first, groups last.

    Arguments:
        own_keys: public key lines that this run may be logged in with: such a key stays, and where
            the user that we log in as has none of them, so do all of its keys.
        elsewhere: steps that others have in the same run; the keys that they remove let nobody in.
    """
    departed = [
        name
        for name in actual.made_users
        if name not in {user.name for user in machine.configure.users}
    ]
    kept = {name: why for name in departed if (why := _why_kept(name, machine))}
    going = [name for name in departed if name not in kept]
    for name, keys in actual.added_keys.items():
        if name not in going:
            taken = keys_taken(elsewhere, name)
            own = set(map(key_of, own_keys)) - taken
            yield from _keys(name, keys, machine, actual, prune=prune, own=own)
    for name in departed:
        yield from _user(name, kept.get(name, ""), actual, prune=prune)
    gone = {user.name for user in machine.configure.users if user.absent}
    yield from _groups(machine, actual, {*gone, *(going if prune else ())}, prune=prune)


def _keys(
    name: str,
    added: Iterable[str],
    machine: Machine,
    actual: MachineFacts,
    *,
    prune: bool,
    own: Collection[str],
) -> Found:
    now = actual.users.get(name, UserFacts(shell="", home=""))
    declared = next((u for u in machine.configure.users if u.name == name), User(name))
    if declared.absent or is_foreign(keys_path(User(name), now.home), machine):
        return
    ours = machine.bootstrap.authorized_keys if name == "root" else ()
    wanted = {key_of(line) for line in (*ours, *declared.keys, *machine.let_in)}
    logs_in = bool(machine.ssh.hostname) and name == machine.ssh.username
    known = any(key_of(line) in own for line in now.keys)
    going: list[str] = []
    vanished: list[str] = []
    for key in (key for key in added if key not in wanted):
        line = next((line for line in now.keys if key_of(line) == key), "")
        what = f"authorized key of {name} ({key_name(line)}) {_LEFT}"
        if not line and now.keys:
            vanished.append(key)
        elif not line:
            pass  # nothing was read: a link, say, or a home that is not mounted
        elif declared.only_keys:
            pass  # all of its keys are set at once
        elif logs_in and key in own:
            yield f"{what}, and stays: we log in with it"
        elif logs_in and not known:
            yield f"{what}, and stays: it is not known which key we log in with"
        elif not prune:
            yield f"{what}; --prune removes it"
        else:
            going.append(key)
    if going:
        text = "".join(f"{line}\n" for line in now.keys if key_of(line) in going)
        yield Step(
            "remove",
            f"authorized keys of {name}",
            (Call("remove_keys", (name,), text.encode()), *(forget_key(name, k) for k in going)),
            _WHY,
            text_diff(text, "", f"authorized keys of {name}"),
        )
    if vanished:
        calls = tuple(forget_key(name, key) for key in vanished)
        yield Step("forget", f"authorized keys of {name}", calls, f"gone already, and {_WHY}")


def _why_kept(name: str, machine: Machine) -> str:
    """Why a user cannot go though it left the inventory; empty where it can."""
    if name == machine.ssh.username:
        return "we log in as this user"
    wanted = machine.configure
    named = [
        f"file {file.path} is its own" for file in wanted.files if name in (file.owner, file.group)
    ]
    named += [f"cron job {job.name} runs as it" for job in wanted.cron if job.user == name]
    return named[0] if named else ""


def _user(name: str, why_kept: str, actual: MachineFacts, *, prune: bool) -> Found:
    now = actual.users.get(name)
    if now is None:
        yield Step("forget", f"user {name}", forget_user(name, actual), f"gone, and {_WHY}")
    elif why_kept:
        yield f"user {name} {_LEFT}, and stays: {why_kept}"
    elif not prune:
        yield f"user {name} {_LEFT}; --prune removes it"
    else:
        yield Step(
            "remove",
            f"user {name}",
            (Call("remove_user", (name,)), *forget_user(name, actual)),
            f"{_WHY}; {now.home} stays",
            mapping_diff({"shell": now.shell}, {}, f"user {name}"),
        )


def _groups(machine: Machine, actual: MachineFacts, gone: Collection[str], *, prune: bool) -> Found:
    """A group goes where nobody is in it any more, and no declared file is its own."""
    wanted = machine.configure
    declared = {group.name for group in wanted.groups}
    for name in actual.gone_groups:
        if name not in {group.name for group in wanted.groups if not group.absent}:
            yield Step("forget", f"group {name}", forget_group(name, actual), f"gone, and {_WHY}")
    for name, members in actual.made_groups.items():
        if name in declared:
            continue
        joining = [u.name for u in wanted.users if name in u.groups and not u.absent]
        inside = sorted({*members, *joining} - set(gone))
        named = [f"file {file.path} is its own" for file in wanted.files if file.group == name]
        if inside or named:
            why = f"{', '.join(inside)} in it" if inside else named[0]
            yield f"group {name} {_LEFT}, and stays: {why}"
        elif not prune:
            yield f"group {name} {_LEFT}; --prune removes it"
        else:
            calls = (Call("remove_group", (name,)), *forget_group(name, actual))
            diff = mapping_diff({name: "ours"}, {name: "absent"}, "groups")
            yield Step("remove", f"group {name}", calls, _WHY, diff)
