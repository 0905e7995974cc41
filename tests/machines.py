"""Containers of these tests' own on a lab host, and a fleet made of them without an inventory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from nornir.core import Nornir
from nornir.core.configuration import Config
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.state import GlobalState
from nornir.plugins.runners import SerialRunner

from tasks.actual import FileFacts, MachineFacts
from tasks.intent.model import (
    Attachment,
    Bootstrap,
    Container,
    Image,
    Intent,
    LxdHost,
    Ssh,
)
from tasks.outcome import Record
from tasks.run import RUN_KEY, Run, run_of
from tasks.ssh.connection import ShellConnection
from tasks.state import StateFolder
from tests.inside import exec_inside
from tests.lab import (
    CLIENT_KEY,
    GATEWAY,
    HOST_ADDRESSES,
    Lab,
    client_public_key,
    host_key,
    image,
    make_keys,
)

HOST = "sidn-demo-02"

# Where nothing has made the bridge and the pool yet, these tests do, until the next boot.
PREPARE = """
set -eu
export LXD_CONF=/run/mach-lxc
mkdir -p "$LXD_CONF"
if [ ! -e /sys/class/net/br-demo ]; then
    mkdir -p /run/netplan
    echo 'network: {version: 2}' >/run/netplan/00-installer-config.yaml
    cat >/run/netplan/60-mach.yaml <<'END'
network:
  version: 2
  ethernets: {enp1s0: {accept-ra: false}}
  bridges:
    br-demo:
      interfaces: [enp1s0]
      addresses: [ADDRESS/24]
      accept-ra: false
      parameters: {stp: false}
      routes: [{to: 0.0.0.0/0, via: 192.168.56.1}]
