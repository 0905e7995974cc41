"""Names, addresses and paths of the virtual machine: everything that others may rely on."""

from __future__ import annotations

from tests.lab.places import CACHE, PREFIX, RUN, host_key

NAME = "voice-vm"
ADDRESS = "192.168.57.10"
GATEWAY = "192.168.57.1"
"""This machine's own address, on the bridge that the virtual machine's first NIC is in."""

PREFIX_LENGTH = 24
BRIDGE = f"{PREFIX}vm"

MACS = {f"eno{n}": f"52:54:00:39:00:{n:02x}" for n in (1, 2, 3)}
"""The NICs, by the names they have inside; the first is for management."""

TAPS = {nic: f"{BRIDGE}-{nic}" for nic in MACS}
"""NIC name inside -> its other end on this machine, where its frames can be seen."""

PART = "vm"
"""The cgroup of the virtual machine, one of the lab's."""

IMAGES = CACHE / "vm"
FOLDER = RUN / "vm"
"""Everything of it that exists only while it is up."""

CONSOLE = CACHE / "logs" / "vm-console.log"
HOST_KEY = host_key(NAME)
INSTALLER = "/etc/netplan/00-installer-config.yaml"
