"""Watch the frames that a machine sends, on this machine's end of its cable."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType

_ALL = 0x0003
_ARP = 0x0806
_VLAN = 0x8100
_VLAN_ID = 0x0FFF

# linux/if_packet.h, which Python's socket module does not have all of.
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_AUXDATA = struct.Struct("=IIIHHHH")
_STATUS_VLAN_VALID = 0x10


@dataclass(frozen=True)
class Frame:
    """An Ethernet frame, with its vlan tag, if it had one, beside it."""

    source: str
    kind: int
    """The type of its payload, 0x0806 for ARP."""
    payload: bytes
    vlan: int | None = None

    def asks_for(self, address: str) -> bool:
        """Whether it is an ARP request for an IPv4 address."""
        target = IPv4Address(address).packed
        request = self.payload[6:8] == b"\0\1"
        return self.kind == _ARP and request and self.payload[24:28] == target


class Watch:
    """The frames that come out of a link from now on, until the end of the ``with``."""

    def __init__(self, link: str) -> None:
        # With protocol 0 nothing is received before it is bound: no other link's frames.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        # The kernel takes the tag out of the frame and hands it over beside it.
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.bind((link, _ALL))

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def until(self, wanted: Callable[[Frame], bool], seconds: float = 5) -> Frame:
        """The first frame that is wanted.

        Raises:
            TimeoutError: none came within that many seconds; the message has those that did
        """
        deadline = time.monotonic() + seconds
        others: list[Frame] = []
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame = self._receive()
            except TimeoutError:
                break
            if frame is None:
                continue
            if wanted(frame):
                return frame
            others.append(frame)
        raise TimeoutError(f"no such frame after {seconds:g} s, but {others or 'none at all'}")

    def _receive(self) -> Frame | None:
        """The next frame; None for one that this machine sent."""
        data, beside, _, sender = self._socket.recvmsg(65536, socket.CMSG_SPACE(_AUXDATA.size))
        if sender[2] == socket.PACKET_OUTGOING:
            return None
        vlan: int | None = None
        for level, kind, content in beside:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, *_, tag, _ = _AUXDATA.unpack(content[: _AUXDATA.size])
                if status & _STATUS_VLAN_VALID:
                    vlan = tag & _VLAN_ID
        kind, rest = int.from_bytes(data[12:14], "big"), data[14:]
        if kind == _VLAN and vlan is None:
            vlan = int.from_bytes(rest[:2], "big") & _VLAN_ID
            kind, rest = int.from_bytes(rest[2:4], "big"), rest[4:]
        return Frame(data[6:12].hex(":"), kind, rest, vlan)