END
    chmod 600 /run/netplan/*.yaml
    netplan apply
fi
lxc storage show default >/dev/null 2>&1 || lxc storage create default dir
"""
LXC = "export LXD_CONF=/run/mach-lxc; mkdir -p $LXD_CONF; "


@dataclass
class LabContainer:
    """One container on a lab host, made and removed with ``lxc``."""

    lab: Lab
    name: str
    host: str = HOST

    def lxc(self, command: str, *, timeout: float = 60, check: bool = True) -> str:
        done = self.lab.exec(self.host, LXC + "lxc " + command, timeout=timeout)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def launch(self, image_name: str = "minimal", *config: str) -> None:
        settings = " ".join(f"-c {item}" for item in config)
        self.lxc(f"init {_fingerprint(image_name)} {self.name} -s default --no-profiles {settings}")
        nic = "if-demo nic name=if-demo nictype=bridged parent=br-demo"
        self.lxc(f"config device add {self.name} {nic}")
        self.lxc(f"start {self.name}")

    def remove(self) -> None:
        self.lxc(f"delete -f {self.name}", check=False)

    def inside(self, script: str, *, timeout: float = 60) -> str:
        command = ["env", "LXD_CONF=/run/mach-lxc", *exec_inside(self.name, script)]
        done = self.lab.exec(self.host, command, timeout=timeout)
        assert done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout


def _fingerprint(name: str) -> str:
    digest = hashlib.sha256()
    for part in image(name):
        digest.update(part.read_bytes())
    return digest.hexdigest()


def prepare(lab: Lab, host: str = HOST) -> None:
    """A bridge, a pool and both images on a lab host."""
    address = HOST_ADDRESSES[host]
    done = lab.exec(host, PREPARE.replace("ADDRESS", address), timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("minimal", "cloud-init"):
        seen = lab.exec(host, LXC + f"lxc image info {_fingerprint(name)}", timeout=30)
        if seen.returncode == 0:
            continue
        for part in image(name):
            lab.exec(host, f"cat >/run/mach-{part.name}", input=part.read_bytes(), timeout=60)
        files = " ".join(f"/run/mach-{part.name}" for part in image(name))
        done = lab.exec(host, LXC + f"lxc image import {files}; rm {files}", timeout=60)
        assert done.returncode == 0, done.stderr


@contextmanager
def lab_container(lab: Lab, name: str) -> Iterator[LabContainer]:
    """A container's name, free before and after."""
    prepare(lab)
    container = LabContainer(lab, name)
    container.remove()
    try:
        yield container
    finally:
        container.remove()


def container_of(name: str, address: str, **values: Any) -> Container:
    """The intent of a container in the lab's network."""
    attachment = Attachment(
        "demo",
        address=ip_interface(f"{address}/24"),
        gateway=ip_address(GATEWAY),
        nameservers=(ip_address(GATEWAY),),
    )
    if "bootstrap" not in values:
        make_keys(HOST)
        key = client_public_key().read_text().strip()
        values["bootstrap"] = Bootstrap(authorized_keys=(key,))
    wanted = Container(
        name=name,
        ssh=Ssh(address, key_file=CLIENT_KEY),
        attachments={"demo": attachment},
        networks=("demo",),
        on=HOST,
        image="minimal",
    )
    return replace(wanted, **values)


def host_of(name: str = HOST, **values: Any) -> LxdHost:
    """The intent of a lab host."""
    attachment = Attachment(
        "demo", address=ip_interface(f"{HOST_ADDRESSES[name]}/24"), gateway=ip_address(GATEWAY)
    )
    make_keys(name)
    key = host_key(name).with_suffix(".pub").read_text().strip()
    wanted = LxdHost(
        name=name,
        ssh=Ssh(HOST_ADDRESSES[name], key_file=CLIENT_KEY, host_key=key),
        attachments={"demo": attachment},
    )
    return replace(wanted, **values)


IMAGES = {
    "minimal": Image("minimal"),
    "cloud-init": Image("cloud-init", network_config="cloud-init.network-config"),
}


def fleet_of(state: Path, *machines: Container | LxdHost, dry_run: bool = False) -> Nornir:
    """A Nornir over these machines and the lab host that carries them, as one run."""
    hosts = {m.name: m for m in machines if isinstance(m, LxdHost)} or {HOST: host_of()}
    intent = Intent(
        folder=Path("machines"),
        lxd_hosts=hosts,
        containers={m.name: m for m in machines if isinstance(m, Container)},
        machines={},
        bridges={},
        profiles={},
        images=IMAGES,
    )
    if "shell" not in ConnectionPluginRegister.available:
        ConnectionPluginRegister.register("shell", ShellConnection)
    defaults = Defaults()
    members = Hosts()
    for name in intent.names():
        ssh = intent.machine(name).ssh
        members[name] = Host(
            name, hostname=ssh.hostname, port=ssh.port, username="root", defaults=defaults
        )
    defaults.data[RUN_KEY] = Run(
        intent,
        StateFolder(state),
        hosts=members,
        selected=frozenset(members),
        dry_run=dry_run,
    )
    return Nornir(
        inventory=Inventory(hosts=members, groups=Groups(), defaults=defaults),
        runner=SerialRunner(),
        data=GlobalState(dry_run=dry_run),
        config=Config(),
    )


def run_on(nr: Nornir, name: str, task: Any, **arguments: Any) -> Record:
    """A task's record on one machine; each is a run of its own as far as reading goes."""
    result = nr.filter(name=name).run(task=task, **arguments)
    nr.data.reset_failed_hosts()
    first = result[name][0]
    assert first.exception is None, first.result
    assert isinstance(first.result, dict)
    return first.result


def execs(nr: Nornir, name: str) -> int:
    """The execs that a machine cost so far."""
    run = run_of(nr.inventory.hosts[name])
    return run.exchanges.get(name, {"execs": 0})["execs"]


def file_facts(content: str, **values: Any) -> FileFacts:
    """A root's file with this content, as read."""
    facts = FileFacts("file", "root", "root", "0644", content.encode())
    return replace(facts, **values)


def facts_of_yaml(name: str, data: dict[str, Any]) -> MachineFacts:
    """Facts from a table: files as their content or as a mapping, addresses as text."""
    data = dict(data)
    files = {
        path: file_facts(**value) if isinstance(value, dict) else file_facts(value)
        for path, value in data.pop("files", {}).items()
    }
    addresses = {
        link: tuple(ip_interface(text) for text in texts)
        for link, texts in data.pop("addresses", {}).items()
    }
    leaving = tuple((link, ip_interface(text)) for link, text in data.pop("leaving", ()))
    return MachineFacts(name, files=files, addresses=addresses, leaving=leaving, **data)
