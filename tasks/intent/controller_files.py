"""What a controller is sent: the inventory, its settings, what both refer to, its cron entry.

It all becomes part of the machine's configuration, and is compared and mended as such. From inside
the very same follows: the settings that are written there say where what the inventory refers to
lies now.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tasks.intent.controller import CURRENT, KEY, SETTINGS, STATES, TOOLS, WHEELS, Controller
from tasks.intent.cron import file_name, maintain_words
from tasks.intent.inventory import Inventory
from tasks.intent.merge import Layers
from tasks.intent.model import Machine
from tasks.intent.scope import Scope
from tasks.intent.secret import Secret
from tasks.intent.system import CronJob, File
from tasks.mistakes import Place

AnyMachine = TypeVar("AnyMachine", bound=Machine)
#: What installing it takes.
PACKAGES = ("python3-venv",)
_HEADER = (
    f"# Written by nornir-lxd-fleet: this machine's own key, state and files, see {SETTINGS}.\n"
)


def controller_of(
    machine: AnyMachine, host: Layers, inventory: Inventory, scope: Scope
) -> AnyMachine:
    """A machine with what its key ``controller`` asks for, where it has that key."""
    written: Mapping[str, Any] | None = host.data.get("controller")
    place = host.place("controller")
    if written is None:
        return machine
    if "wheels" not in written and not scope.mistakes.within(place):
        scope.mistakes.add(
            place, "has no wheels", "write wheels: FOLDER, where `make wheels` puts them"
        )
    if "jobs" in written and not isinstance(written.get("maintain"), str):
        scope.mistakes.add(
            place.at("jobs"),
            "jobs without a schedule",
            'write maintain: "30 4 * * *", or the jobs beneath each of several',
        )
    maintain = written.get("maintain")
    for name, each in maintain.items() if isinstance(maintain, dict) else ():
        if "schedule" not in each and not scope.mistakes.within(place):
            scope.mistakes.add(
                place.at("maintain").at(name), "has no schedule", 'write schedule: "30 4 * * *"'
            )
    for package in (*PACKAGES, *TOOLS, *(("cron",) if "maintain" in written else ())):
        if machine.configure.packages.get(package) == "absent":
            scope.mistakes.add(
                host.place("configure", "packages", package),
                f"{package} is absent, and a controller needs it",
                "declare one of the two",
            )
    if scope.mistakes:
        return machine  # nothing will be done with it
    controller = Controller(scope.folder.name, scope.path(written["wheels"]))
    files = _Files(controller, inventory, scope, place).all()
    configure = machine.configure
    return replace(
        machine,
        controller=controller,
        configure=replace(
            configure,
            packages={**dict.fromkeys(PACKAGES, "present"), **configure.packages},
            files=(*configure.files, *files),
            cron=(*configure.cron, *_cron(controller, written)),
        ),
    )


def _cron(controller: Controller, written: Mapping[str, Any]) -> Iterator[CronJob]:
    """The one schedule, or each of several by name."""
    maintain = written.get("maintain", {})
    only = f"maintain-{file_name(controller.environment)}"
    if isinstance(maintain, str):
        maintain = {"": {"schedule": maintain, "jobs": written.get("jobs", [])}}
    elif maintain:
        yield CronJob(only, absent=True)  # which it had before there were several
    for name, each in maintain.items():
        words = maintain_words(
            [f"{CURRENT}/venv/bin/fleet-maintain"],
            controller.inventory,
            each.get("jobs", []),
            time_limit=each.get("time_limit"),
        )
        job = "-".join(filter(None, (only, name)))
        yield CronJob(job, each["schedule"], shlex.join(words))


class _Files:
    """The files of one controller."""

    def __init__(
        self, controller: Controller, inventory: Inventory, scope: Scope, place: Place
    ) -> None:
        self.controller = controller
        self.scope = scope
        self.place = place
        self.references = sorted({s for h in inventory.hosts.values() for s in _references(h.data)})
        lxd_hosts = inventory.of_kind("lxd").values()
        controllers = (host.data.get("controller", {}) for host in inventory.hosts.values())
        self.wheels = sorted({data["wheels"] for data in controllers if "wheels" in data})
        self.images = sorted({path for host in lxd_hosts for path in _image_files(host.data)})

    def all(self) -> list[File]:
        """Settings, inventory and what it refers to; what cannot be sent is a mistake."""
        own = {written: _inside(written) for written in self.references}
        elsewhere = [written for written in self.references if own[written] is None]
        places = {written: f"{SETTINGS}/files/{_name_of(written)}" for written in elsewhere}
        files = [self._settings({**places, **dict.fromkeys(self.wheels, WHEELS)})]
        secret = {path for path in own.values() if path}
        for path in sorted({*self._folder(), *secret}):
            if re.search(r"\s", path):
                self._wrong(self.scope.folder / path, "has a space in its name", "rename it")
            else:
                file = self._file(path, f"{self.controller.inventory}/{path}", path in secret)
                files += [file] if file else []
        for written in elsewhere:
            file = self._file(written, places[written], True)
            files += [file] if file else []
        return files

    def _folder(self) -> Iterator[str]:
        """The files of the inventory folder by their paths in it, without an editor's or git's."""
        folder = self.scope.folder
        images = {self.scope.path(written) for written in self.images}
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") or part.endswith("~") for part in inside.parts)
            if not hidden and path.is_file() and path not in images:
                yield str(inside)

    def _file(self, written: str, there: str, secret: bool) -> File | None:
        """A file as it is sent. What nobody refers to and is a private key, or no text, is not."""
        path = self.scope.path(written)
        try:
            content = path.read_bytes()
            text = content.decode()
            open_to_all = bool(path.stat().st_mode & 0o004)
        except OSError as error:
            self._wrong(path, f"cannot be read ({error.strerror})", "make it readable")
            return None
        except UnicodeDecodeError:
            if secret:
                self._wrong(path, "is no text", "refer to a file of text (UTF-8)")
            return None
        private = "PRIVATE KEY-----" in text or text.startswith("PuTTY-User-Key-File")
        if private and not secret:
            return None
        return File(there, text, mode="0644" if open_to_all and not secret else "0600")

    def _settings(self, places: Mapping[str, str]) -> File:
        """This machine's settings, but for where the controller has what is its own."""
        settings = dict(self.scope.here.settings)
        user_defined = {
            **settings.get("user_defined", {}),
            "state_dir": STATES,
            "ssh_key": KEY,
            "files_here": {**places, **dict.fromkeys(self.images)},
        }
        text = yaml.safe_dump({**settings, "user_defined": user_defined}, sort_keys=False)
        return File(f"{SETTINGS}/config.yaml", _HEADER + text)

    def _wrong(self, path: Path, what: str, right: str) -> None:
        self.scope.mistakes.add(self.place, f"{path}, which the controller needs, {what}", right)


def _references(value: object) -> Iterator[str]:
    """The paths of all files that data refer to."""
    if isinstance(value, Secret):
        if value.kind == "file":
            yield value.source
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _image_files(data: Mapping[str, Any]) -> Iterator[str]:
    for image in data.get("images", {}).values():
        yield from (image[key] for key in ("metadata", "rootfs") if key in image)


def _inside(written: str) -> str | None:
    """The path in the inventory folder; None where it may lie elsewhere."""
    path = os.path.normpath(written)
    return None if path.startswith(("/", "~", "..")) else path


def _name_of(written: str) -> str:
    """The name of a file there: two of one name stay two."""
    name = re.sub("[^A-Za-z0-9._-]", "_", Path(written).name)
    return f"{hashlib.sha256(written.encode()).hexdigest()[:8]}-{name}"
