"""All files that a configuration has: those declared whole, and those that its other tables make.

Sources of the formats: sudoers(5), cron(8), sysctl.d(5), sources.list(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.intent.system import Configure, CronJob, File, Repository, User

HEADER = "# Managed by nornir-lxd-fleet.\n"
SYSCTL = "/etc/sysctl.d/61-nornir-lxd-fleet.conf"
KEYRINGS = "/etc/apt/keyrings"
SOURCES = "/etc/apt/sources.list.d"


@dataclass(frozen=True)
class Managed:
    """A file and what declares it: the table under ``configure`` and the name there."""

    table: str
    name: str
    file: File


def managed_files(configure: Configure) -> Iterator[Managed]:
    """The files of a configuration, in the order in which they are written.

    Repositories come first: packages may be in them. A file of what is declared absent is absent.
    """
    for repository in configure.repositories:
        for file in repository_files(repository):
            yield Managed("repositories", repository.name, file)
    for file in configure.files:
        yield Managed("files", file.path, file)
    for user in configure.users:
        if user.has_sudo:
            yield Managed("users", user.name, _sudoers(user))
    if configure.sysctl:
        yield Managed("sysctl", "", _sysctl(configure))
    for job in configure.cron:
        yield Managed("cron", job.name, cron_file(job))


def sudoers_path(user: User) -> str:
    """Where the rights of a user stand."""
    return f"/etc/sudoers.d/{user.name}"


def _sudoers(user: User) -> File:
    """Sudo ignores files that others may write."""
    may = "(ALL:ALL) NOPASSWD: ALL" if user.sudo else ""
    lines = [may] if may else [f"(root) NOPASSWD: {command}" for command in user.sudo_commands]
    return File(
        sudoers_path(user),
        HEADER + "".join(f"{user.name} ALL={line}\n" for line in lines),
        mode="0440",
        validate="visudo -cf %s",
    )


def _sysctl(configure: Configure) -> File:
    lines = (f"{key} = {value}\n" for key, value in configure.sysctl.items())
    return File(SYSCTL, HEADER + "".join(lines))


def cron_file(job: CronJob) -> File:
    """The file in cron.d that has this job."""
    path = f"/etc/cron.d/nornir-lxd-fleet-{job.name}"
    if job.absent:
        return File(path, absent=True)
    return File(path, f"{HEADER}{job.schedule} {job.user} {cron_command(job.command)}\n")


def cron_command(command: str) -> str:
    """A command taken literally: cron would end it at its first percent sign."""
    return command.replace("%", r"\%")


def repository_files(repository: Repository) -> list[File]:
    """A repository's source, then its key, which signs for it alone, where it has one.

    The source is validated once both are there: its lists are fetched.
    """
    key = f"{KEYRINGS}/{repository.name}.asc"
    source = f"{SOURCES}/{repository.name}.sources"
    if repository.absent:
        return [File(source, absent=True), File(key, absent=True)]
    fields = {
        "Types": "deb",
        "URIs": repository.url,
        "Suites": repository.suite,
        "Components": "" if repository.suite.endswith("/") else " ".join(repository.components),
        "Architectures": " ".join(repository.architectures),
        "Signed-By": key if repository.key else "",
    }
    lines = (f"{name}: {value}\n" for name, value in fields.items() if value)
    files = [File(source, HEADER + "".join(lines), validate=_fetched(source))]
    return [*files, File(key, repository.key)] if repository.key else files


def _fetched(source: str) -> str:
    """The command that fetches the lists of one source and of no other; see apt.conf(5)."""
    options = {
        "Dir::Etc::SourceList": source,
        "Dir::Etc::SourceParts": "-",
        "APT::Get::List-Cleanup": "0",
        "APT::Update::Error-Mode": "any",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    return f"apt-get -q {' '.join(f'-o {key}={value}' for key, value in options.items())} update"
