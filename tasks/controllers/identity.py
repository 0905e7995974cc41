"""The key and the certificate that a controller makes, and whom others take it for by them."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actual import FileFacts, MachineFacts
from tasks.certificate import fingerprint_of
from tasks.identity import Identity
from tasks.intent.controller import KEY, TOOLS, Controller
from tasks.intent.model import Machine
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT
from tasks.ownership import CONTROLLER, trust_name_of
from tasks.plan import Plan, Step, mapping_diff


def identity_of(machine: Machine, controller: Controller, actual: MachineFacts) -> Identity:
    """Who a controller is, from what was read of it."""
    public = actual.files.get(controller.public_key, ABSENT).text.strip()
    certificate = actual.files.get(controller.certificate, ABSENT).text
    return Identity(
        machine.name,
        trust_name_of(actual.hostname or machine.name),
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
