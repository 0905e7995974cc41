"""What the lab makes and the demo's inventory refers to, for tests that need no lab."""

from __future__ import annotations

from pathlib import Path

from tests.lab import HOST_NAMES, IMAGE_NAMES
from tests.sshd import make_key

PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMEdYBnyMstO/gtkr/0yp9hyFWpzHM+U4obRc0hV+g8Q example\n"
)


def write_lab_files(home: Path) -> Path:
    """Keys that read as keys, and empty images, in the cache of a lab below a home folder."""
    cache = home / ".cache" / "nornir-lxd-fleet-lab"
    for host in HOST_NAMES[:2]:
        (cache / "hosts" / host).mkdir(parents=True)
        (cache / "hosts" / host / "ssh_host_ed25519_key.pub").write_text(PUBLIC_KEY)
    for image in IMAGE_NAMES:
        (cache / "images" / image).mkdir(parents=True)
        (cache / "images" / image / "metadata.tar.xz").touch()
        (cache / "images" / image / "rootfs.squashfs").touch()
    make_key(cache / "id_ed25519")
    (cache / "id_ed25519.pub").write_text(PUBLIC_KEY)
    return cache
