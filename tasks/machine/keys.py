"""Authorized keys of a user, key by key: which are missing, and the call that mends it.

The format is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tasks.machine.change import Call, Calls
from tasks.plan import Step, text_diff

#: Options before the type may have spaces in quotes; ``\"`` is no end of them.
_OPTIONS = r"""(?:\\"|"(?:\\"|\\(?!")|[^"\\])*"|[^\s"])+"""
_LINE = re.compile(rf"\s*(?!#)(?:{_OPTIONS}\s+)?[a-z][\w.@-]*\s+(AAAA[\w+/]*=*)(?:\s|$)")


def key_of(line: str) -> str:
    """The key itself in a line; empty in a comment and in what is no key.

    Options before it and the comment behind it do not make it another one.
    """
    found = _LINE.match(line)
    return found[1] if found else ""


def missing_keys(keys: Iterable[str], actual: Iterable[str]) -> list[str]:
    """Those of some public key lines whose key is not among a user's lines."""
    known = {key_of(line) for line in actual}
    return [key for key in keys if (key_of(key) or key) not in known]


def not_let_in(path: str, keys: Iterable[str], actual: Iterable[str]) -> Iterator[str]:
    """What is said of keys that a foreign file of authorized keys lacks."""
    for key in missing_keys(keys, actual):
        yield f"{path} is foreign and lacks the key {key_name(key)}, which cannot log in there"


def key_name(line: str) -> str:
    """What a public key line is called: by its comment, else by the end of the key."""
    key = key_of(line)
    if not key:  # what stands for one that is still to be made
        return line
    return line.partition(key)[2].strip() or f"...{key[-12:]}"


def keys_step(
    user: str, keys: Iterable[str], actual: Iterable[str], *, why: str = ""
) -> Step[Calls] | None:
    """The step that adds the public keys a user lacks; None where it lacks none and not ``why``."""
    missing = missing_keys(keys, actual)
    if not missing and not why:
        return None
    return Step(
        "add" if missing else "update",
        f"authorized keys of {user}",
        write=(Call("add_keys", (user,), "".join(f"{key}\n" for key in missing).encode()),),
        detail=why if not missing else f"{len(missing)} missing",
        diff=text_diff("", "\n".join(missing), f"authorized keys of {user}"),
    )


def all_keys_step(user: str, keys: Iterable[str], actual: Iterable[str]) -> Step[Calls] | None:
    """The step that makes these public keys the only ones that a user has; None where they are."""
    wanted = list(keys)
    held = [line.strip() for line in actual if line.strip() and line.strip()[0] != "#"]
    if set(wanted) == set(held):  # whole: options before a key say what it is good for
        return None
    text = "".join(f"{key}\n" for key in wanted)
    return Step(
        "set",
        f"authorized keys of {user}",
        (Call("set_keys", (user,), text.encode()),),
        "these and no others",
        text_diff("\n".join(held), text, f"authorized keys of {user}"),
    )
