"""What is in the root file systems: of the hosts and of the container images."""

from __future__ import annotations

from tests.lab.rootfs import Recipe

# The lists of packages are removed: a fresh machine has to say apt-get update first.
_CLEAN = """
rm -f /etc/hostname /etc/machine-id /var/lib/dbus/machine-id /etc/resolv.conf
touch /etc/machine-id
"""

_USELESS = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer "
    "e2scrub_reap.service fstrim.timer getty.target console-getty.service "
    "systemd-pstore.service systemd-random-seed.service systemd-update-utmp-runlevel.service "
    "systemd-binfmt.service systemd-modules-load.service systemd-hwdb-update.service "
    "systemd-ask-password-wall.path "
    "sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount "
    "sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount "
    "proc-sys-fs-binfmt_misc.automount"
)

_QUIET_JOURNAL = """
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\\nStorage=volatile\\nRuntimeMaxUse=16M\\n' \
    > /etc/systemd/journald.conf.d/90-lab.conf
"""

BASE = Recipe(
    name="base",
    packages=(
        "systemd",
        "systemd-sysv",
        "dbus",
        "iproute2",
        "iputils-ping",
        "netbase",
        "udev",
    ),
    setup=f"{_CLEAN}systemctl mask {_USELESS}\n{_QUIET_JOURNAL}",
)

HOST = Recipe(
    name="host",
    parent=BASE,
    packages=(
        "ca-certificates",
        "dnsmasq-base",
        "iptables",
        "libpam-systemd",
        "lxd",
        "lxd-client",
        "netplan.io",
        "nftables",
        "openssh-server",
        "openssl",
        "squashfs-tools",
        "sudo",
        "systemd-resolved",
        "uidmap",
    ),
    setup=f"""{_CLEAN}
rm -f /etc/ssh/ssh_host_* /etc/netplan/*
ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
systemctl enable systemd-networkd.service systemd-resolved.service
# /proc/sys is this machine's own, not the host's: no settings at boot.
systemctl mask systemd-sysctl.service
# LXD asks these at its start; from here they cannot be reached, and it would wait.
cat > /etc/hosts <<'END'
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
0.0.0.0 images.linuxcontainers.org images.lxd.canonical.com cloud-images.ubuntu.com
END
# Replaying the events of every device would replay them for this machine too: NICs only.
mkdir -p /etc/systemd/system/systemd-udev-trigger.service.d
cat > /etc/systemd/system/systemd-udev-trigger.service.d/90-lab.conf <<'END'
[Service]
ExecStart=
ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=net
END
# A container that LXD was still starting outlives the shutdown of LXD, and systemd waits for it.
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' > /etc/systemd/system.conf.d/90-lab.conf
install -d -m 700 /root/.ssh
""",
)

MINIMAL_IMAGE = Recipe(
    name="minimal",
    parent=BASE,
    packages=(),
    setup=f"""{_CLEAN}
: > /etc/resolv.conf
systemctl enable systemd-networkd.service
# It would wait for router advertisements that nobody sends.
systemctl mask systemd-networkd-wait-online.service
""",
)

CLOUD_INIT_IMAGE = Recipe(
    name="cloud-init",
    parent=BASE,
    packages=("cloud-init", "netplan.io", "systemd-resolved", "tzdata", "ca-certificates"),
    setup=f"""{_CLEAN}
rm -f /etc/netplan/*
ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
systemctl enable systemd-networkd.service systemd-resolved.service
# It would wait for router advertisements that nobody sends.
systemctl mask systemd-networkd-wait-online.service
cat > /etc/cloud/cloud.cfg.d/90-lab.cfg <<'END'
datasource_list: [LXD, None]
apt:
  preserve_sources_list: true
# Already so, which saves the locales package.
locale: C.UTF-8
END
echo LANG=C.UTF-8 > /etc/default/locale
""",
)

# With sshd in them already, which most of a bootstrap's time goes into. Its keys are not.
_WITH_SSH = f"""{_CLEAN}
rm -f /etc/ssh/ssh_host_*
systemctl disable ssh.service
"""
MINIMAL_SSH_IMAGE = Recipe(
    name="minimal-ssh",
    parent=MINIMAL_IMAGE,
    packages=("openssh-server",),
    setup=f"{_WITH_SSH}: > /etc/resolv.conf\n",
)
CLOUD_INIT_SSH_IMAGE = Recipe(
    name="cloud-init-ssh",
    parent=CLOUD_INIT_IMAGE,
    packages=("openssh-server",),
    setup=f"{_WITH_SSH}ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf\n",
)
