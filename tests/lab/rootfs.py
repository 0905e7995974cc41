"""Build root file systems, once, and keep them by a hash of their recipe."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cgroups, mirror, mounts
from tests.lab.command import run
from tests.lab.errors import LabError
from tests.lab.places import CACHE, ROOTS

BUILDING = ".building-"
BUILD_PART = "build"

# Nothing of this outlives the build, even one that is killed: the mounts are in a mount
# namespace of their own, and the processes die with the first of their process namespace.
ENTER = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
cp --remove-destination /etc/resolv.conf "$1/etc/resolv.conf"
exec chroot "$1" /bin/sh -eu -c "$2"
"""

INSTALL = """
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q update
apt-get -q -y install {packages}
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/* /var/log/*.log /var/log/apt/* /var/cache/debconf/*-old /tmp/*
"""


@dataclass(frozen=True)
class Recipe:
    """How to build one root file system."""

    name: str
    packages: tuple[str, ...]
    """Debian packages, on top of the parent's."""
    setup: str
    """A POSIX shell script, run inside at the end."""
    parent: Recipe | None = None

    def key(self) -> str:
        """A hash of everything that makes this root what it is."""
        parts = [
            self.name,
            *self.packages,
            self.setup,
            self.parent.key() if self.parent else "",
            ENTER,
            INSTALL,
            *mirror.sources(),
            *mirror.apt_options(),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def path(self) -> Path:
        """Where the built root lies or will lie."""
        return ROOTS / f"{self.name}-{self.key()}"


def build(recipe: Recipe) -> Path:
    """Build a root file system unless it is in the cache, its parents first.

    Raises:
        LabError: a step of the build failed; the message ends with the end of its log
    """
    target = recipe.path()
    if target.is_dir():
        return target
    parent = build(recipe.parent) if recipe.parent else None
    ROOTS.mkdir(parents=True, exist_ok=True)
    log = CACHE / "logs" / f"{target.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    half = ROOTS / f"{BUILDING}{target.name}"
    remove_tree(half)
    if parent is None:
        _bootstrap(half, recipe.packages, log)
    else:
        run(["cp", "-a", "--reflink=auto", parent, half], timeout=120)
        inside(half, INSTALL.format(packages=" ".join(recipe.packages)), log)
    inside(half, recipe.setup, log)
    half.rename(target)
    return target


def inside(root: Path, script: str, log: Path) -> None:
    """Run a shell script in a root file system that is not booted."""
    enter = ["--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "enter"]
    _build_step([*enter, root, script], log)


def stop() -> None:
    """End what an `up` that was killed left running of a build."""
    cgroups.kill(BUILD_PART)


def _build_step(command: Sequence[str | Path], log: Path) -> None:
    cgroups.make(BUILD_PART)
    script = f'{cgroups.join_script(BUILD_PART)}exec unshare --mount "$@"'
    run(["sh", "-ec", script, "sh", *command], timeout=400, log=log)


def _bootstrap(target: Path, packages: tuple[str, ...], log: Path) -> None:
    # mmdebstrap takes the newest of all suites at once, security's too: with debootstrap, an
    # upgrade would follow in every root, or in every container of the tests.
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=essential",
        f"--include={','.join(('apt', *packages))}",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *(f"--aptopt={line}" for line in mirror.apt_options()),
        mirror.SUITE,
        target,
        *mirror.sources(),
    ]
    _build_step(command, log)


def remove_tree(path: Path) -> None:
    """Remove a tree, but never through a mount: what is mounted below it stops this."""
    if not path.exists():
        return
    mounted = mounts.below(path)
    if mounted:
        raise LabError(f"{path} is not removed: {mounted[0]} is a mount")
    shutil.rmtree(path)


def remove_old(keep: set[Path]) -> None:
    """Remove half-built roots, and built ones that no recipe asks for and no host runs on."""
    if not ROOTS.is_dir():
        return
    mounted = mounts.everywhere()
    for path in ROOTS.iterdir():
        if path not in keep and os.fspath(path) not in mounted:
            remove_tree(path)
