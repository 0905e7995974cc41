"""What a backup of a container takes: the files, what earlier runs left, what may go afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.intent.maintenance import Retention
from tasks.maintenance.backups.kept import Stored
from tasks.maintenance.backups.room import in_words
from tasks.maintenance.backups.stored import Part, StoredBackup
from tasks.maintenance.moments import made_at
from tasks.maintenance.retention import kept
from tasks.plan import Plan, Step

#: How LXD's client has its exports called.
_CLIENTS = re.compile(r"backup[0-9]+")


@dataclass(frozen=True)
class BackupWrite:
    """One write: ``clear`` removes an export at ``path`` in LXD's API, ``create`` makes the backup,
    ``delete`` removes the one of that ``moment``."""

    action: Literal["clear", "create", "delete"]
    moment: str = ""
    path: str = ""
    parts: tuple[Part, ...] = ()


def plan_backup(
    moment: str,
    parts: Sequence[Part],
    stored: Stored,
    exports: Mapping[str, Sequence[str]],
    *,
    to: str,
    keep: Retention | None,
    notes: Sequence[str] = (),
) -> Plan[BackupWrite]:
    """The steps of a backup that is not there yet.

    Arguments:
        moment: its name.
        parts: its files as they are to be made.
        stored: what is kept already.
        exports: what LXD keeps of the container and its volumes, by path in its API.
        to: the machine that keeps backups.
        keep: which of them stay; None for all.
        notes: what is to be said of it besides.

    A half backup goes, and so does each export that LXD has kept since that one was begun.
    """
    steps = [*_left(stored, exports), created(moment, parts, to)]
    for old in going(stored, moment, keep):
        detail = f"{in_words(stored.whole[old].bytes)} on {to}, no longer kept"
        write = BackupWrite("delete", old)
        steps.append(Step("delete", f"backup {old}", write, detail, f"-backup {old}"))
    odd = f"on {to} the backups {', '.join(stored.odd)} are not understood, and left alone"
    return Plan(tuple(steps), notes=(*notes, *([odd] if stored.odd else [])))


def created(moment: str, parts: Sequence[Part], to: str) -> Step[BackupWrite]:
    """The step that makes it, with the sizes of its files, or before those of what is in them."""
    sizes = [
        f"{part.what} {in_words(part.bytes)}" if part.bytes else
        f"{part.what} of {in_words(part.size)}"
        for part in parts
    ]  # fmt: skip
    return Step(
        "create",
        f"backup {moment}",
        BackupWrite("create", moment, parts=tuple(parts)),
        f"on {to}: {', '.join(sizes)}",
        f"+backup {moment}",
    )


def going(stored: Stored, new: str, keep: Retention | None) -> list[str]:
    """Which of the whole backups a rule does not keep once there is a new one, the oldest first."""
    if keep is None:
        return []
    moments = {name: at for name in (*stored.whole, new) if (at := made_at(name))}
    staying = kept(moments.values(), keep)
    return sorted(name for name, at in moments.items() if at not in staying and name != new)


def export_path(path: str, name: str) -> str:
    """Where LXD's API has an export of the instance or volume at ``path``."""
    return f"{path}/backups/{name}"


def newest(stored: Stored) -> list[StoredBackup]:
    """The whole backups, the newest first."""
    return [stored.whole[moment] for moment in sorted(stored.whole, reverse=True)]


def _left(stored: Stored, exports: Mapping[str, Sequence[str]]) -> Iterator[Step[BackupWrite]]:
    """What halves have left in LXD: it names exports itself, so ours are those that came since."""
    begun = [names for names in stored.halves.values() if names is not None]
    if not begun:
        return
    before = frozenset[str]().union(*begun)
    for path, names in exports.items():
        for name in names:
            if _CLIENTS.fullmatch(name) and f"{path}/{name}" not in before:
                yield Step(
                    "delete",
                    f"export {name}",
                    BackupWrite("clear", path=export_path(path, name)),
                    f"an earlier run left it in LXD ({path})",
                    f"-export {path}/{name}",
                )
