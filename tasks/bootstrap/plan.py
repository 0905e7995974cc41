"""What a machine lacks until it can be managed over SSH: pure, from one read of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.actual import MachineFacts
from tasks.bootstrap.network import network_files, resolv_conf
from tasks.intent.model import Attachment, Container, File, Image, Interface, Machine
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, file_step
from tasks.machine.host_name import plan_host_name
from tasks.machine.keys import key_of, keys_step, not_let_in
from tasks.machine.paths import (
    FIRST_UPGRADE,
    HUSHLOGIN,
    RESOLV_CONF,
    ROOT_KEYS,
    SSH_UNITS,
    is_foreign,
    is_ours,
)
from tasks.plan import Plan, Step, mapping_diff

Steps = Iterator[Step[Calls]]


def plan_bootstrap(container: Container, image: Image, actual: MachineFacts) -> Plan[Calls]:
    """From a container just started to one that answers over SSH, by what its image has.

    ``actual`` without anything in it (``over`` is "") plans a container that does not run yet.
    """
    static = [a for a in container.attachments.values() if a.address]
    ours = image.network_config is None or _has_no_cloud_init(static, actual)
    steps: list[Step[Calls]] = []
    if ours and static:
        steps += _network(static, actual)
    steps += _resolver(container, static, actual, ours=ours)
    if actual.over:
        steps += plan_host_name(container, container.name, actual)
    steps += _first_upgrade(container, actual)
    steps += _packages(container, actual)
    steps += _root(container, actual)
    if container.ssh.hostname:
        steps += _sshd(actual)
    notes = (*_notes(static, actual, ours=ours), *_not_let_in(container, actual))
    return Plan(tuple(steps), _reason(steps), notes)


def _has_no_cloud_init(static: Sequence[Attachment], actual: MachineFacts) -> bool:
    """Whether it was made from another image than the declared one, and lacks its network."""
    without = bool(actual.over) and actual.cloud_init == "absent"
    return without and any(_missing(attachment, actual) for attachment in static)


def plan_host_bootstrap(machine: Machine, actual: MachineFacts) -> Plan[Calls]:
    """The same for a machine that answers over SSH already: first upgrade, keys, .hushlogin."""
    steps = [*_first_upgrade(machine, actual), *_root(machine, actual)]
    return Plan(tuple(steps), _reason(steps), tuple(_not_let_in(machine, actual)))


def _reason(steps: Sequence[Step[Calls]]) -> str:
    return "" if steps else "bootstrapped already"


def _network(static: Sequence[Attachment], actual: MachineFacts) -> Steps:
    interfaces = tuple(a.interface for a in static)
    what = f"network {', '.join(interfaces)}"
    if not actual.network_tool:
        if actual.over:
            yield Step(
                "create",
                what,
                (Call("fail", ("it has neither netplan nor ifupdown nor systemd-networkd",)),),
                detail="no tool for it in the image",
            )
            return
        wanted = {a.interface: _shown(a) for a in static}
        yield Step(
            "create",
            what,
            (),
            "by the tool that the image has",
            mapping_diff({}, wanted, "network"),
        )
        return
    written = [
        step
        for file in network_files(actual.network_tool, static)
        if (step := _open_file_step(file, actual))
    ]
    missing = [(a.interface, address) for a in static for address in _missing(a, actual)]
    if not written and not missing:
        return
    awaited = (
        Call("await_address", (a.interface, str(address)))
        for a in static
        for address in a.addresses
    )
    yield Step(
        "update" if any(step.action == "update" for step in written) else "create",
        what,
        write=(
            *(call for step in written for call in step.write),
            Call("apply_network", (actual.network_tool, *interfaces)),
            *awaited,
        ),
        detail=f"by {actual.network_tool}"
        + "".join(f", {address} is not on {interface}" for interface, address in missing),
        diff="\n".join(step.diff for step in written),
    )


def _missing(attachment: Attachment, actual: MachineFacts) -> list[Interface]:
    there = actual.addresses.get(attachment.interface, ())
    return [address for address in attachment.addresses if address not in there]


def _shown(attachment: Attachment) -> dict[str, object]:
    shown: dict[str, object] = {"address": ", ".join(map(str, attachment.addresses))}
    if attachment.gateway:
        shown["gateway"] = str(attachment.gateway)
    if attachment.nameservers:
        shown["nameservers"] = [str(server) for server in attachment.nameservers]
    return shown


def _resolver(
    container: Container, static: Sequence[Attachment], actual: MachineFacts, *, ours: bool
) -> Steps:
    """A link belongs to a resolver, which the network's own tool tells the nameservers."""
    wanted = resolv_conf(static)
    held = actual.files.get(RESOLV_CONF, ABSENT)
    if not wanted or held.kind == "link" or not is_ours(RESOLV_CONF, container):
        return
    if not ours and (not actual.over or b"nameserver" in (held.content or b"")):
        return  # cloud-init has seen to it, or will
    step = _open_file_step(File(RESOLV_CONF, wanted), actual)
    if step:
        yield step


