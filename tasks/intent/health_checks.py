"""The health checks of a machine: what its inventory declares under ``health``, typed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding

from tasks.intent.health import (
    ClockCheck,
    CommandCheck,
    DiskCheck,
    HealthCheck,
    HttpCheck,
    MemoryCheck,
    PortCheck,
    ServiceCheck,
    SipCheck,
)
from tasks.intent.health_schema import certificates
from tasks.intent.merge import Layers
from tasks.intent.model import Attachment
from tasks.intent.scope import Scope
from tasks.intent.secret import Secret
from tasks.mistakes import Place


def health_of(
    name: str, host: Layers, attached: Mapping[str, Attachment], scope: Scope
) -> tuple[HealthCheck, ...]:
    """A machine's health checks; ``attached`` has the addresses that it has, by network."""
    if scope.mistakes.within(host.place("health")):
        return ()
    return tuple(_Reader(name, host, attached, scope).checks())


class _Reader:
    """One machine's list of checks."""

    def __init__(
        self, name: str, host: Layers, attached: Mapping[str, Attachment], scope: Scope
    ) -> None:
        self.name = name
        self.host = host
        self.attached = attached
        self.scope = scope
        self.kinds: Mapping[str, Callable[[Any, Place], HealthCheck | None]] = {
            "service": lambda name, _: ServiceCheck(name),
            "port": lambda number, _: PortCheck(number),
            "disk": lambda value, _: _of(DiskCheck, "percent", value),
            "command": lambda value, _: _of(CommandCheck, "run", value),
            "memory": lambda percent, _: MemoryCheck(percent),
            "clock": lambda seconds, _: ClockCheck(seconds),
            "http": self._http,
            "sip": self._sip,
        }

    def checks(self) -> Iterator[HealthCheck]:
        for number, written in enumerate(self.host.data.get("health", [])):
            for kind, value in written.items():
                check = self.kinds[kind](value, self.host.place("health", number, kind))
                if check is not None:
                    yield check

    def _http(self, written: Mapping[str, Any], place: Place) -> HttpCheck | None:
        ca: str | Secret | None = written.get("ca")
        if ca is not None and urlsplit(written["url"]).scheme != "https":
            self.scope.mistakes.add(
                place.at("ca"), "a page without TLS has no certificate", "write https://, or no ca"
            )
        if isinstance(ca, Secret):
            ca = self._certificates(ca, place.at("ca"))
            if ca is None:
                return None
        elif ca is not None:
            ca = _plain(ca)
        return HttpCheck(written["url"], _several(written.get("status", 200)), ca)

    def _certificates(self, reference: Secret, place: Place) -> str | None:
        path = self.scope.path(reference.source)
        try:
            return _plain(path.read_text())
        except OSError as error:
            why, remedy = f"the file {path} cannot be read ({error.strerror})", "mend the path"
        except ValueError:  # bytes that are no text among them
            why, remedy = f"{path} does not hold certificates", "name a file in PEM form"
        self.scope.mistakes.add(place, why, remedy)
        return None

    def _sip(self, written: Mapping[str, Any], place: Place) -> SipCheck | None:
        address = written.get("address") or self._address_on(written.get("network"), place)
        transport = written.get("transport", "udp")
        if address is None:
            return None
        if "address" in written and "network" in written:
            self.scope.mistakes.add(place, "has an address and a network", "write one of the two")
        if transport == "udp" and ip_address(address).is_loopback:
            self.scope.mistakes.add(
                place.at("address"),
                f"{address} over UDP would be asked of the controller itself",
                "write transport: tcp, which goes through the machine's SSH, or another address",
            )
        return SipCheck(
            address, written.get("port", 5060), transport, _several(written.get("status", []))
        )

    def _address_on(self, written: str | None, place: Place) -> str | None:
        """The machine's first address on a network, by default on its management network."""
        network = written or self.host.data.get("management")
        if written and not self.scope.bridge(written, place.at("network")):
            return None
        attachment = self.attached.get(network or "")
        if attachment and attachment.address:
            return str(attachment.address.ip)
        if not self.scope.mistakes.within(self.host.layers[-1].place.at("data", "addresses")):
            self.scope.mistakes.add(
                place,
                f"there is no address on {network or 'a management network'}",
                "write address: ..., or network: ..., one that it has an address on",
                host=self.name,
            )
        return None


def _of(check: Callable[..., HealthCheck], alone: str, value: Any) -> HealthCheck:
    """A check with the value of one field alone, or with a mapping of its fields."""
    return check(**(value if isinstance(value, dict) else {alone: value}))


def _several(value: int | list[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _plain(ca: str) -> str:
    """The certificates alone: a comment among them that is not ASCII is none to :mod:`ssl`."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates(ca))
