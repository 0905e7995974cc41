"""What a machine lacks until it can be managed over SSH: pure, from one read of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tasks.actual import MachineFacts
from tasks.bootstrap.network import (
    addresses_in,
    network_files,
    network_paths,
    resolv_conf,
    tool_of,
)
from tasks.intent.model import Attachment, Container, Image, Interface, Machine
from tasks.intent.system import File
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, absent_step, file_step
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
    given = [path for path in actual.network_files if _is_left_to_us(path, container, actual)]
    kept = [path for path in given if path in network_paths(static)]
    ours = image.network_config is None or bool(kept) or _has_no_cloud_init(static, actual)
    leaving = _leaving(static, given, actual)
    departed = [path for path in given if path not in kept]
    without = {interface for path in departed for interface in _given_by(path, actual)}
    rest = [pair for pair in leaving if pair[0] not in without]
    steps = [_departed(path, leaving, actual) for path in departed]
    others = _of_others(container, static, actual) if ours else {}
    left_to_us = [a for a in static if a.interface not in others]
    if ours and left_to_us:
        steps += _network(left_to_us, actual, rest)
    elif rest:
        steps.append(_left_over(rest, actual))
    if steps and leaving:
        steps[0] = replace(steps[0], write=(_noted(leaving), *steps[0].write))
    steps += _resolver(container, static, actual, ours=ours)
    if actual.over:
        steps += plan_host_name(container, container.name, actual)
    steps += _first_upgrade(container, actual)
    steps += _packages(container, actual)
    steps += _root(container, actual)
    if container.ssh.hostname:
        steps += _sshd(actual)
    told = (
        f"{path} is declared (or foreign): its addresses are seen to there"
        for path in dict.fromkeys(others.values())
    )
    notes = (*told, *_notes(static, actual, ours=ours), *_not_let_in(container, actual))
    return Plan(tuple(steps), _reason(steps), notes)


#: Addresses of ours that their interface shall not have any longer.
Leaving = Sequence[tuple[str, Interface]]


def _is_left_to_us(path: str, container: Container, actual: MachineFacts) -> bool:
    """Whether a file that we wrote for its network is nobody else's by now."""
    return is_ours(path, container) and path not in actual.configured


def _of_others(
    container: Container, static: Sequence[Attachment], actual: MachineFacts
) -> Mapping[str, str]:
    """By interface the file that would give it its network, where others have it: a declared one
    that is not there yet is written only once there is a network."""
    return {
        attachment.interface: file.path
        for attachment in static
        for file in (
            network_files(actual.network_tool, [attachment]) if actual.network_tool else ()
        )
        if is_foreign(file.path, container)
        or (not is_ours(file.path, container) and actual.files.get(file.path, ABSENT).kind)
    }


def _leaving(
    static: Sequence[Attachment], given: Sequence[str], actual: MachineFacts
) -> list[tuple[str, Interface]]:
    """By the files of ours that there are, and what a run that did not come to its end noted."""
    wanted = {(a.interface, address) for a in static for address in a.addresses}
    by_files = (
        (interface, address)
        for path in given
        for interface, addresses in _given_by(path, actual).items()
        for address in addresses
        if address in actual.addresses.get(interface, ())
    )
    return [pair for pair in dict.fromkeys([*by_files, *actual.leaving]) if pair not in wanted]


def _given_by(path: str, actual: MachineFacts) -> Mapping[str, Sequence[Interface]]:
    return addresses_in(path, actual.files.get(path, ABSENT).text)


def _departed(path: str, leaving: Leaving, actual: MachineFacts) -> Step[Calls]:
    """A file of ours for interfaces that have no static address any more, or are not there."""
    interfaces = tuple(_given_by(path, actual))
    removed = absent_step(File(path), actual.files.get(path, ABSENT))
    return Step(
        "remove",
        f"network {', '.join(interfaces) or path}",
        (Call("remove_network", (tool_of(path), path, *interfaces)),),
        f"{path} is ours and no longer wanted"
        + _told_of([pair for pair in leaving if pair[0] in interfaces]),
        removed.diff if removed else "",
    )


def _left_over(leaving: Leaving, actual: MachineFacts) -> Step[Calls]:
    """What a run that did not come to its end has noted, and no file has any longer."""
    interfaces = _interfaces_of(leaving)
    return Step(
        "remove",
        f"network {', '.join(interfaces)}",
        (Call("reload_network", (actual.network_tool, *interfaces)),),
        f"an earlier run did not end{_told_of(leaving)}",
        _diff_of(leaving),
    )


def _noted(leaving: Leaving) -> Call:
    words = [word for interface, address in leaving for word in (interface, str(address))]
    return Call("leave_addresses", tuple(words))


def _interfaces_of(leaving: Leaving) -> tuple[str, ...]:
    return tuple(dict.fromkeys(interface for interface, _ in leaving))


def _told_of(leaving: Leaving) -> str:
    return "".join(f", {address} leaves {interface}" for interface, address in leaving)


def _diff_of(leaving: Leaving) -> str:
    return mapping_diff({link: str(address) for link, address in leaving}, {}, "network")


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


def _network(static: Sequence[Attachment], actual: MachineFacts, leaving: Leaving) -> Steps:
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
    if not written and not missing and not leaving:
        return
    awaited = (
        Call("await_address", (a.interface, str(address)))
        for a in static
        for address in a.addresses
    )
    yield Step(
        "update" if leaving or any(step.action == "update" for step in written) else "create",
        what,
        write=(
            *(call for step in written for call in step.write),
            *((Call("drop_addresses", _interfaces_of(leaving)),) if leaving else ()),
            Call("apply_network", (actual.network_tool, *interfaces)),
            *awaited,
            *((Call("see_them_gone", _interfaces_of(leaving)),) if leaving else ()),
        ),
        detail=f"by {actual.network_tool}"
        + "".join(f", {address} is not on {interface}" for interface, address in missing)
        + _told_of(leaving),
        diff="\n".join(step.diff for step in written) or _diff_of(leaving),
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
