"""Authorized keys of a user, key by key: which are missing, and the call that mends it.

The format is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tasks.machine.change import Call, Calls
from tasks.plan import Step, text_diff

#: Options before the type may have spaces in quotes; ``\"`` is no end of them. No character can be
#: read in two ways: whoever owns the file may write a line that would be tried in all of them.
_OPTIONS = r"""(?:\\"|\\(?!")|"(?:\\"|\\(?!")|[^"\\])*"|[^\s"\\])+"""
_LINE = re.compile(rf"\s*(?!#)(?:{_OPTIONS}\s+)?[a-z][\w.@-]*\s+(AAAA[\w+/]*=*)(?:\s|$)")

#: Characters of a line; a longer one is no key that anybody made.
_LONGEST = 16 * 1024


def key_of(line: str) -> str:
    """The key itself in a line; empty in a comment and in what is no key.

    Options before it and the comment behind it do not make it another one.
    """
    found = _LINE.match(line) if len(line) <= _LONGEST else None
    return found[1] if found else ""


def missing_keys(keys: Iterable[str], actual: Iterable[str]) -> list[str]:
    """Those of some public key lines whose key is not among a user's lines."""
    known = {key_of(line) for line in actual}
    return [key for key in keys if (key_of(key) or key) not in known]


def not_let_in(path: str, keys: Iterable[str], actual: Iterable[str]) -> Iterator[str]:
    """What is said of keys that a foreign file of authorized keys lacks."""
    for key in missing_keys(keys, actual):
        yield f"{path} is foreign and lacks the key {key_name(key)}, which cannot log in there"


def keys_taken(steps: Iterable[object], user: str) -> set[str]:
    """The keys of a user that some steps remove."""
    calls = (call for step in steps if isinstance(step, Step) for call in step.write)
    return {
        key_of(line)
        for call in calls
        if call.function == "remove_keys" and call.arguments == (user,)
        for line in (call.content or b"").decode(errors="replace").split("\n")
    } - {""}


def key_name(line: str) -> str:
    """What a public key line is called: by its comment, else by the end of the key."""
    key = key_of(line)
    if not key:  # what stands for one that is still to be made
        return line
    comment = "".join(c for c in line.partition(key)[2] if c.isprintable()).strip()
    return comment or f"...{key[-12:]}"


def forget_key(user: str, key: str) -> Call:
    """The call that takes a key from those that we remember to have added to a user's."""
    return Call("forget", ("keys", f"{user} {key}"))


def note_keys(user: str, keys: Iterable[str], undeclared: Iterable[str]) -> Calls:
    """The calls that remember keys which are about to be added, but for those nobody declared."""
    added = dict.fromkeys(map(key_of, keys))
    for key in ("", *map(key_of, undeclared)):
        added.pop(key, None)
    return tuple(Call("note", ("keys", f"{user} {key}")) for key in added)


def keys_step(
    user: str,
    keys: Iterable[str],
    actual: Iterable[str],
    *,
    why: str = "",
    undeclared: Iterable[str] = (),
) -> Step[Calls] | None:
    """The step that adds the public keys a user lacks; None where it lacks none and not ``why``.

    What is added is remembered there as ours, but for what is ``undeclared``.
    """
    missing = missing_keys(keys, actual)
    if not missing and not why:
        return None
    return Step(
        "add" if missing else "update",
        f"authorized keys of {user}",
        write=(
            *note_keys(user, missing, undeclared),
            Call("add_keys", (user,), "".join(f"{key}\n" for key in missing).encode()),
        ),
        detail=why if not missing else f"{len(missing)} missing",
        diff=text_diff("", "\n".join(missing), f"authorized keys of {user}"),
    )


def all_keys_step(
    user: str,
    keys: Iterable[str],
    actual: Iterable[str],
    *,
    undeclared: Iterable[str] = (),
    added: Iterable[str] = (),
) -> Step[Calls] | None:
    """The step that makes these public keys the only ones that a user has; None where they are.

    Those that are new are remembered as ours, but for what is ``undeclared``; of the keys that we
    ``added`` once, those that go are forgotten.
    """
    wanted, lines = list(keys), list(actual)
    held = [line.strip() for line in lines if line.strip() and line.strip()[0] != "#"]
    if set(wanted) == set(held):  # whole: options before a key say what it is good for
        return None
    text = "".join(f"{key}\n" for key in wanted)
    stay = set(map(key_of, wanted))
    return Step(
        "set",
        f"authorized keys of {user}",
        (
            *note_keys(user, missing_keys(wanted, lines), undeclared),
            Call("set_keys", (user,), text.encode()),
            *(forget_key(user, key) for key in added if key not in stay),
        ),
        "these and no others",
        text_diff("\n".join(held), text, f"authorized keys of {user}"),
    )