def _open_file_step(file: File, actual: MachineFacts) -> Step[Calls] | None:
    return file_step(file, actual.files.get(file.path, ABSENT))


def _first_upgrade(machine: Machine, actual: MachineFacts) -> Steps:
    if machine.bootstrap.upgrade and FIRST_UPGRADE not in actual.files:
        yield Step(
            "upgrade",
            "packages",
            (Call("upgrade_packages"), Call("once", ("first-upgrade",))),
            "all of them, once for all",
            mapping_diff({"done": False}, {"done": True}, "first upgrade"),
        )


def _packages(machine: Machine, actual: MachineFacts) -> Steps:
    for package in machine.bootstrap.packages:
        if package not in actual.packages:
            yield Step(
                "install",
                f"package {package}",
                (Call("install_packages", (package,)),),
                diff=mapping_diff({}, {package: "present"}, "packages"),
            )


def _root(machine: Machine, actual: MachineFacts) -> Steps:
    held = actual.files.get(ROOT_KEYS, ABSENT)
    lines = held.text.splitlines()
    why = f"mode {held.mode}" if held.kind == "file" and held.mode != "0600" else ""
    keys = machine.bootstrap.authorized_keys
    ours = bool(keys) and not is_foreign(ROOT_KEYS, machine)
    step = keys_step("root", keys, lines, why=why, undeclared=machine.let_in) if ours else None
    if step:
        yield step
    if not actual.files.get(HUSHLOGIN, ABSENT).kind and is_ours(HUSHLOGIN, machine):
        yield Step(
            "create",
            f"file {HUSHLOGIN}",
            (Call("put_file", (HUSHLOGIN, "root", "root", "0644"), b""),),
            diff=mapping_diff({}, {HUSHLOGIN: "present"}, "login banner"),
        )


def _not_let_in(machine: Machine, actual: MachineFacts) -> Iterator[str]:
    """Who cannot log in as root because others see to its keys."""
    if not is_foreign(ROOT_KEYS, machine):
        return
    lines = actual.files.get(ROOT_KEYS, ABSENT).text.splitlines()
    yield from not_let_in(ROOT_KEYS, machine.bootstrap.authorized_keys, lines)
    by_root = machine.ssh.hostname and machine.ssh.username == "root"
    if by_root and actual.over != "ssh" and not any(map(key_of, lines)):
        yield f"{ROOT_KEYS} is foreign and has no key yet, without which nobody can log in"


def _sshd(actual: MachineFacts) -> Steps:
    """Installed it starts by itself; here it is about one that somebody stopped, or that has no
    host keys of its own yet."""
    states = [actual.units[unit].active for unit in SSH_UNITS if unit in actual.units]
    installed = actual.host_key or "openssh-server" in actual.packages
    if actual.over and installed and ("active" not in states or not actual.host_key):
        yield Step(
            "start",
            "service ssh",
            (Call("start_ssh"),),
            diff=mapping_diff({"running": False}, {"running": True}, "service ssh"),
        )


def _notes(static: Sequence[Attachment], actual: MachineFacts, *, ours: bool) -> Iterator[str]:
    if actual.cloud_init == "error":
        yield f"cloud-init ended with errors: {actual.cloud_init_errors}"
    if actual.over and not ours:
        for attachment in static:
            for address in _missing(attachment, actual):
                yield f"cloud-init did not set {address} on {attachment.interface}"
