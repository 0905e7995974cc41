"""The controllers of the fleet as this run knows them, and the machines that let them in."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tasks.identity import Identity
from tasks.intent.model import Machine
from tasks.run import Run

AnyMachine = TypeVar("AnyMachine", bound=Machine)


def known_controllers(run: Run) -> tuple[Identity, ...]:
    """The controllers of the fleet: as read in this run, else as remembered, else none."""
    found = (
        run.controllers.get(m.name) or _remembered(run, m.name) for m in run.intent.controllers
    )
    return tuple(identity for identity in found if identity)


def former_controllers(run: Run) -> tuple[Identity, ...]:
    """Those remembered here that the inventory has no longer as controllers."""
    declared = {machine.name for machine in run.intent.controllers}
    names = (name for name in run.state.controllers() if name not in declared)
    return tuple(identity for name in names if (identity := _remembered(run, name)))


def has_controllers(run: Run) -> bool:
    """Whether the fleet has controllers, or had some."""
    return bool(run.intent.controllers or run.state.controllers())


def keys_of_controllers(run: Run) -> tuple[str, ...]:
    """Their public keys; in a dry run also one that is still to be made."""
    return tuple(
        identity.key_line
        for identity in known_controllers(run)
        if identity.public_key or run.dry_run
    )


def letting_in(machine: AnyMachine, run: Run) -> AnyMachine:
    """A machine that every controller may log in to: as root, and as the user that logs in there
    where its configuration has that one."""
    keys = keys_of_controllers(run)
    if not keys:
        return machine
    bootstrap, configure = machine.bootstrap, machine.configure
    log_in = machine.ssh.username
    users = tuple(
        replace(user, keys=tuple(dict.fromkeys((*user.keys, *keys))))
        if not user.absent and (user.only_keys if user.name == "root" else user.name == log_in)
        else user
        for user in configure.users
    )
    return replace(
        machine,
        bootstrap=replace(
            bootstrap, authorized_keys=tuple(dict.fromkeys((*bootstrap.authorized_keys, *keys)))
        ),
        configure=replace(configure, users=users),
        let_in=keys,
    )


def learned(run: Run, identity: Identity) -> None:
    """Keep what was read of a controller for this run and, unless it is dry, for later ones."""
    whole = identity.public_key and identity.certificate
    if whole or run.dry_run:
        run.controllers[identity.name] = identity
    if whole and not run.dry_run:
        run.state.remember_controller(identity.name, identity.to_text())


def _remembered(run: Run, name: str) -> Identity | None:
    text = run.state.controller(name)
    try:
        return Identity.from_text(text) if text else None
    except (ValueError, TypeError):
        return None  # as good as none: it is read again and written anew
