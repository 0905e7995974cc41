"""What a controller needs besides its files: pure, from one read of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tasks.actual import MachineFacts
from tasks.controllers.program import Wheels, plan_program
from tasks.intent.controller import SETTINGS, Controller
from tasks.intent.model import Machine
from tasks.intent.system import File
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, file_step
from tasks.machine.keys import keys_step
from tasks.machine.paths import ROOT_KEYS, is_foreign
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]


@dataclass(frozen=True)
class Equipment:
    """What this run hands to a controller.

    ``keys`` are the public keys of all controllers, its own among them: it manages itself as well.
    ``host_keys`` are the SSH host keys by the names that known_hosts has for a machine, the
    machine's own first (``voice-01,172.17.4.10``).
    """

    wheels: Wheels
    keys: tuple[str, ...] = ()
    host_keys: Mapping[str, Collection[str]] | None = None


def plan_controller(
    machine: Machine, controller: Controller, equipment: Equipment, actual: MachineFacts
) -> Steps:
    """The steps that go before the files of its configuration."""
    only_keys = any(user.name == "root" and user.only_keys for user in machine.configure.users)
    held = actual.files.get(ROOT_KEYS, ABSENT).text.splitlines()
    left_out = only_keys or is_foreign(ROOT_KEYS, machine)
    keys = equipment.keys
    step = None if left_out else keys_step("root", keys, held, undeclared=keys)
    if step:
        yield step
    yield from _folder(actual)
    yield from plan_program(equipment.wheels, actual)
    yield from _known_hosts(controller, equipment.host_keys or {}, actual)


def _folder(actual: MachineFacts) -> Steps:
    """The folder of what it was sent is root's alone: secrets are among it."""
    now = actual.files.get(SETTINGS, ABSENT)
    if (now.kind, now.owner, now.mode) != ("other", "root", "0700"):
        before = {"owner": now.owner, "mode": now.mode} if now.kind else {}
        yield Step(
            "update" if now.kind else "create",
            f"folder {SETTINGS}",
            (Call("private_folder", (SETTINGS,)),),
            diff=mapping_diff(before, {"owner": "root", "mode": "0700"}, SETTINGS),
        )


def _known_hosts(
    controller: Controller, host_keys: Mapping[str, Collection[str]], actual: MachineFacts
) -> Steps:
    """Add the SSH host keys that it lacks; what it knows of others stays."""
    lines = actual.files.get(controller.known_hosts, ABSENT).text.splitlines()
    wanted = list(lines)
    for names, keys in host_keys.items():
        name = names.split(",")[0]
        of_it = [line for line in wanted if name in line.split(" ", 1)[0].split(",")]
        known = {line.partition(" ")[2] for line in of_it}
        if not known.issuperset(keys):
            wanted = [line for line in wanted if line not in of_it]
            wanted += [f"{names} {key}" for key in keys]
    if wanted != lines:
        file = File(controller.known_hosts, "".join(f"{line}\n" for line in wanted), mode="0600")
        step = file_step(file, actual.files.get(controller.known_hosts, ABSENT))
        if step:
            yield step
