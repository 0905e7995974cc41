"""Unix groups and users: made and mended, removed only where they are declared absent.

A user's groups and keys are added to those it has; with ``only_keys`` its keys are those declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tasks.actual import MachineFacts, UserFacts
from tasks.errors import FleetError
from tasks.intent.model import Machine
from tasks.intent.system import Group, User
from tasks.machine.change import Call, Calls
from tasks.machine.keys import all_keys_step, forget_key, keys_step, not_let_in
from tasks.machine.paths import is_foreign, keys_path, ours_and_foreign
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]


def plan_group(group: Group, actual: MachineFacts) -> Steps:
    """Make a group, or remove it.

    Raises :class:`FleetError` for another number than the declared one: what belongs to the group
    would belong to nobody.
    """
    now = actual.groups.get(group.name)
    if group.absent:
        if now is not None:
            yield Step(
                "remove",
                f"group {group.name}",
                (Call("remove_group", (group.name,)), *forget_group(group.name, actual)),
                diff=mapping_diff({"gid": now}, {}, f"group {group.name}"),
            )
        return
    if now is None:
        options = ("--gid", str(group.gid)) if group.gid is not None else ()
        yield Step(
            "create",
            f"group {group.name}",
            (
                Call("note", ("made", f"group {group.name}")),
                Call("make_group", (group.name, *options, *_system(group))),
            ),
            diff=mapping_diff({}, {"gid": group.gid or "free"}, f"group {group.name}"),
        )
    elif group.gid is not None and now != group.gid:
        raise _renumbered(f"group {group.name}", now, group.gid, actual.name, "groupmod --gid")


def without_foreign_keys(user: User, machine: Machine, actual: MachineFacts) -> User:
    """A user without the keys that nobody declared, where its authorized keys are foreign.

    Raises :class:`FleetError` where some are declared.
    """
    now = actual.users.get(user.name)
    path = keys_path(user, now.home if now else "")
    if user.absent or not user.keys or not is_foreign(path, machine):
        return user
    if user.only_keys or not set(user.keys) <= set(machine.let_in):
        raise ours_and_foreign(path, machine)
    return replace(user, keys=())


def not_let_in_notes(machine: Machine, actual: MachineFacts) -> Iterator[str]:
    """What is said of controllers whose keys a user of theirs lacks, in a file that is foreign."""
    for user in machine.configure.users:
        now = actual.users.get(user.name)
        if without_foreign_keys(user, machine, actual) != user:
            held = now.keys if now else ()
            yield from not_let_in(keys_path(user, now.home if now else ""), user.keys, held)


def forget_user(name: str, actual: MachineFacts) -> Calls:
    """The calls by which a user that goes is no longer remembered as ours, nor are its keys."""
    keys = (forget_key(name, key) for key in actual.added_keys.get(name, ()))
    made = (Call("forget", ("made", f"user {name}")),) if name in actual.made_users else ()
    return (*made, *keys)


def forget_group(name: str, actual: MachineFacts) -> Calls:
    """The calls by which a group that goes is no longer remembered as ours."""
    noted = name in actual.made_groups or name in actual.gone_groups
    return (Call("forget", ("made", f"group {name}")),) if noted else ()


def plan_user(user: User, actual: MachineFacts, let_in: Iterable[str] = ()) -> Steps:
    """What a user lacks, or its removal; its home stays. ``let_in`` are keys nobody declared.

    Raises :class:`FleetError` for another number than the declared one.
    """
    now = actual.users.get(user.name)
    if user.absent:
        if now is not None:
            yield Step(
                "remove",
                f"user {user.name}",
                (Call("remove_user", (user.name,)), *forget_user(user.name, actual)),
                f"{now.home} stays",
                mapping_diff({"shell": now.shell}, {}, f"user {user.name}"),
            )
        elif noted := forget_user(user.name, actual):
            yield Step("forget", f"user {user.name}", noted, "gone already")
        return
    held = now or UserFacts(shell="", home="")
    yield from _account(user, now, actual.name)
    missing = [group for group in user.groups if group not in held.groups]
    if missing:
        wanted = [*held.groups, *missing]
        yield Step(
            "add",
            f"groups of {user.name}",
            (Call("add_groups", (user.name, *missing)),),
            ", ".join(missing),
            mapping_diff({"groups": list(held.groups)}, {"groups": wanted}, f"user {user.name}"),
        )
    moves = user.home is not None and user.home != held.home
    lines = () if moves else held.keys
    if user.only_keys:
        added = actual.added_keys.get(user.name, ())
        keys = all_keys_step(user.name, user.keys, lines, undeclared=let_in, added=added)
    else:
        keys = keys_step(user.name, user.keys, lines, undeclared=let_in)
    if keys:
        yield keys


def _account(user: User, now: UserFacts | None, where: str) -> Steps:
    name = f"user {user.name}"
    wanted = {"shell": user.shell}
    if user.home is not None:
        wanted["home"] = user.home
    if now is None:
        if user.uid is not None:
            wanted["uid"] = str(user.uid)
        options = [word for key, value in wanted.items() for word in (_OPTIONS[key], value)]
        note = Call("note", ("made", name))
        call = Call("make_user", (user.name, *options, *_system(user)))
        yield Step("create", name, (note, call), diff=mapping_diff({}, wanted, name))
        return
    if user.uid is not None and now.uid != user.uid:
        raise _renumbered(name, now.uid, user.uid, where, "usermod --uid")
    held = {"shell": now.shell, "home": now.home}
    differs = {key: value for key, value in wanted.items() if held[key] != value}
    if differs:
        options = [word for key, value in differs.items() for word in (_OPTIONS[key], value)]
        yield Step(
            "update",
            name,
            (Call("change_user", (user.name, *options)),),
            ", ".join(differs) + (f", {now.home} stays" if "home" in differs else ""),
            mapping_diff({key: held[key] for key in differs}, differs, name),
        )


#: Options of useradd(8) and usermod(8) alike.
_OPTIONS = {"shell": "-s", "home": "-d", "uid": "-u"}


def _system(owner: Group | User) -> tuple[str, ...]:
    return ("--system",) if owner.system else ()


def _renumbered(what: str, now: int, wanted: int, where: str, command: str) -> FleetError:
    return FleetError(
        f"{what} has the number {now} and {wanted} is declared: its files would be left behind",
        where=where,
        remedy=f"declare {now}, or renumber it and its files by hand ({command} {wanted} ...)",
    )
