"""The kernel, the initrd and the disk of the virtual machine, built once and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tests.lab import fresh, recipes, rootfs
from tests.lab.command import run
from tests.lab.locking import cache_locked
from tests.lab.places import CLIENT_KEY, client_public_key
from tests.lab.rootfs import Recipe
from tests.lab.vm_places import (
    ADDRESS,
    GATEWAY,
    HOST_KEY,
    IMAGES,
    INSTALLER,
    MACS,
    NAME,
    PREFIX_LENGTH,
)

_MEGABYTES = 1536
"""Of the disk, which is sparse: what nobody writes takes no space."""

# Busybox finds the disk and hands over; udev loads everything else from the root file system.
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do
    /bin/busybox insmod "$module"
done
until [ -b /dev/vda ]; do
    /bin/busybox sleep 0.1
done
/bin/busybox mount -t ext4 /dev/vda /disk
exec /bin/busybox switch_root /disk /sbin/init
"""

# The kernel is unpacked, not installed: its own initrd would take longer to make than all the rest.
_KERNEL = f"""
apt-get -q update
cd /tmp
kernel=$(apt-cache show --no-all-versions linux-image-cloud-amd64 |
    sed -n 's/^Depends: \\(linux-image-[^ ,]*\\).*/\\1/p')
apt-get -q download "$kernel"
dpkg-deb --fsys-tarfile "$kernel"_*.deb | tar -x -C / --keep-directory-symlink ./boot ./lib
rm "$kernel"_*.deb
version=${{kernel#linux-image-}}
depmod "$version"
mv "/boot/vmlinuz-$version" /boot/vmlinuz
mkdir -p initrd/bin initrd/dev initrd/disk initrd/modules
cp /bin/busybox initrd/bin
cat > initrd/init <<'END'
{_INIT}END
chmod 755 initrd/init
number=10
for module in $(modprobe -S "$version" -a -D virtio_pci virtio_blk ext4 |
    sed -n 's/^insmod //p' | awk '!seen[$0]++'); do
    cp "$module" "initrd/modules/$number-${{module##*/}}"
    number=$((number + 1))
done
(cd initrd && find . | cpio --quiet -o -H newc) > /boot/initrd
rm -r initrd
rm -rf /var/lib/apt/lists/*
"""

_SETTINGS = """
# Each costs a tenth of a second at each daemon-reload, and netplan says that several times.
mkdir -p /etc/systemd/system-generators
for generator in cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run \
    system-update sysv veritysetup; do
    ln -s /dev/null "/etc/systemd/system-generators/systemd-$generator-generator"
done
rm -f /etc/ssh/ssh_host_* /etc/netplan/*
systemctl enable systemd-networkd.service
printf '127.0.0.1 localhost\\n::1 localhost ip6-localhost ip6-loopback\\n' > /etc/hosts
: > /etc/resolv.conf
install -d -m 700 /root/.ssh
rm -f /etc/hostname /etc/machine-id /var/lib/dbus/machine-id
"""

RECIPE = Recipe(
    name="vm",
    parent=recipes.BASE,
    packages=("busybox-static", "cpio", "kmod", "netplan.io", "openssh-server"),
    setup=_KERNEL + _SETTINGS,
)

_NETPLAN = f"""\
# This is the network config written by 'subiquity'
network:
  ethernets:
    eno1:
      accept-ra: false
      addresses:
      - {ADDRESS}/{PREFIX_LENGTH}
      routes:
      - to: default
        via: {GATEWAY}
  version: 2
"""

# By the driver as well: a vlan or a bridge has the MAC of its NIC, and would be renamed to it.
_LINK = """\
[Match]
MACAddress={mac}
Driver=virtio_net

[Link]
Name={nic}
"""


@dataclass(frozen=True)
class Image:
    """The files that the virtual machine starts from; none is ever written to."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """The compressed kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """What finds the disk."""
        return self.folder / "initrd"

    @property
    def disk(self) -> Path:
        """The file system, without a partition table."""
        return self.folder / "disk.img"


def build() -> Image:
    """Build the image unless it is in the cache, and put it there in one step.

    Raises:
        LabError: a step of the build failed
    """
    fresh.make_key(CLIENT_KEY, "nornir-lxd-fleet-lab")
    fresh.make_key(HOST_KEY, f"root@{NAME}")
    image = Image(IMAGES / _key())
    if image.folder.is_dir():
        return image
    with cache_locked():
        return _build_here(image)


def _build_here(image: Image) -> Image:
    if image.folder.is_dir():
        return image
    # Older images, and what a build left that was killed.
    rootfs.remove_tree(IMAGES)
    IMAGES.mkdir(parents=True)
    rootfs.stop()
    root = rootfs.build(RECIPE)
    half = Image(IMAGES / f"{rootfs.BUILDING}{image.folder.name}")
    half.folder.mkdir()
    for path, (text, mode) in _files().items():
        fresh.write(root / path, text, mode)
    (root / "boot/vmlinuz").rename(half.kernel)
    (root / "boot/initrd").rename(half.initrd)
    fill = ["-d", str(root), "-E", "root_owner=0:0,lazy_itable_init=0", "-m", "0"]
    run(["mkfs.ext4", "-q", "-F", *fill, half.disk, f"{_MEGABYTES}M"], timeout=120)
    # It has become this host alone, and the disk is all that is needed of it from here on.
    rootfs.remove_tree(root)
    half.folder.rename(image.folder)
    return image


def _files() -> dict[str, tuple[str, int]]:
    """What makes the root file system this host, as its installer would leave it."""
    # The same at each installation, as the MACs that follow from it are.
    machine_id = hashlib.md5(NAME.encode(), usedforsecurity=False).hexdigest()
    files = {
        "etc/hostname": (f"{NAME}\n", 0o644),
        "etc/machine-id": (f"{machine_id}\n", 0o444),
        INSTALLER.lstrip("/"): (_NETPLAN, 0o600),
        "etc/ssh/ssh_host_ed25519_key": (HOST_KEY.read_text(), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (HOST_KEY.with_suffix(".pub").read_text(), 0o644),
        "root/.ssh/authorized_keys": (client_public_key().read_text(), 0o600),
    }
    for nic, mac in MACS.items():
        files[f"etc/systemd/network/10-{nic}.link"] = (_LINK.format(mac=mac, nic=nic), 0o644)
    return files


def _key() -> str:
    """A hash of everything that makes this image what it is."""
    parts = [RECIPE.key(), str(_MEGABYTES), str(sorted(_files().items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
