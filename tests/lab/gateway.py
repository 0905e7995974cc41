"""192.168.56.1: the way out of the lab, and its DNS."""

from __future__ import annotations

import socket
import subprocess
import time

from tests.lab import links, needs, processes, settings
from tests.lab.command import SANE, run
from tests.lab.errors import LabError
from tests.lab.places import GATEWAY, HOST_ADDRESSES, NFT_TABLE, RUN, SUBNET

PART = "gateway"
_RECORD = RUN / "dnsmasq.json"

# Frames between two hosts pass here too where bridges call the firewall: those stay as they are.
_RULES = f"""
table ip {NFT_TABLE}
delete table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {SUBNET} ip daddr != {SUBNET} masquerade
    }}
}}
"""


def up() -> None:
    """Bring the bridges, the way out and DNS up, as far as they are not.

    Raises:
        LabError: a step failed, or something else answers DNS on the gateway's address
    """
    links.make_bridges()
    settings.hold("lab")
    _nft(_RULES)
    if processes.read(_RECORD) is None:
        process = processes.start(_dnsmasq(), part=PART, log=RUN / "dnsmasq.log")
        processes.write(_RECORD, process)
        _wait_for_dns(process)


def down() -> None:
    """Remove the rules, the links and put the settings back; the processes are dead by now."""
    links.remove_all()
    if needs.has("nft") and NFT_TABLE in run(["nft", "list", "tables"], check=False):
        run(["nft", "delete", "table", "ip", NFT_TABLE])
    settings.let_go("lab")


def _dnsmasq() -> list[str]:
    # The short names alone would do for containers; resolved asks for names with a dot only.
    names = [f"--host-record={name},{name}.lab,{ip}" for name, ip in HOST_ADDRESSES.items()]
    return [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file",
        "--user=root",
        f"--listen-address={GATEWAY}",
        "--except-interface=lo",
        "--bind-interfaces",
        "--domain-needed",
        *names,
    ]


def _wait_for_dns(process: processes.Process) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not process.is_alive():
            break
        try:
            socket.create_connection((GATEWAY, 53), timeout=1).close()
        except OSError:
            time.sleep(0.02)
            continue
        return
    log = (RUN / "dnsmasq.log").read_text(errors="replace")[-1000:]
    raise LabError(f"dnsmasq does not answer on {GATEWAY}: {log}")


def _nft(rules: str) -> None:
    done = subprocess.run(
        ["nft", "-f", "-"],
        input=rules,
        capture_output=True,
        text=True,
        timeout=10,
        env=SANE,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"nft refuses the lab's rules: {done.stderr.strip()}")
