"""Real netplans of two Debian releases, run in root file systems that are not booted.

Nothing of the lab is up for them: netplan reads YAML below one folder and writes there what
networkd is to read, and that is all it is asked for.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroups, mirror, needs, recipes, rootfs
from tests.lab.command import SANE, run
from tests.lab.errors import LabError
from tests.lab.fresh import write
from tests.lab.locking import cache_locked, locked
from tests.lab.places import CACHE, LOCK, ROOTS, RUN

NEWER_SUITE = "trixie"
"""The Debian release after the lab's; its netplan is the newer one."""

_CHANGES = "usr/share/doc/netplan.io/changelog.Debian.gz"

# In a mount namespace of its own; the root cannot be written to, as the lab's hosts stand on it.
_GENERATE = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1/mnt"
exec chroot "$1" netplan generate --root-dir /mnt
"""

# From 1.1 on, netplan also tells udev and systemd to reload, which are not there to be told.
_OFFLINE = {"SYSTEMD_OFFLINE": "1", "SYSTEMD_LOG_LEVEL": "err"}

_SECONDS = 30


@dataclass(frozen=True)
class Generated:
    """What `netplan generate` made of YAML files."""

    status: int
    said: str
    """What it wrote to its standard output and standard error: nothing, if all is well."""
    files: Mapping[str, str]
    """All files that it wrote, by their paths without the leading slash."""


@dataclass(frozen=True)
class Netplan:
    """A netplan in a root file system."""

    root: Path
    version: str
    """Of its Debian package."""

    def generate(self, files: Mapping[str, str]) -> Generated:
        """Run `netplan generate` on YAML files, in a scratch root that is gone afterwards.

        Arguments:
            files: absolute path -> text; they belong to root alone, as netplan wants them

        Raises:
            LabError: it does not end
        """
        with tempfile.TemporaryDirectory(prefix="netplan-") as folder:
            scratch = Path(folder)
            for path, text in files.items():
                write(scratch / path.lstrip("/"), text, 0o600)
            enter: list[str | Path] = [
                "unshare",
                "--mount",
                "sh",
                "-ec",
                _GENERATE,
                "sh",
                self.root,
                scratch,
            ]
            try:
                done = subprocess.run(
                    enter,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    timeout=_SECONDS,
                    env={**SANE, **_OFFLINE},
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise LabError(f"netplan {self.version}: no end after {_SECONDS} s") from error
            return Generated(done.returncode, done.stdout.strip(), _written(scratch, files))


def of_the_lab() -> Netplan:
    """The netplan that the lab's hosts have.

    Raises:
        LabError: the hosts' root file system is not in the cache and cannot be built
    """
    root = recipes.HOST.path()
    if not root.is_dir():
        with _building():
            rootfs.build(recipes.HOST)
    database = f"--admindir={root}/var/lib/dpkg"
    return Netplan(root, run(["dpkg-query", database, "-f", "${Version}", "-W", "netplan.io"]))


def newer() -> Netplan:
    """The netplan of a newer Debian release, with little else in its root file system.

    Raises:
        LabError: it is not in the cache and cannot be built
    """
    command = _unpack_command()
    key = hashlib.sha256("\0".join(command).encode()).hexdigest()[:16]
    root = ROOTS / f"netplan-{NEWER_SUITE}-{key}"
    if not root.is_dir():
        with _building():
            if not root.is_dir():  # another process may have built it meanwhile
                _unpack(command, root)
    with gzip.open(root / _CHANGES, "rt") as changes:
        return Netplan(root, changes.readline().split("(")[1].split(")")[0])


def _unpack_command() -> list[str]:
    # Unpacked, not installed: the maintainers' scripts take most of the time, for nothing here.
    return [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=extract",
        "--include=base-files,netplan.io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        f"--dpkgopt=path-include=/{_CHANGES}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *(f"--aptopt={line}" for line in mirror.apt_options()),
        NEWER_SUITE,
        "TARGET",
        *(line.replace(f" {mirror.SUITE}", f" {NEWER_SUITE}") for line in mirror.sources()),
    ]


def _unpack(command: list[str], root: Path) -> None:
    log = CACHE / "logs" / f"{root.name}.log"
    for folder in (ROOTS, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    half = ROOTS / f"{rootfs.BUILDING}{root.name}"
    rootfs.remove_tree(half)
    words = [str(half) if word == "TARGET" else word for word in command]
    run(["unshare", "--mount", *words], timeout=400, log=log)
    # No package's script ran: neither is there a /mnt, nor is any Python compiled.
    (half / "mnt").mkdir(exist_ok=True)
    compiled = ["/usr/share/netplan", "/usr/lib/python3/dist-packages"]
    run(["chroot", half, "python3", "-m", "compileall", "-q", *compiled], timeout=60, log=log)
    half.rename(root)


@contextmanager
def _building() -> Iterator[None]:
    """Nothing else is built meanwhile; what only a lab that is up keeps is gone afterwards."""
    needs.install_missing()
    with locked(600), cache_locked():
        rootfs.stop()
        yield
        if not RUN.exists():
            cgroups.remove()
            LOCK.unlink(missing_ok=True)


def _written(scratch: Path, given: Mapping[str, str]) -> dict[str, str]:
    before = {path.lstrip("/") for path in given}
    found = {
        path.relative_to(scratch).as_posix(): path
        for path in sorted(scratch.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    return {name: path.read_text() for name, path in found.items() if name not in before}
