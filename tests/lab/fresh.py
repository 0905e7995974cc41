"""What makes a fresh root file system a certain host, as its installer would leave it."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.lab.command import run
from tests.lab.locking import cache_locked
from tests.lab.places import (
    CLIENT_KEY,
    GATEWAY,
    HOST_ADDRESSES,
    NICS,
    PREFIX_LENGTH,
    client_public_key,
    host_key,
)

_NETPLAN = """\
# This is the network config written by 'subiquity'
network:
  ethernets:
    {nic}:
      accept-ra: false
      addresses:
      - {address}/{prefix_length}
      nameservers:
        addresses:
        - {gateway}
        search: []
      routes:
      - to: default
        via: {gateway}
  version: 2
"""


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair without a passphrase, unless it is there."""
    if path.is_file() and path.with_name(path.name + ".pub").is_file():
        return
    with cache_locked():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.with_name(path.name + ".pub").is_file():
            return  # another process was faster
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
        path.chmod(0o600)


def make_keys(name: str) -> None:
    """Make the lab's client key and the host's key, unless they are there."""
    make_key(CLIENT_KEY, "nornir-lxd-fleet-lab")
    make_key(host_key(name), f"root@{name}")


def install(name: str, root: Path) -> None:
    """Write the host's own files into its fresh root file system."""
    write(root / "etc/hostname", f"{name}\n")
    with (root / "etc/hosts").open("a") as hosts:
        hosts.write(f"127.0.1.1 {name}\n")
    # The same at each installation, as the MACs that follow from it are.
    machine_id = uuid.uuid5(uuid.NAMESPACE_DNS, name).hex
    write(root / "etc/machine-id", f"{machine_id}\n", 0o444)
    netplan = _NETPLAN.format(
        nic=NICS[0],
        address=HOST_ADDRESSES[name],
        prefix_length=PREFIX_LENGTH,
        gateway=GATEWAY,
    )
    write(root / "etc/netplan/00-installer-config.yaml", netplan, 0o600)
    private, public = host_key(name), host_key(name).with_name(host_key(name).name + ".pub")
    write(root / "etc/ssh/ssh_host_ed25519_key", private.read_text(), 0o600)
    write(root / "etc/ssh/ssh_host_ed25519_key.pub", public.read_text())
    write(root / "root/.ssh/authorized_keys", client_public_key().read_text(), 0o600)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file with exactly this mode, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
