"""The lab's hosts as a fleet for tests of LXD's objects, without the phases that come before.

The intent is put together in the test, and all names on the hosts begin with ``obj-``. What other
fleets have left on the first host counts as declared there, so that ``prune`` leaves it alone; of
images that holds for both hosts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nornir.core import Nornir
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.task import Result
from nornir.plugins.runners import ThreadedRunner

from tasks.intent.model import Container, Image, Intent, LxdHost, LxdServer, Profile, Ssh
from tasks.ownership import created_by_us, image_created_by_us, unmarked
from tasks.run import RUN_KEY, Run
from tasks.state import StateFolder
from tests.lab import CLIENT_KEY, HOST_ADDRESSES, Lab, host_key, image

HOSTS = ("sidn-demo-01", "sidn-demo-02")
FIRST, SECOND = HOSTS
PREFIX = "obj-"
POOL = "obj-pool"
TRUST_NAME = "obj-tests"
ROOT_DISK = {"root": {"type": "disk", "path": "/", "pool": POOL}}


@dataclass
class ObjectFleet:
    """Two lab hosts, a pool of our own on each, and an API that trusts us."""

    lab: Lab
    folder: Path
    listening: list[str] = field(default_factory=list)

    def set_up(self) -> None:
        """Make pools and trust, and remember what has to be taken back."""
        self.state = StateFolder(self.folder / "state")
        self.state.prepare()
        certificate = self.state.client_certificate(create=True)
        assert certificate is not None
        for host in HOSTS:
            if not self.shell(host, "lxc config get core.https_address").strip():
                self.shell(host, "lxc config set core.https_address :8443")
                self.listening.append(host)
            self.shell(
                host,
                f"cat >/run/obj.crt && lxc config trust add /run/obj.crt --name {TRUST_NAME}; "
                "status=$?; rm /run/obj.crt; exit $status",
                certificate.pem,
            )
            self.shell(host, f"lxc storage show {POOL} || lxc storage create {POOL} dir")
            self.state.write_pin(host, self.shell(host, "cat /var/lib/lxd/server.crt"))

    def take_down(self) -> None:
        """Take back what was set up, after the objects."""
        self.clean()
        for host in HOSTS:
            self.shell(host, f"lxc storage delete {POOL}")
            for certificate in self.query(host, "/1.0/certificates?recursion=1"):
                if certificate["name"] == TRUST_NAME:
                    self.shell(host, f"lxc config trust remove {certificate['fingerprint']}")
            if host in self.listening:
                self.shell(host, "lxc config unset core.https_address")

    def clean(self, *, images: bool = True) -> None:
        """Remove our objects from both hosts."""
        for host in HOSTS:
            for name in self.ours(host, "instances"):
                self.shell(host, f"lxc delete --force {name}")
            for name in self.ours(host, "profiles"):
                self.shell(host, f"lxc profile delete {name}")
            for document in self.query(host, "/1.0/images?recursion=1") if images else ():
                names = [alias["name"] for alias in document["aliases"]]
                left = not names and document["properties"].get("os", "").lower() == "obj"
                if left or any(name.startswith(PREFIX) for name in names):
                    self.shell(host, f"lxc image delete {document['fingerprint']}")

    def open(self, *objects: Profile | Image | Container, limit: Iterable[str] = ()) -> Fleet:
        """A fleet that declares these objects on both hosts, ``limit`` being what is selected."""
        return Fleet(self, objects, frozenset(limit))

    def shell(self, host: str, command: str, stdin: str = "") -> str:
        """What a shell command prints on a lab host; it must succeed."""
        done = self.lab.exec(host, ["sh", "-c", command], input=stdin.encode(), timeout=120)
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout

    def query(self, host: str, path: str) -> Any:
        """What LXD on a host answers to a GET, over its local socket."""
        return json.loads(self.shell(host, f"lxc query {shlex.quote(path)}"))

    def ours(self, host: str, kind: str) -> list[str]:
        """The names of our profiles or instances on a host."""
        documents = self.query(host, f"/1.0/{kind}?recursion=1")
        return [d["name"] for d in documents if d["name"].startswith(PREFIX)]


class Fleet:
    """One run over the two hosts with the objects that a test declares."""

    def __init__(
        self,
        objects: ObjectFleet,
        declared: tuple[Profile | Image | Container, ...],
        limit: frozenset[str],
    ) -> None:
        self.objects = objects
        profiles = {o.name: o for o in declared if isinstance(o, Profile)}
        images = {o.name: o for o in declared if isinstance(o, Image)}
        containers = {o.name: o for o in declared if isinstance(o, Container)}
        profiles_too = self._other_profiles()
        others = {host: self._other_images(host) for host in HOSTS}
        lxd_hosts = {
            FIRST: lxd_host(FIRST, {**profiles, **profiles_too}, {**images, **others[FIRST]}),
            SECOND: lxd_host(SECOND, profiles, {**images, **others[SECOND]}),
        }
        intent = Intent(
            folder=objects.folder / "obj",
            lxd_hosts=lxd_hosts,
            containers={**containers, **self._other_containers()},
            machines={},
            bridges={},
            profiles={**profiles, **profiles_too},
            images={**images, **others[FIRST], **others[SECOND]},
        )
        self.run = Run(intent, objects.state, selected=limit or frozenset((*HOSTS, *containers)))
        defaults = Defaults(data={RUN_KEY: self.run})
        hosts = Hosts({name: Host(name=name, defaults=defaults) for name in HOSTS})
        inside = {name: Host(name=name, defaults=defaults) for name in intent.containers}
        self.run.hosts = {**hosts, **inside}
        ConnectionPluginRegister.auto_register()
        everything = Hosts(self.run.hosts)
        self.nr = Nornir(Inventory(everything, Groups(), defaults), runner=ThreadedRunner(4))

    def do(self, task: Any, host: str = FIRST, **options: Any) -> Result:
        """Run one of our tasks on a host; its Result."""
        self.nr.data.reset_failed_hosts()
        return self.nr.filter(name=host).run(task=task, **options)[host][0]

    def forget(self) -> None:
        """Forget what was read of the hosts, as a new run does."""
        self.run.facts.clear()

    def requests(self, host: str = FIRST) -> int:
        """API requests made so far to a host."""
        return self.run.exchanges.get(host, {}).get("requests", 0)

    def close(self) -> None:
        """Close the connections."""
        for host in self.nr.inventory.hosts.values():
            host.close_connections()

    def declare(self, **fields: Any) -> None:
        """Replace fields of the intent: what the inventory says from now on."""
        self.run.intent = replace(self.run.intent, **fields)

    def _other_profiles(self) -> dict[str, Profile]:
        """Profiles of other fleets on the first host, exactly as they are."""
        return {
            p["name"]: Profile(p["name"], p["description"], unmarked(p["config"]), p["devices"])
            for p in self.objects.query(FIRST, "/1.0/profiles?recursion=1")
            if created_by_us(p) and not p["name"].startswith(PREFIX)
        }

    def _other_images(self, host: str) -> dict[str, Image]:
        """Images of other fleets on a host, by an alias of theirs."""
        aliases = (
            [alias["name"] for alias in document["aliases"]]
            for document in self.objects.query(host, "/1.0/images?recursion=1")
            if image_created_by_us(document, host)
        )
        return {
            names[0]: Image(names[0], server="https://images.example.net")
            for names in aliases
            if names and not any(name.startswith(PREFIX) for name in names)
        }

    def _other_containers(self) -> dict[str, Container]:
        """Containers of other fleets, each declared where it is; never selected."""
        return {
            instance["name"]: Container(instance["name"], Ssh(""), on=host)
            for host in HOSTS
            for instance in self.objects.query(host, "/1.0/instances?recursion=1")
            if not instance["name"].startswith(PREFIX)
        }


def lxd_host(name: str, profiles: Iterable[str], images: Iterable[str]) -> LxdHost:
    """A lab host that declares these objects."""
    public = host_key(name).with_suffix(".pub").read_text().strip()
    return LxdHost(
        name,
        Ssh(HOST_ADDRESSES[name], key_file=CLIENT_KEY, host_key=public),
        lxd=LxdServer(listen=":8443"),
        profiles=tuple(profiles),
        images=tuple(images),
    )


def lab_image(name: str = "obj-minimal", kind: str = "minimal") -> Image:
    """An image of the lab's files under an alias of ours."""
    metadata, rootfs = image(kind)
    return Image(name, metadata=metadata, rootfs=rootfs)


def lab_container(name: str, on: str = FIRST, **fields: Any) -> Container:
    """A container with nothing but a root disk."""
    declared = {"image": "obj-minimal", "profiles": (), "devices": ROOT_DISK, **fields}
    return Container(name, Ssh(""), on=on, **declared)


def lab_objects(lab: Lab, folder: Path) -> Iterator[ObjectFleet]:
    """The body of the fixture ``lab_hosts``."""
    fleet = ObjectFleet(lab, folder)
    try:
        fleet.set_up()
        yield fleet
    finally:
        fleet.take_down()
