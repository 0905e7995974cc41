"""The JSON document that ``onhost/read_host.sh`` prints, parsed into typed facts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from tasks.actual import ClientFolder, HostFacts, Json, Link, LiveRoute, LxdFacts
from tasks.certificate import fingerprint_of
from tasks.errors import FleetError
from tasks.intent.model import Interface


def parse_facts(name: str, document: bytes) -> HostFacts:
    """What ``onhost/read_host.sh`` printed, as facts.

    Raises :class:`FleetError` where it is not that script's whole document.
    """
    try:
        read = json.loads(document)
        os_release = _assignments(_text(read["os_release"]))
        return HostFacts(
            name=name,
            root=read["root"],
            systemd=read["systemd"],
            free=_free(_text(read["disks"])),
            created=frozenset(_text(read["created"]).splitlines()),
            os_id=os_release.get("ID", ""),
            os_version=os_release.get("VERSION_ID", ""),
            netplan_version=_installed_version(_text(read["netplan_package"])),
            netplan={_text(f["path"]): _text(f["text"]) for f in read["netplan"]},
            links={link.name: link for link in _links(read["links"] or ())},
            routes=tuple(_routes(_text(read["routes"]))),
            network_pending=read["network_pending"],
            clients={c["user"]: _client_folder(c) for c in read["clients"]},
            kernel={key: " ".join(_text(value).split()) for key, value in read["kernel"].items()},
            kernel_file=_sysctl(_text(read["kernel_file"])),
            lxd=_lxd(read["lxd"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetError(
            f"the read of the host did not give what it should ({type(error).__name__}: {error})",
            where=name,
            remedy="run again; if it stays, look at what a login shell prints on that host",
        ) from error


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


def _assignments(text: str) -> dict[str, str]:
    """The lines ``KEY=value`` of os-release, unquoted (os-release(5))."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}


def _sysctl(text: str) -> dict[str, str]:
    """The lines ``key = value`` of our file in /etc/sysctl.d (sysctl.d(5))."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _channel(text: str) -> str:
    """The channel that the snap follows, out of ``snap list lxd``: its column Tracking, where an
    older snapd leaves out the track, the risk, or (with an ellipsis) a branch."""
    lines = [line.split() for line in text.splitlines()]
    if len(lines) != 2 or "Tracking" not in lines[0]:
        return ""
    tracked = lines[1][lines[0].index("Tracking")].split("/")
    if len(tracked) == 1:
        risk = tracked[0] in ("stable", "candidate", "beta", "edge")
        tracked = ["latest", *tracked] if risk else [*tracked, "stable"]
    return "/".join(tracked[:2])


def _installed_version(text: str) -> str:
    """The version out of dpkg-query's ``STATUS VERSION``; empty where it is not installed."""
    status, _, version = text.strip().partition(" ")
    return version if status == "installed" else ""


def _free(text: str) -> dict[str, int]:
    """Bytes free by mount point, out of ``df -Pk``."""
    lines = (line.split(maxsplit=5) for line in text.splitlines()[1:])
    return {fields[5]: int(fields[3]) * 1024 for fields in lines if len(fields) == 6}


def _links(entries: Iterable[Mapping[str, Any]]) -> Iterable[Link]:
    """Links out of ``ip -j -d addr``; link-local addresses come by themselves and are left out."""
    for entry in entries:
        if not entry.get("ifname"):
            continue
        info = entry.get("linkinfo") or {}
        kind = info.get("info_kind", "")
        yield Link(
            name=entry["ifname"],
            kind=kind,
            mac=entry.get("address", ""),
            mtu=entry.get("mtu", 1500),
            master=entry.get("master"),
            up="UP" in entry.get("flags", ()),
            addresses=tuple(_addresses(entry.get("addr_info", ()))),
            vlan_id=info["info_data"]["id"] if kind == "vlan" else None,
            vlan_link=entry.get("link") if kind == "vlan" else None,
            **(_bridge_settings(info["info_data"]) if kind == "bridge" else {}),
        )


