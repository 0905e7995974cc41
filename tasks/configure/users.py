"""Unix users: made, never removed; groups and keys added, never taken away."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actual import MachineFacts, UserFacts
from tasks.intent.model import File, User
from tasks.machine.change import Call, Calls
from tasks.machine.files import keys_step
from tasks.machine.paths import sudoers_file
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]


def sudoers(user: User) -> File:
    """The file that lets a user become root without a password; see sudoers(5)."""
    return File(
        sudoers_file(user.name),
        f"# Managed by nornir-lxd-fleet.\n{user.name} ALL=(ALL:ALL) NOPASSWD: ALL\n",
        mode="0440",
        validate="visudo -cqf %s",
    )


def plan_user(user: User, actual: MachineFacts) -> Steps:
    """What a user lacks."""
    now = actual.users.get(user.name)
    held = now or UserFacts(shell="", home="")
    if now is None:
        yield Step(
            "create",
            f"user {user.name}",
            (Call("make_user", (user.name, user.shell)),),
            diff=mapping_diff({}, {"shell": user.shell}, f"user {user.name}"),
        )
    elif now.shell != user.shell:
        yield Step(
            "update",
            f"user {user.name}",
            (Call("set_shell", (user.name, user.shell)),),
            "shell",
            mapping_diff({"shell": now.shell}, {"shell": user.shell}, f"user {user.name}"),
        )
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
    keys = keys_step(user.name, user.keys, held.keys)
    if keys:
        yield keys
