"""Where things lie on a machine, Debian's and Ubuntu's way, and what one read of it looks at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tasks.errors import FleetError
from tasks.intent.controller import COMPLETE, KEY, SETTINGS, TOOLS
from tasks.intent.model import Attachment, Container, Machine
from tasks.intent.system import Configure, User
from tasks.machine.managed import managed_files, sudoers_path

STATE = "/var/lib/nornir-lxd-fleet"
FIRST_UPGRADE = f"{STATE}/first-upgrade"
ROOT_KEYS = "/root/.ssh/authorized_keys"
HUSHLOGIN = "/root/.hushlogin"
RESOLV_CONF = "/etc/resolv.conf"
HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
NETPLAN = "/etc/netplan/60-nornir-lxd-fleet.yaml"

#: What OpenSSH's server is called; newer Ubuntu starts it by socket.
SSH_UNITS = ("ssh.service", "ssh.socket")
#: Packages that some part of a configuration needs: the time zones, the locales' sources, visudo,
#: cron itself, what verifies a repository over https.
TIME_ZONES = "tzdata"
LOCALES = "locales"
SUDO = "sudo"
CRON = "cron"
CERTIFICATES = "ca-certificates"
NEEDED = (TIME_ZONES, LOCALES, SUDO, CRON, CERTIFICATES)


def networkd_file(attachment: Attachment) -> str:
    """systemd-networkd takes the first file by name that matches: ours."""
    return f"/etc/systemd/network/10-{attachment.interface}.network"


def ifupdown_file(attachment: Attachment) -> str:
    """ifupdown reads what has no dot in its name."""
    return f"/etc/network/interfaces.d/{attachment.interface}"


def setting_path(key: str) -> str:
    """Where the kernel has a setting (proc(5)): what is foreign is named by a path."""
    return f"/proc/sys/{key.replace('.', '/')}"


def changed_in_place(configure: Configure) -> Iterator[tuple[str, str, str]]:
    """What a configuration changes besides whole files: its table, the name there, the path."""
    for key in configure.sysctl:
        yield "sysctl", key, setting_path(key)
    if configure.timezone:
        yield "timezone", "", "/etc/localtime"
        yield "timezone", "", "/etc/timezone"
    if configure.locale:
        yield "locale", "", "/etc/default/locale"
        yield "locale", "", "/etc/locale.conf"
        if not is_built_in(configure.locale):
            yield "locale", "", "/etc/locale.gen"


def is_built_in(locale: str) -> bool:
    """Whether every system has a locale, without generating it: C and its kin."""
    return locale.split(".", maxsplit=1)[0] in ("C", "POSIX")


def keys_path(user: User, home: str = "") -> str:
    """Where a user's authorized keys lie; ``home`` is what it has now, where that is known."""
    if user.name == "root":
        return ROOT_KEYS
    return f"{user.home or home or f'/home/{user.name}'}/.ssh/authorized_keys"


def declared_keys(machine: Machine) -> Iterator[tuple[tuple[str, ...], str]]:
    """The authorized keys that a machine declares: the keys of its data, and the path there."""
    if machine.bootstrap.authorized_keys:
        yield ("bootstrap", "authorized_keys"), ROOT_KEYS
    for user in machine.configure.users:
        if user.keys and not user.absent:
            yield ("configure", "users", user.name, "keys"), keys_path(user)


def foreign_over(path: str, machine: Machine) -> str | None:
    """The path that the inventory declares as somebody else's, and that this is or lies under."""
    lies = PurePosixPath(path).is_relative_to
    return next((foreign for foreign in machine.foreign if lies(foreign)), None)


def is_foreign(path: str, machine: Machine) -> bool:
    """Whether a path is, or lies under, one that the inventory declares as somebody else's."""
    return foreign_over(path, machine) is not None


def ours_and_foreign(path: str, machine: Machine) -> FleetError:
    """The error where a path is both, which the inventory's checks see before anything else."""
    return FleetError(
        f"{path} is declared as ours and as foreign at once",
        where=machine.name,
        remedy="take one of the two out of the inventory",
    )


def is_ours(path: str, machine: Machine) -> bool:
    """Whether a file that every machine has is left to us: neither declared nor foreign."""
    declared = any(file.path == path for file in machine.configure.files)
    return not declared and not is_foreign(path, machine)


def read_paths(machine: Machine) -> tuple[str, ...]:
    """All files that some phase compares."""
    paths = [ROOT_KEYS, HUSHLOGIN, FIRST_UPGRADE, HOSTNAME, HOSTS]
    if isinstance(machine, Container):
        paths += [RESOLV_CONF, NETPLAN]
        for attachment in machine.attachments.values():
            paths += [networkd_file(attachment), ifupdown_file(attachment)]
    paths += [managed.file.path for managed in managed_files(machine.configure)]
    paths += [sudoers_path(user) for user in machine.configure.users]
    if machine.controller:
        ours = machine.controller
        paths += [SETTINGS, COMPLETE, ours.public_key, ours.certificate, ours.known_hosts]
    return tuple(dict.fromkeys(paths))


def secret_paths(machine: Machine) -> tuple[str, ...]:
    """All files of which no phase reads what is in them, only whether they are there and whose."""
    return (KEY, machine.controller.certificate_key) if machine.controller else ()


def read_units(machine: Machine) -> tuple[str, ...]:
    """All services that some phase looks at."""
    declared = (service.name for service in machine.configure.services)
    restarted = (name for file in machine.configure.files for name in file.restarts)
    return tuple(dict.fromkeys((*SSH_UNITS, *declared, *restarted)))


def read_packages(machine: Machine) -> tuple[str, ...]:
    """All packages that some phase looks at."""
    packages = (*machine.bootstrap.packages, *machine.configure.packages, *NEEDED)
    return tuple(dict.fromkeys((*packages, *(TOOLS if machine.controller else ()))))
