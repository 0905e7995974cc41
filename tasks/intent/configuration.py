"""The configuration of a machine: what its layers declare under ``configure``, typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.intent.merge import Layers
from tasks.intent.model import Machine
from tasks.intent.scalars import is_armoured_key
from tasks.intent.scope import Scope
from tasks.intent.secret import Secret
from tasks.intent.system import Configure, CronJob, File, Group, Repository, Service, User
from tasks.intent.templates import Templates
from tasks.mistakes import Place

ABSENT = "absent"


def configure_of(machine: Machine, host: Layers, scope: Scope, templates: Templates) -> Configure:
    """A machine's configuration, its templates rendered."""
    data: Mapping[str, Any] = host.data.get("configure", {})
    zone = data.get("timezone")
    if zone is not None:
        scope.time_zone(zone, host.place("configure", "timezone"))
    reader = _Reader(machine, host, scope, templates)
    return Configure(
        hostname=data.get("hostname"),
        timezone=zone,
        locale=data.get("locale"),
        repositories=tuple(reader.repositories()),
        packages=reader.packages(),
        groups=tuple(
            Group(name, absent=True) if written == ABSENT else Group(name, **written)
            for name, written in data.get("groups", {}).items()
        ),
        users=tuple(reader.users()),
        files=tuple(reader.files()),
        sysctl={key: str(value) for key, value in data.get("sysctl", {}).items()},
        cron=tuple(reader.cron_jobs()),
        services=tuple(
            # with nothing written it runs, also after a boot; else what is not written stays
            Service(name, written.get("enabled"), written.get("running"))
            if written
            else Service(name)
            for name, written in data.get("services", {}).items()
        ),
    )


