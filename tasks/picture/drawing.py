"""A drawing of the fleet: hosts side by side, their bridges, and what is plugged into them.

The networks run across the top. A host's bridges are upright bars, each under the NIC that ties it
to its network; a container lies to the right of them, a line from each of its interfaces to the
bridge it is plugged into. Where a host was read, what is missing there is dashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.actual import HostFacts
from tasks.intent.model import Bridge, Intent, LxdHost, Machine
from tasks.picture.canvas import Canvas, width_of
from tasks.picture.content import LINE, Box, bar_label, boxes_on, networks_in_order, told_of

MARGIN = 20.0
GAP = 40.0  # between machines
ROW = 34.0  # from one network's line to the next
BAR = 20.0
GAP_BETWEEN = 10.0  # between containers
LEAD = 30.0  # from a NIC down to its bridges
FOOT = 44.0  # a host's name below its bars
SMALL = 10.0
FAINT = "#666666"
#: Fill and stroke for the networks, in turn.
COLOURS = (
    ("#d6e8fa", "#2f6ea8"),
    ("#fde3cf", "#b8621b"),
    ("#dcf2d8", "#3c8a32"),
    ("#eadcf5", "#7a48a6"),
    ("#fbf2c4", "#8f7a12"),
    ("#d5f1f0", "#1f8281"),
    ("#fadadd", "#b03a48"),
)
#: A container's fill by its state; in any other state, or not read, it is white.
FILLS = {"running": "#eef9ec", "stopped": "#ececec", "missing": "#fdeeee"}


def fleet_picture(intent: Intent, facts: Mapping[str, HostFacts] | None = None) -> str:
    """The fleet as the text of an SVG file.

    Arguments:
        intent: the inventory, as ``run_of(nr).intent`` has it.
        facts: LXD hosts' facts by name, as ``run_of(nr).facts`` has them; a host without facts is
            drawn as the inventory intends it.
    """
    return _Drawing(intent, facts or {}).svg()


class _Drawing:
    """One drawing on its way: machine after machine, from left to right."""

    def __init__(self, intent: Intent, facts: Mapping[str, HostFacts]) -> None:
        self.intent = intent
        self.facts = facts
        self.canvas = Canvas()
        self.networks = networks_in_order(intent)
        self.colours = {n: COLOURS[i % len(COLOURS)] for i, n in enumerate(self.networks)}
        wires = [n for n in self.networks if self._leaves_its_host(n)]
        self.wires = {n: MARGIN + 44 + ROW * i for i, n in enumerate(wires)}
        self.top = MARGIN + 44 + ROW * len(wires) + 16
        self.ends: dict[str, float] = {}

    def svg(self) -> str:
        """Networks' labels, all machines, then the networks' lines up to the last one there."""
        self.canvas.label(MARGIN, MARGIN + 10, self.intent.name, size=16, bold=True)
        left = MARGIN + max((self._wire_label(n) for n in self.wires), default=0) + 16
        x = left
        for host in self.intent.lxd_hosts.values():
            x = self._host(host, x) + GAP
        for machine in self.intent.machines.values():
            x = self._machine(machine, x) + GAP
        for network, end in self.ends.items():
            y = self.wires[network]
            self.canvas.line((left - 10, y), (end, y), stroke=self.colours[network][1], width=3)
        return self.canvas.svg(f"Fleet {self.intent.name}")

    def _leaves_its_host(self, network: str) -> bool:
        bridges = [b for h in self.intent.lxd_hosts.values() for b in h.bridges]
        return any(b.network == network and b.nic for b in bridges)

    def _wire_label(self, network: str) -> float:
        """The network's name and subnet left of its line; returns their width."""
        bridges = (b for h in self.intent.lxd_hosts.values() for b in h.bridges)
        bridge = next(b for b in bridges if b.network == network)
        y = self.wires[network]
        gateway = f", gateway {bridge.gateway}" if bridge.gateway else ""
        subnet = f"{bridge.subnet or ''}{gateway}"
        self.canvas.label(MARGIN, y + 2, network, size=12, bold=True)
        self.canvas.label(MARGIN, y + 14, subnet, size=SMALL, fill=FAINT)
        return max(width_of(network, 12), width_of(subnet, SMALL))

    def _wire(self, network: str, x: float, y: float) -> None:
        """The line from a network down to a machine's port."""
        stroke = self.colours[network][1]
        self.canvas.line((x, self.wires[network]), (x, y), stroke=stroke)
        self.canvas.dot(x, self.wires[network], fill=stroke)
        self.ends[network] = x

    def _host(self, host: LxdHost, x: float) -> float:
        """An LXD host; returns its right edge."""
        facts = self.facts.get(host.name)
        bridges = self._from_left(host)
        pitch = _pitch([host.nics.get(b.nic, b.nic) for b in bridges if b.nic])
        columns = {b.network: x + 14 + pitch * (i + 0.5) for i, b in enumerate(bridges)}
        boxes = boxes_on(self.intent, host, facts)
        labels = {b.network: bar_label(host, b) for b in bridges}
        bars = self.top + LEAD
        length = max(
            sum(box.height + GAP_BETWEEN for box in boxes) + GAP_BETWEEN,
            *(width_of(label, 11) + 20 for label in labels.values()),
            60.0,
        )
        left = x + 14 + pitch * len(bridges) + 16
        told = told_of(host, facts, read=bool(self.facts))
        right = 14 + max(
            left + max((box.width for box in boxes), default=0),
            x + 14 + width_of(host.name, 14),
            x + 14 + width_of(told, SMALL),
        )
        self.canvas.box(
            x, self.top, right - x, LEAD + length + FOOT,
            fill="#fafafa", stroke="#888888", radius=8,
        )  # fmt: skip
        self.canvas.label(x + 14, bars + length + 22, host.name, size=14, bold=True)
        self.canvas.label(x + 14, bars + length + 36, told, size=SMALL, fill=FAINT)
        self._nics(host, bridges, columns, pitch, facts)
        y = bars + GAP_BETWEEN
        dots: list[tuple[float, float, str]] = []
        for box in boxes:
            dots += self._container(box, left, y, columns)
            y += box.height + GAP_BETWEEN
        for bridge in bridges:
            self.canvas.box(
                columns[bridge.network] - BAR / 2, bars, BAR, length,
                fill=self.colours[bridge.network][0], stroke=self.colours[bridge.network][1],
                dashed=facts is not None and bridge.name not in facts.links,
            )  # fmt: skip
            self.canvas.label(
                columns[bridge.network] + 4, bars + length / 2, labels[bridge.network],
                anchor="middle", upright=True,
            )  # fmt: skip
        for dot_x, dot_y, fill in dots:
            self.canvas.dot(dot_x, dot_y, fill=fill)
        return right

    def _from_left(self, host: LxdHost) -> list[Bridge]:
        """A host's bridges in the networks' order, those behind one NIC side by side."""
        place = {b: self.networks.index(b.network) for b in host.bridges}

        def key(bridge: Bridge) -> tuple[int, int]:
            beside = [b for b in host.bridges if bridge.nic and b.nic == bridge.nic] or [bridge]
            return min(place[b] for b in beside), place[bridge]

        return sorted(host.bridges, key=key)

    def _nics(
        self,
        host: LxdHost,
        bridges: Iterable[Bridge],
        columns: Mapping[str, float],
        pitch: float,
        facts: HostFacts | None,
    ) -> None:
        """The host's NICs on its upper edge, each over the bridges behind it."""
        behind: dict[str, list[Bridge]] = {}
        for bridge in bridges:
            if bridge.nic:
                behind.setdefault(bridge.nic, []).append(bridge)
        for nic, carried in behind.items():
            for bridge in carried:
                at, stroke = columns[bridge.network], self.colours[bridge.network][1]
                self._wire(bridge.network, at, self.top)
                self.canvas.line((at, self.top), (at, self.top + LEAD), stroke=stroke)
                if bridge.vlan is not None:
                    tag = f"vlan {bridge.vlan}"
                    self.canvas.label(at + 4, self.top + LEAD - 6, tag, size=SMALL, fill=FAINT)
            name = host.nics.get(nic, nic)
            gone = facts is not None and name not in facts.links
            first, last = columns[carried[0].network], columns[carried[-1].network]
            self._port(first, last, pitch, name, gone)

    def _port(self, first: float, last: float, pitch: float, name: str, gone: bool = False) -> None:
        """A NIC's box on a machine's upper edge, over the columns from first to last."""
        width = last - first + pitch - 6
        self.canvas.box(
            (first + last - width) / 2, self.top - 9, width, 18,
            fill="#ffffff", stroke="#b03a48" if gone else "#555555", dashed=gone,
        )  # fmt: skip
        self.canvas.label((first + last) / 2, self.top + 4, name, size=SMALL, anchor="middle")

    def _container(
        self, box: Box, x: float, y: float, columns: Mapping[str, float]
    ) -> list[tuple[float, float, str]]:
        """A container with its lines; returns where the lines are plugged into bars."""
        dots = []
        for number, plug in enumerate(box.plugs, len(box.lines)):
            at = y + 6 + LINE * (number + 0.5)
            if plug.network in columns:
                stroke = self.colours[plug.network][1]
                edge = columns[plug.network] + BAR / 2
                self.canvas.line((edge, at), (x, at), stroke=stroke)
                dots.append((edge, at, stroke))
        odd = box.state == "missing" or not box.declared
        self.canvas.box(
            x, y, box.width, box.height, fill=FILLS.get(box.state, "#ffffff"),
            stroke="#b03a48" if box.state == "missing" else "#777777", dashed=odd,
        )  # fmt: skip
        for number, text in enumerate([*box.lines, *(plug.label for plug in box.plugs)]):
            self.canvas.label(x + 12, y + 18 + LINE * number, text, bold=number == 0)
        return dots

    def _machine(self, machine: Machine, x: float) -> float:
        """A machine that is no LXD host, plugged into the networks; returns its right edge."""
        inside = [n for n in machine.attachments if n in self.wires]
        pitch = _pitch(inside)
        columns = {n: x + 14 + pitch * (i + 0.5) for i, n in enumerate(inside)}
        lines = [machine.name, machine.ssh.hostname]
        lines += [f"{n} {a.address or ''}".strip() for n, a in machine.attachments.items()]
        width = max(28 + pitch * len(inside), *(width_of(line, 12) + 28 for line in lines))
        self.canvas.box(
            x, self.top, width, LEAD + LINE * len(lines) + 8,
            fill="#fafafa", stroke="#888888", radius=8,
        )  # fmt: skip
        for network, at in columns.items():
            self._wire(network, at, self.top)
            self._port(at, at, pitch, network)
        for number, line in enumerate(lines):
            self.canvas.label(
                x + 14, self.top + LEAD + 8 + LINE * number, line,
                size=12 if number == 0 else 11, bold=number == 0,
            )  # fmt: skip
        return x + width


def _pitch(ports: Iterable[str]) -> float:
    """From one bridge to the next: room for the longest name of a port, and for a vlan's tag."""
    return max([60.0, *(width_of(port, SMALL) + 14 for port in ports)])
