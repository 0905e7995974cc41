"""What the system of any machine is to have: files, users, packages, services and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class File:
    """A file's content, already rendered; ``restarts`` names the services that read it.

    ``absent`` is one that shall not be there, whatever the rest says.
    """

    path: str
    content: str = field(default="", repr=False)
    owner: str = "root"
    group: str = "root"
    mode: str = "0644"
    validate: str | None = None
    restarts: tuple[str, ...] = ()
    absent: bool = False


@dataclass(frozen=True)
class Group:
    """A Unix group; without ``gid`` the machine chooses one."""

    name: str
    gid: int | None = None
    system: bool = False
    absent: bool = False


@dataclass(frozen=True)
class User:
    """A Unix user.

    ``keys`` are public key lines added to its authorized_keys; with ``only_keys`` they are all
    that it has. ``sudo`` lets it do everything as root without a password, ``sudo_commands`` only
    these, as sudoers(5) has them. Without ``uid`` and ``home`` the machine chooses them.
    """

    name: str
    groups: tuple[str, ...] = ()
    shell: str = "/bin/bash"
    keys: tuple[str, ...] = ()
    only_keys: bool = False
    sudo: bool = False
    sudo_commands: tuple[str, ...] = ()
    uid: int | None = None
    home: str | None = None
    system: bool = False
    absent: bool = False

    @property
    def has_sudo(self) -> bool:
        """Whether it may do anything as root."""
        return not self.absent and bool(self.sudo or self.sudo_commands)


@dataclass(frozen=True)
class Service:
    """A systemd service. None means: not declared, left as it is."""

    name: str
    enabled: bool | None = True
    running: bool | None = True


@dataclass(frozen=True)
class Repository:
    """An apt repository; ``key`` is the armoured OpenPGP key that signs it, None where the machine
    trusts it already."""

    name: str
    url: str = ""
    suite: str = ""
    components: tuple[str, ...] = ("main",)
    architectures: tuple[str, ...] = ()
    key: str | None = field(default=None, repr=False)
    absent: bool = False


@dataclass(frozen=True)
class CronJob:
    """A line in /etc/cron.d. ``schedule`` is crontab(5)'s five fields or an @word."""

    name: str
    schedule: str = ""
    command: str = ""
    user: str = "root"
    absent: bool = False


@dataclass(frozen=True)
class Configure:
    """The configuration of a machine over SSH.

    A package maps to present, absent or a version, a kernel setting of ``sysctl`` to its value.
    """

    hostname: str | None = None
    timezone: str | None = None
    locale: str | None = None
    repositories: tuple[Repository, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()
    files: tuple[File, ...] = ()
    sysctl: Mapping[str, str] = field(default_factory=dict)
    cron: tuple[CronJob, ...] = ()
    services: tuple[Service, ...] = ()