class _Reader:
    """One machine's tables of named things."""

    def __init__(self, machine: Machine, host: Layers, scope: Scope, templates: Templates) -> None:
        self.machine = machine
        self.host = host
        self.scope = scope
        self.templates = templates

    def repositories(self) -> Iterator[Repository]:
        for name, written, place in self._entries("repositories"):
            if written == ABSENT:
                yield Repository(name, absent=True)
            elif self._has(written, place, "url", "suite"):
                flat = written["suite"].endswith("/")
                if flat == bool(written.get("components", not flat)):
                    self.scope.mistakes.add(
                        place.at("components"),
                        "a suite that ends in / has no components, any other has some",
                        "leave components out" if flat else "write them: [main]",
                    )
                key = written.get("key")
                yield Repository(
                    name,
                    written["url"],
                    written["suite"],
                    tuple(written.get("components", ["main"])),
                    tuple(written.get("architectures", [])),
                    key=self._armoured(key, place.at("key")) if key is not None else None,
                )

    def users(self) -> Iterator[User]:
        for name, written, place in self._entries("users"):
            if name == "root" and (written == ABSENT or "uid" in written or "home" in written):
                self.scope.mistakes.add(
                    place, "root is as every system has it", "declare its keys or shell only"
                )
            elif written == ABSENT:
                yield User(name, absent=True)
            else:
                keys = [
                    self.scope.key_line(key, place.at("keys", n))
                    for n, key in enumerate(written.get("keys", []))
                ]
                if written.get("only_keys"):
                    keys = self._all_keys(name, keys, place)
                if written.get("sudo") and written.get("sudo_commands"):
                    self.scope.mistakes.add(
                        place.at("sudo_commands"),
                        "sudo: true allows everything already",
                        "write one of the two",
                    )
                fields: dict[str, Any] = {
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in written.items()
                }
                yield User(name, **{**fields, "keys": tuple(key for key in keys if key)})

    def _all_keys(self, user: str, keys: list[str | None], place: Place) -> list[str | None]:
        """The keys of a user who shall have no others: with ours, or we lock ourselves out."""
        ssh, ours = self.machine.ssh, self.machine.bootstrap.authorized_keys
        if user == "root":
            keys = [*keys, *(key for key in ours if key not in keys)]
        public = ssh.key_file.with_name(f"{ssh.key_file.name}.pub") if ssh.key_file else None
        if not keys:
            self.scope.mistakes.add(
                place, "only_keys without keys lets nobody in", "write its `keys`"
            )
        elif self.scope.here.ssh_key:
            pass  # a controller's own key, which is let in without being declared
        elif user == ssh.username and public and public.is_file():
            own = public.read_text().split()[1:2]
            if not any(key and own == key.split()[1:2] for key in keys):
                self.scope.mistakes.add(
                    place.at("only_keys"),
                    "would lock us out: the key that we log in with is not among its keys",
                    f"write {{file: {public}}} there",
                    host=self.machine.name,
                )
        return keys

    def packages(self) -> Mapping[str, str]:
        """What is declared; a package that another table needs cannot be absent."""
        configure = self.host.data.get("configure", {})
        packages: Mapping[str, str] = configure.get("packages", {})
        users = [user for user in configure.get("users", {}).values() if isinstance(user, dict)]
        needs = {
            "sudo": any(user.get("sudo") or user.get("sudo_commands") for user in users),
            "cron": any(job != ABSENT for job in configure.get("cron", {}).values()),
        }
        for package, needed in needs.items():
            if needed and packages.get(package) == ABSENT:
                self.scope.mistakes.add(
                    self.host.place("configure", "packages", package),
                    f"{package} is absent, and another table needs it",
                    "declare one of the two",
                )
        return packages

    def files(self) -> Iterator[File]:
        for path, written, place in self._entries("files"):
            if written == ABSENT:
                yield File(path, absent=True)
                continue
            content, template = written.get("content"), written.get("template")
            if (content is None) == (template is None):
                if not self.scope.mistakes.within(place):
                    both = "neither content nor template" if content is None else None
                    what = both or "content and template"
                    self.scope.mistakes.add(place, f"has {what}", "write one of the two")
                continue
            if template is not None:
                content = self.templates.render(
                    template,
                    self.machine,
                    self.host.place("configure", "files", path, "template"),
                )
            if content is not None:
                yield File(
                    path=path,
                    content=content,
                    owner=written.get("owner", "root"),
                    group=written.get("group", "root"),
                    mode=written.get("mode", "0644").zfill(4),
                    validate=written.get("validate"),
                    restarts=tuple(written.get("restarts", [])),
                )

    def cron_jobs(self) -> Iterator[CronJob]:
        for name, written, place in self._entries("cron"):
            if written == ABSENT:
                yield CronJob(name, absent=True)
            elif self._has(written, place, "schedule", "command"):
                yield CronJob(name, **written)

    def _entries(self, table: str) -> Iterator[tuple[str, Any, Place]]:
        for name, written in self.host.data.get("configure", {}).get(table, {}).items():
            yield name, written, self.host.place("configure", table, name)

    def _has(self, written: Mapping[str, Any], place: Place, *keys: str) -> bool:
        """Whether an entry has these keys; one that lacks some is a mistake, said once."""
        missing = [key for key in keys if key not in written]
        if missing and not self.scope.mistakes.within(place):
            self.scope.mistakes.add(place, f"has no {missing[0]}", f"write {missing[0]}: ...")
        return not missing

    def _armoured(self, key: str | Secret, place: Place) -> str | None:
        if not isinstance(key, Secret):
            return key.strip() + "\n"
        path = self.scope.path(key.source)
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            self.scope.mistakes.add(
                place,
                f"the key {path} cannot be read ({why})",
                "mend the path, or export the key anew with gpg --armor --export",
            )
            return None
        if not is_armoured_key(text):
            self.scope.mistakes.add(
                place,
                f"{path} does not hold one armoured OpenPGP public key",
                "export it with gpg --armor --export",
            )
            return None
        return text.strip() + "\n"
