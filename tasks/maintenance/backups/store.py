"""The backups of one container on the machine that keeps them, over its SSH."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nornir.core.inventory import Host

from tasks.errors import CommandError
from tasks.intent.model import Container
from tasks.maintenance.backups.kept import Stored, parse_stored
from tasks.maintenance.backups.stored import (
    Part,
    StoredBackup,
    as_manifest,
)
from tasks.onhost import on_host
from tasks.run import run_of
from tasks.shell import Completed
from tasks.transport import pour, shell_of

#: Seconds for a look, and seconds that the work of a killed run is waited for.
DEADLINE = 60.0
WAIT = 300.0
#: Seconds that a machine needs beside LXD's own, to write a file out and to sum it up.
AFTERWARDS = 600.0


class Store:
    """The backups of a container on ``keeper``; each method is one exchange with it.

    All raise :class:`CommandError`, :class:`DeadlineError`, or what ``shell_of`` raises.
    """

    def __init__(self, keeper: Host, container: Container, deadline: float) -> None:
        self.keeper = keeper
        self.name = keeper.name
        self._container = container.name
        self._environment = run_of(keeper).intent.name
        self._deadline = deadline
        #: An LXD host gets and gives exports over the remotes itself.
        self.has_lxd = keeper.name in run_of(keeper).intent.lxd_hosts

    def look(self) -> Stored:
        """What is there."""
        done = self._run("reading the backups", "list")
        return parse_stored(done.text)

    def begin(self, moment: str, exports: Sequence[str]) -> None:
        """Begin a backup: halves of earlier ones go, ``exports`` is what LXD keeps now."""
        self._run(
            "beginning a backup",
            "begin",
            moment,
            str(int(WAIT)),
            *exports,
            deadline=WAIT + DEADLINE,
        )

    def fetch(self, moment: str, part: Part, source: Host) -> Part:
        """Have one file of a backup made from the LXD host that has it; the part, measured."""
        remote = f"{source.name}:" if self.has_lxd else ""
        if part.volume:
            words = ["storage", "volume", "export", f"{remote}{part.pool}", part.volume]
            words.append("--volume-only")
        else:
            words = ["export", f"{remote}{self._container}", "--instance-only"]
        what = f"the export of {_said(part, self._container)} on {source.name}"
        seconds = str(int(self._deadline))
        within = self._deadline + AFTERWARDS
        if self.has_lxd:
            done = self._run(what, "pull", moment, part.file, seconds, *words, deadline=within)
        else:
            giving = on_host("lxd_client", seconds, *words, "/dev/stdout", "--quiet")
            taking = self._script("take", moment, part.file)
            gave, done = pour(source, giving, self.keeper, taking, deadline=within)
            if gave:
                gave.check(source.name, what)
            done.check(self.name, f"keeping {_said(part, self._container)}")
        return _measured(done, [part], self.name)[0]

    def keep(self, backup: StoredBackup, going: Sequence[str]) -> None:
        """Make a backup whole, then remove those that are ``going``."""
        self._run(
            "keeping a backup", "keep", backup.moment, *going, stdin=as_manifest(backup),
            deadline=AFTERWARDS,
        )  # fmt: skip

    def drop(self, moment: str) -> None:
        """Remove a backup."""
        self._run("removing a backup", "drop", moment, deadline=AFTERWARDS)

    def damaged(self, backup: StoredBackup) -> list[str]:
        """The files of a backup that are not as they were when it was made."""
        files = [part.file for part in backup.parts]
        done = self._run(
            "summing up a backup", "sums", backup.moment, *files, deadline=self._deadline + WAIT
        )
        now = _measured(done, backup.parts, self.name)
        return [part.file for part, then in zip(now, backup.parts, strict=True) if part != then]

    def hand_out(self, backup: StoredBackup, part: Part, target: Host, name: str) -> None:
        """Have an LXD host import one file of a backup, as an instance or volume of that name."""
        remote = f"{target.name}:" if self.has_lxd and target.name != self.name else ""
        if part.volume:
            words = ["storage", "volume", "import", f"{remote}{part.pool}", "/dev/stdin", name]
        else:
            words = ["import", *([remote] if remote else []), "/dev/stdin", name]
            words += ["--storage", part.pool]
        what = f"the import of {_said(part, self._container)} on {target.name}"
        seconds = str(int(self._deadline))
        within = self._deadline + DEADLINE
        if self.has_lxd:
            self._run(
                what, "put", backup.moment, part.file, seconds, *words, "--quiet", deadline=within
            )
            return
        giving = self._script("give", backup.moment, part.file)
        taking = on_host("lxd_client", seconds, *words, "--quiet")
        gave, took = pour(self.keeper, giving, target, taking, deadline=within)
        if gave:
            gave.check(self.name, f"reading {part.file}")
        took.check(target.name, what)

    def _script(self, *words: str) -> str:
        return on_host("backups", self._environment, self._container, *words)

    def _run(
        self, what: str, *words: str, stdin: bytes = b"", deadline: float = DEADLINE
    ) -> Completed:
        shell = shell_of(self.keeper)
        done = shell.run(self._script(*words), stdin=stdin, deadline=deadline)
        return done.check(self.name, what)


def _said(part: Part, container: str) -> str:
    return part.what if part.volume else f"container {container}"


def _measured(done: Completed, parts: Sequence[Part], where: str) -> list[Part]:
    """The parts with the bytes and sums that the script has told of their files."""
    told = {}
    for line in done.text.splitlines():
        kind, file, size, sha256 = [*line.split(" "), "", "", "", ""][:4]
        if kind == "file" and size.isdecimal() and len(sha256) == 64:
            told[file] = (int(size), sha256)
    try:
        return [
            replace(part, bytes=told[part.file][0], sha256=told[part.file][1]) for part in parts
        ]
    except KeyError as missing:
        raise CommandError(f"{missing.args[0]} was not summed up", where=where) from None
