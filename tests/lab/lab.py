"""The lab as a whole."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import (
    apart,
    cgroups,
    disk,
    fresh,
    gateway,
    images,
    links,
    needs,
    recipes,
    rootfs,
    running,
)
from tests.lab.errors import LabError
from tests.lab.host import READY_SECONDS, Host
from tests.lab.locking import cache_locked, locked
from tests.lab.places import HOST_NAMES, IMAGE_NAMES, LOCK, RUN, image

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class HostStatus:
    """What `status` says of a host."""

    name: str
    address: str
    running: bool
    pid: int | None
    """The id of its first process on this machine."""


class Lab:
    """Up to six real LXD hosts on this machine; there is one lab for each machine."""

    def up(self, hosts: int = 2) -> None:
        """Bring the lab up with at least this many hosts, and return when sshd answers on each.

        What is there stays as it is, a host that was switched off is started with its disk
        kept, and what is missing is added. Installs missing packages and builds the root file
        systems and the images first, where the cache does not have them.

        Raises:
            LabError: this machine cannot host the lab, or a step failed
        """
        if not 1 <= hosts <= len(HOST_NAMES):
            raise LabError(f"the lab has 1 to {len(HOST_NAMES)} hosts, not {hosts}")
        needs.install_missing()
        with locked():
            self._forget_earlier_boot()
            RUN.mkdir(parents=True, exist_ok=True)
            (RUN / "boot_id").write_text(_BOOT_ID.read_text())
            root = _build()
            gateway.up()
            wanted = [Host(name) for name in {*HOST_NAMES[:hosts], *self.names()}]
            for host in wanted:
                fresh.make_keys(host.name)
                if not host.exists:
                    host.stop()
                    host.install(root)
                host.start()
            _wait_for(wanted)

    def down(self) -> None:
        """Remove the lab from this machine but for its cache, also what has no record.

        Labs apart that are still held stay.

        Raises:
            LabError: something could not be removed
        """
        with locked():
            self._down()
            LOCK.unlink(missing_ok=True)
        apart.clear()

    def reset(self, name: str | None = None) -> None:
        """Make a host, or all of them, as fresh as an installer leaves it, and wait for it.

        Raises:
            LabError: the lab or that host is not up, or a step failed
        """
        with locked():
            names = self.names()
            if name is not None and name not in names:
                raise LabError(f"{name} is not up; up are: {', '.join(names) or 'none'}")
            fresh_ones = [Host(each) for each in ([name] if name else names)]
            root = rootfs.build(recipes.HOST)
            gateway.up()
            for host in fresh_ones:
                fresh.make_keys(host.name)
                host.stop()
                host.install(root)
                host.start()
            links.forget_neighbours()
            _wait_for(fresh_ones)

    def image(self, name: str) -> tuple[Path, Path]:
        """The two files of an image, built now where it is one that `up` does not build.

        Raises:
            LabError: a step of the build failed
        """
        with locked(), cache_locked():
            images.build(name)
        return image(name)

    def remove(self, name: str) -> None:
        """Take one host out of the lab, with its disk; nothing happens if it is not in it."""
        with locked():
            Host(name).stop()
            disk.wipe(name)

    def names(self) -> list[str]:
        """The hosts that the lab has now, running or not."""
        return [name for name in HOST_NAMES if disk.is_there(name)]

    def status(self) -> list[HostStatus]:
        """Each host, running or not."""
        hosts = [Host(name) for name in self.names()]
        return [HostStatus(host.name, host.address, bool(host.pid), host.pid) for host in hosts]

    def exec(
        self,
        name: str,
        command: str | list[str],
        *,
        input: bytes | None = None,  # noqa: A002 - as in subprocess.run
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in a host, not by SSH; see `Host.exec`.

        Raises:
            LabError: the host is off, or the command took longer than `timeout` seconds
        """
        return Host(name).exec(command, input=input, timeout=timeout)

    def root(self, name: str) -> Path:
        """A host's root file system as seen from this machine; its /run and /tmp are not in it."""
        return disk.root(name)

    def is_up(self, name: str) -> bool:
        """Whether a host runs."""
        return Host(name).pid is not None

    def power_off(self, name: str) -> None:
        """Switch a host off as if its plug was pulled; its disk stays."""
        with locked():
            Host(name).stop()

    def power_on(self, name: str) -> None:
        """Switch a host on and wait until sshd answers.

        Raises:
            LabError: the lab has no such host, or it does not come up
        """
        with locked():
            host = Host(name)
            if not host.exists:
                raise LabError(f"{name} is not in the lab; up are: {', '.join(self.names())}")
            host.start()
            host.wait_ready()

    def wait_ready(
        self, name: str, seconds: float = READY_SECONDS, *, after: int | None = None
    ) -> None:
        """Wait until sshd answers on a host's management address.

        Arguments:
            name: the host
            seconds: for how long at most
            after: the `pid` that `status` gave before a reboot, to wait for the next boot

        Raises:
            LabError: the host is off, or it takes longer than that
        """
        Host(name).wait_ready(seconds, after=after)

    @contextmanager
    def small_disk(self, name: str, path: str, megabytes: int) -> Iterator[None]:
        """Put a small disk at a folder of a host, with what is in that folder, so that it fills.

        Afterwards the folder is as it was before: what was written meanwhile is gone.

        Raises:
            LabError: the content does not fit, or the host is off
        """
        new = "/run/small-disk"
        script = f"""set -eu
            mkdir -p "$1" {new}
            mount -t tmpfs -o size={megabytes}m,mode=755 small-disk {new}
            if cp -a "$1/." {new} && mount --bind {new} "$1"; then status=0; else status=1; fi
            umount {new}
            exit $status"""
        done = self.exec(name, ["sh", "-c", script, "sh", path])
        if done.returncode != 0:
            raise LabError(f"{name}: no small disk at {path}: {done.stderr.strip()}")
        try:
            yield
        finally:
            # After a reboot it is gone already.
            if self.is_up(name):
                clean = 'if mountpoint -q "$1"; then umount --lazy "$1"; fi'
                self.exec(name, ["sh", "-c", clean, "sh", path])

    def _down(self) -> None:
        self._forget_earlier_boot()
        rootfs.stop()
        # The supervisors first: they would start again what is killed.
        for name in HOST_NAMES:
            cgroups.kill(f"keeper-{name}")
        cgroups.kill()
        for name in HOST_NAMES:
            running.clear(name)
        gateway.down()
        disk.wipe_all()
        cgroups.remove()

    def _forget_earlier_boot(self) -> None:
        """Drop the records of before this machine's last boot, where /run outlives it."""
        record = RUN / "boot_id"
        if record.exists() and record.read_text() != _BOOT_ID.read_text():
            disk.wipe_all()


def _build() -> Path:
    """Build what the cache does not have; the root file system of the hosts."""
    with cache_locked():
        return _build_here()


def _build_here() -> Path:
    rootfs.stop()
    if recipes.HOST.path().is_dir() and all(images.is_built(name) for name in IMAGE_NAMES):
        return recipes.HOST.path()
    images.remove_half_built()
    rootfs.remove_old({recipe.path() for recipe in (recipes.BASE, recipes.HOST)})
    rootfs.build(recipes.BASE)
    # Two at a time take less than one after the other; three do not on two cores.
    with ThreadPoolExecutor(2) as pool:
        root = pool.submit(rootfs.build, recipes.HOST)
        for image in [pool.submit(images.build, name) for name in reversed(IMAGE_NAMES)]:
            image.result()
        return root.result()


def _wait_for(hosts: list[Host]) -> None:
    for host in hosts:
        host.wait_ready()
