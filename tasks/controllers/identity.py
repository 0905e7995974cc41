"""Who a controller is to others: the public halves of a key and a certificate made there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from tasks.actual import FileFacts, MachineFacts
from tasks.certificate import fingerprint_of
from tasks.intent.controller import KEY, TOOLS, Controller
from tasks.intent.model import Machine
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT
from tasks.ownership import CONTROLLER
from tasks.plan import Plan, Step, mapping_diff


@dataclass(frozen=True)
class Identity:
    """A controller of the fleet.

    ``trust_name`` is the name under which LXD servers trust its client ``certificate`` (PEM),
    ``public_key`` a line for authorized_keys; None where they are still to be made.
    """

    name: str
    trust_name: str
    public_key: str | None = None
    certificate: str | None = None

    @property
    def key_line(self) -> str:
        """Its public key, or in a dry run what stands for one that is still to be made."""
        return self.public_key or f"(the public key of {self.name}, to be made)"

    def to_text(self) -> str:
        """It as text, to be remembered."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_text(text: str) -> Identity:
        """The one in a text of :meth:`to_text`. Raises :class:`ValueError` or TypeError."""
        return Identity(**json.loads(text))


def identity_of(machine: Machine, controller: Controller, actual: MachineFacts) -> Identity:
    """Who a controller is, from what was read of it."""
    public = actual.files.get(controller.public_key, ABSENT).text.strip()
    certificate = actual.files.get(controller.certificate, ABSENT).text
    return Identity(
        machine.name,
        f"{CONTROLLER}{actual.hostname or machine.name}",
        public if "AAAA" in public else None,
        certificate if _is_certificate(certificate) else None,
    )


def plan_identity(machine: Machine, controller: Controller, actual: MachineFacts) -> Plan[Calls]:
    """The steps to a key and a certificate of the controller's own, which only root can read."""
    who = identity_of(machine, controller, actual)
    steps = [
        *_key(who, actual),
        *_certificate(who, controller, actual),
    ]
    if steps:
        steps = [*_tools(actual), *steps]
    return Plan(tuple(steps), "" if steps else "its key and its certificate are there")


def _tools(actual: MachineFacts) -> Iterator[Step[Calls]]:
    for package in TOOLS:
        if package not in actual.packages:
            yield Step(
                "install",
                f"package {package}",
                (Call("install_packages", (package,)),),
                "its certificate is made with it",
                mapping_diff({package: "absent"}, {package: "present"}, "packages"),
            )


def _key(who: Identity, actual: MachineFacts) -> Iterator[Step[Calls]]:
    flaw = _flaw(actual.files.get(KEY, ABSENT))
    if flaw or not who.public_key:
        yield Step(
            "update" if flaw.startswith("mode") else "create",
            "key pair of the controller",
            (Call("make_key", (KEY, who.trust_name)),),
            flaw or "its public half is missing",
            mapping_diff({}, {KEY: "ed25519, for root alone"}, "key pair"),
        )


def _certificate(
    who: Identity, controller: Controller, actual: MachineFacts
) -> Iterator[Step[Calls]]:
    flaw = _flaw(actual.files.get(controller.certificate_key, ABSENT))
    if flaw or not who.certificate:
        paths = (controller.certificate, controller.certificate_key)
        yield Step(
            "update" if flaw.startswith("mode") else "create",
            "client certificate of the controller",
            (Call("make_certificate", (*paths, who.trust_name.removeprefix(CONTROLLER))),),
            flaw or "it is missing",
            mapping_diff({}, {controller.certificate: who.trust_name}, "client certificate"),
        )


def _flaw(private: FileFacts) -> str:
    """What is wrong with a file that is to be root's alone."""
    if private.kind != "file":
        return "missing"
    if private.owner != "root" or private.mode != "0600":
        return f"mode {private.mode} of {private.owner}"
    return ""


def _is_certificate(text: str) -> bool:
    try:
        fingerprint_of(text)
    except ValueError:
        return False
    return True