def _bridge_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """The kernel's own unit of time is 1/100 s; where another bridge is the root of the tree it
    shows that one's delay, and a bridge's own is not known (IEEE 802.1D, 8.5.3)."""
    is_root = data.get("root_id") == data.get("bridge_id")
    delay = data["forward_delay"] / 100 if is_root else None
    return {"stp": bool(data["stp_state"]), "forward_delay": delay}


def _addresses(entries: Iterable[Mapping[str, Any]]) -> Iterable[Interface]:
    for entry in entries:
        if "local" in entry:
            address = ip_interface(f"{entry['local']}/{entry['prefixlen']}")
            if not (address.version == 6 and address.ip.is_link_local):
                yield address


_ROUTE = re.compile(r"(\S+) via (?:inet6 )?(\S+) dev (\S+)(?:.* metric (\d+))?")


def _routes(text: str) -> Iterable[LiveRoute]:
    """The routes via a neighbour out of ``ip route`` and ``ip -6 route``."""
    for found in filter(None, map(_ROUTE.match, text.splitlines())):
        via = ip_address(found[2])
        to = found[1].replace("default", "::/0" if via.version == 6 else "0.0.0.0/0")
        yield LiveRoute(ip_network(to), via, found[3], int(found[4]) if found[4] else None)


def _client_folder(entry: Mapping[str, Any]) -> ClientFolder:
    return ClientFolder(
        user=entry["user"],
        path=_text(entry["path"]),
        config=_text(entry["config"]),
        certificate=_certificate(_text(entry["certificate"])),
        next_certificate=_certificate(_text(entry["next"])),
        server_certificates={
            _text(f["file"]).removesuffix(".crt"): _text(f["text"]) for f in entry["servercerts"]
        },
    )


def _certificate(text: str) -> str | None:
    """A client's certificate; what is none is as good as none, and made anew."""
    try:
        fingerprint_of(text)
    except ValueError:
        return None
    return text


def _lxd(read: Mapping[str, Any]) -> LxdFacts:
    """LXD's own objects; installed but never started is no problem, not answering is one."""
    installed: dict[str, Any] = {
        "package": read["package"] or None,
        "deb": _installed_version(_text(read["deb"])),
        "move": read["move"],
        "mounted": read["mounted"],
        "channel": _channel(_text(read["snap"])),
        "refresh": _text(read["refresh"]).strip(),
    }
    certificate = _text(read["certificate"]) or None
    answers = read["answers"]
    failed = [(name, a) for name, a in answers.items() if a["status"] != 0]
    if not read["started"] or failed:
        problem = _problem(*failed[0]) if failed else ""
        return LxdFacts(**installed, problem=problem, certificate=certificate)

    def listed(name: str, key: str) -> dict[str, Json]:
        return {item[key]: item for item in answers[name]["body"]["metadata"] or ()}

    def in_default_project(instance: Json) -> bool:  # an older LXD knows and tells of no other
        return bool(instance.get("project", "default") == "default")

    instances = answers["instances"]["body"]["metadata"] or ()
    return LxdFacts(
        **installed,
        running=True,
        certificate=certificate,
        server=answers["server"]["body"]["metadata"],
        certificates=tuple(answers["certificates"]["body"]["metadata"] or ()),
        pools=listed("pools", "name"),
        profiles=listed("profiles", "name"),
        images=listed("images", "fingerprint"),
        instances={i["name"]: i for i in instances if in_default_project(i)},
        other_instances=tuple(i for i in instances if not in_default_project(i)),
    )


def _problem(name: str, answer: Mapping[str, Any]) -> str:
    """Why LXD does not answer, in one line. ``timeout`` ends with 124, or 137 when it killed."""
    if answer["status"] in (124, 137):
        return f"no answer to {name} within 8 s"
    said = _text(answer["said"]).strip().splitlines()
    return said[-1].removeprefix("Error: ") if said else f"exit status {answer['status']}"
