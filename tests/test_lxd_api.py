"""The LXD API against real LXD hosts. All objects here are called transport-test."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.certificate import ClientCertificate, fingerprint_of
from tasks.errors import (
    DeadlineError,
    LxdCertificateError,
    LxdConflictError,
    LxdError,
    LxdNotFoundError,
    LxdStalledError,
    LxdUnreachableError,
    LxdUntrustedError,
)
from tasks.lxd_api import operation as operations
from tasks.lxd_api.api import LxdApi
from tasks.lxd_api.errors import unreachable
from tasks.lxd_api.operation import follow
from tasks.lxd_api.session import LxdSession
from tasks.state import StateFolder
from tests.lab import HOST_ADDRESSES, HOST_NAMES, Lab
from tests.sshd import free_port

NAME = "transport-test"
PROFILE = f"/1.0/profiles/{NAME}"


@dataclass
class Server:
    """The LXD of a lab host, and what it takes to talk to it."""

    lab: Lab
    host: str
    certificate: ClientCertificate
    pin: Path
    requests: list[str] = field(default_factory=list)

    def api(self, **changes: Any) -> LxdApi:
        options: dict[str, Any] = {
            "certificate": (self.certificate.certificate, self.certificate.key),
            "pin": self.pin,
            "on_request": lambda: self.requests.append("request"),
            **changes,
        }
        address = options.pop("address", f"{HOST_ADDRESSES[self.host]}:8443")
        return LxdApi(self.host, address, **options)

    def session(self) -> LxdSession:
        return LxdSession(
            self.host,
            f"{HOST_ADDRESSES[self.host]}:8443",
            certificate=(self.certificate.certificate, self.certificate.key),
            pin=self.pin,
            on_request=lambda: None,
            on_answer=lambda sent, received: None,
        )

    def sh(self, command: str, **options: Any) -> str:
        done = self.lab.exec(self.host, command, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout


def make_server(lab: Lab, host: str, folder: Path) -> Iterator[Server]:
    state = StateFolder(folder / host)
    certificate = state.client_certificate(create=True)
    assert certificate
    lab.exec(host, "lxd waitready --timeout=60")  # which makes its certificate
    state.write_pin(host, lab.exec(host, "cat /var/lib/lxd/server.crt").stdout)
    pin = state.pin(host)
    assert pin
    server = Server(lab, host, certificate, pin)
    listens = server.sh("lxc config get core.https_address").strip()
    if not listens:
        server.sh("lxc config set core.https_address [::]:8443")
    server.sh(
        f"f=$(mktemp); cat >$f; lxc config trust add $f --name {NAME}; rm $f",
        input=certificate.pem.encode(),
    )
    yield server
    server.sh(f"lxc config trust remove {certificate.fingerprint}")
    if not listens:
        server.sh("lxc config unset core.https_address")


@pytest.fixture(scope="module")
def server(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from make_server(lab, HOST_NAMES[0], tmp_path_factory.mktemp("lxd"))


@pytest.fixture(scope="module")
def second(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from make_server(lab, HOST_NAMES[1], tmp_path_factory.mktemp("lxd"))


@pytest.fixture
def api(server: Server) -> Iterator[LxdApi]:
    connected = server.api()
    yield connected
    connected.close()


@pytest.fixture
def profile(server: Server, api: LxdApi) -> Iterator[str]:
    """A profile that is there for the test."""
    api.post("/1.0/profiles", {"name": NAME, "description": "one", "config": {}, "devices": {}})
    yield PROFILE
    server.lab.exec(server.host, f"lxc profile delete {NAME}")


@pytest.fixture(scope="module")
def image(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container image of next to nothing on the host, and a pool to create instances in."""
    connected = server.api()
    metadata, rootfs = make_image(tmp_path_factory.mktemp("image"), "one")
    fingerprint = connected.upload_image(metadata, rootfs, alias=NAME, properties={"os": NAME})
    connected.post("/1.0/storage-pools", {"name": NAME, "driver": "dir", "config": {}})
    yield fingerprint
    server.sh(
        f"for i in $(lxc list -f csv -c n | grep {NAME}); do lxc delete -f $i; done; "
        f"lxc image delete {NAME}; lxc storage delete {NAME}"
    )
    connected.close()


def make_image(folder: Path, text: str) -> tuple[Path, Path]:
    """A split image whose root file system holds one file."""
    metadata, rootfs = folder / "metadata.tar.gz", folder / "rootfs.tar.gz"
    yaml = f"architecture: x86_64\ncreation_date: 1\nproperties: {{description: {text}}}\n"
    for archive, name, content in ((metadata, "metadata.yaml", yaml), (rootfs, "etc/name", text)):
        with tarfile.open(archive, "w:gz") as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    return metadata, rootfs


def instance(name: str) -> dict[str, Any]:
    """The request for an instance from the image, never started."""
    root = {"type": "disk", "path": "/", "pool": NAME}
    source = {"type": "image", "alias": NAME}
    return {"name": name, "source": source, "profiles": [], "devices": {"root": root}}


@pytest.mark.lab
class TestObjects:
    def test_create_read_change_delete(self, api: LxdApi, server: Server) -> None:
        api.post("/1.0/profiles", {"name": NAME, "config": {"user.a": "1"}, "devices": {}})
        try:
            found, etag = api.get(PROFILE)
            assert found["config"] == {"user.a": "1"}
            api.put(PROFILE, {**found, "config": {"user.b": "2"}}, etag=etag)
            api.patch(PROFILE, {"config": {"user.c": "3"}})
            assert api.get(PROFILE)[0]["config"] == {"user.b": "2", "user.c": "3"}
        finally:
            api.delete(PROFILE)
        with pytest.raises(LxdNotFoundError, match=f"{server.host}: .*GET {PROFILE}"):
            api.get(PROFILE)

    def test_lists_and_queries(self, api: LxdApi) -> None:
        names = {entry["name"] for entry in api.get("/1.0/profiles?recursion=1")[0]}
        assert "default" in names
        assert api.get("/1.0")[0]["auth"] == "trusted"

    def test_a_stale_etag_is_a_conflict(self, api: LxdApi, server: Server, profile: str) -> None:
        found, etag = api.get(profile)
        server.sh(f"lxc profile set {NAME} user.other 1")
        with pytest.raises(LxdConflictError, match=server.host):
            api.put(profile, {**found, "description": "two"}, etag=etag)
        assert api.get(profile)[0]["description"] == "one"

    def test_the_bytes_of_both_bodies_are_told(self, server: Server, profile: str) -> None:
        told: list[tuple[int, int]] = []
        api = server.api(on_answer=lambda sent, received: told.append((sent, received)))
        body = {"description": "naïve", "config": {}, "devices": {}}
        api.put(profile, body)
        api.close()
        assert told[0][0] == 0  # connecting asks for the server
        assert told[0][1] > 1000
        assert told[1][0] == len(json.dumps(body))
        assert 0 < told[1][1] < 200

    def test_update_tries_once_more_and_keeps_what_others_wrote(
        self, api: LxdApi, server: Server, profile: str
    ) -> None:
        seen: list[dict[str, Any]] = []

        def change(now: dict[str, Any]) -> dict[str, Any]:
            seen.append(now)
            if len(seen) == 1:
                server.sh(f"lxc profile set {NAME} user.other 1")
            return {**now, "description": "two"}

        api.update(profile, change)
        found, _ = api.get(profile)
        assert len(seen) == 2
        assert found["description"] == "two"
        assert found["config"] == {"user.other": "1"}

    def test_update_gives_up_after_two_conflicts(
        self, api: LxdApi, server: Server, profile: str
    ) -> None:
        seen: list[int] = []

        def change(now: dict[str, Any]) -> dict[str, Any]:
            seen.append(1)
            server.sh(f"lxc profile set {NAME} user.other {len(seen)}")
            return {**now, "description": "two"}

        with pytest.raises(LxdConflictError):
            api.update(profile, change)
        assert len(seen) == 2

    def test_update_writes_nothing_where_nothing_changes(
        self, api: LxdApi, server: Server, profile: str
    ) -> None:
        server.requests.clear()
        api.update(profile, lambda now: now)
        assert len(server.requests) == 1

    def test_what_lxd_refuses_is_said_in_its_words(self, api: LxdApi, server: Server) -> None:
        with pytest.raises(LxdError, match=rf"{server.host}: LXD refused .*no\.such\.key"):
            api.post(
                "/1.0/profiles",
                {"name": NAME, "config": {"no.such.key": NAME}, "devices": {}},
            )

    def test_threads_share_it(self, api: LxdApi) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: api.get("/1.0/profiles/default")[0], range(64)))
        assert all(one["name"] == "default" for one in found)

    def test_a_connection_is_used_again(self, server: Server) -> None:
        server.requests.clear()
        connected = server.api()
        for _ in range(5):
            connected.get("/1.0/profiles/default")
        assert len(server.requests) == 1 + 5
        connected.close()


@pytest.mark.lab
class TestOperations:
    def test_still_running_at_the_deadline(self, api: LxdApi, image: str) -> None:
        path = f"/1.0/instances/{NAME}-late"
        with pytest.raises(DeadlineError, match=r"POST /1.0/instances is still running"):
            api.post("/1.0/instances", instance(f"{NAME}-late"), deadline=0.001)
        until = time.monotonic() + 60
        while True:
            try:
                api.delete(path)
                break
            except LxdError:  # not created yet, or busy being so
                assert time.monotonic() < until
                time.sleep(0.2)

    def test_a_failed_one(self, api: LxdApi, server: Server, image: str) -> None:
        body = instance(f"{NAME}-empty")
        body["devices"]["eth0"] = {"type": "nic", "nictype": "bridged", "parent": "no-such"}
        api.post("/1.0/instances", body)
        start = {"action": "start", "timeout": 10}
        failed = f"{server.host}: PUT .*{NAME}-empty/state failed in LXD: .*no-such"
        with pytest.raises(LxdError, match=failed):
            api.put(f"/1.0/instances/{NAME}-empty/state", start)
        api.delete(f"/1.0/instances/{NAME}-empty")

    def test_one_that_lxd_has_forgotten(self, server: Server) -> None:
        gone = "/1.0/operations/00000000-0000-0000-0000-000000000000"
        with pytest.raises(LxdError, match=f"{server.host}: the outcome of it is unknown"):
            follow(server.session(), gone, "it", time.monotonic() + 5)


@pytest.mark.lab
class TestImages:
    def test_not_sent_twice(self, api: LxdApi, server: Server, image: str, tmp_path: Path) -> None:
        metadata, rootfs = make_image(tmp_path, "again")
        alias = f"{NAME}-again"
        properties = {"os": "of the test", "nornir-lxd-fleet": "created"}
        try:
            first = api.upload_image(metadata, rootfs, alias=alias, properties=properties)
            found, _ = api.get(f"/1.0/images/{first}")
            assert found["properties"].items() >= properties.items()
            assert [one["name"] for one in found["aliases"]] == [alias]
            server.sh(f"lxc image alias delete {alias}")  # as if killed before it
            server.requests.clear()
            assert api.upload_image(metadata, rootfs, alias=alias, properties={}) == first
            assert len(server.requests) == 3
            other, _ = api.get("/1.0/images/aliases/" + alias)
            assert other["target"] == first
        finally:
            server.sh(f"lxc image delete {first}")

    def test_the_alias_moves_to_a_new_image(
        self, api: LxdApi, server: Server, tmp_path: Path
    ) -> None:
        alias = f"{NAME}-moves"
        fingerprints = []
        for text in ("old", "new"):
            folder = tmp_path / text
            folder.mkdir()
            metadata, rootfs = make_image(folder, text)
            fingerprints.append(api.upload_image(metadata, rootfs, alias=alias, properties={}))
        try:
            assert fingerprints[0] != fingerprints[1]
            assert api.get(f"/1.0/images/aliases/{alias}")[0]["target"] == fingerprints[1]
        finally:
            server.sh(f"lxc image delete {' '.join(fingerprints)}")


@pytest.mark.lab
class TestRefusal:
    def test_untrusted(self, server: Server, tmp_path: Path) -> None:
        other = StateFolder(tmp_path).client_certificate(create=True)
        assert other
        with pytest.raises(LxdUntrustedError, match=f"{server.host}: .*--phase lxd"):
            server.api(certificate=(other.certificate, other.key))

    def test_trust_withdrawn_meanwhile(self, server: Server, tmp_path: Path) -> None:
        other = StateFolder(tmp_path).client_certificate(create=True)
        assert other
        server.sh(
            f"f=$(mktemp); cat >$f; lxc config trust add $f --name {NAME}-2; rm $f",
            input=other.pem.encode(),
        )
        connected = server.api(certificate=(other.certificate, other.key))
        server.sh(f"lxc config trust remove {other.fingerprint}")
        with pytest.raises(LxdUntrustedError):
            connected.get("/1.0/profiles")

    def test_a_certificate_that_is_not_the_pinned_one(self, server: Server, tmp_path: Path) -> None:
        other = StateFolder(tmp_path).client_certificate(create=True)
        assert other
        with pytest.raises(LxdCertificateError) as refused:
            server.api(pin=other.certificate)
        said = str(refused.value)
        assert said.startswith(f"{server.host}: ")
        assert fingerprint_of(server.pin.read_text()) in said
        assert other.fingerprint in said

    def test_no_environment_overrides_the_pin(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = tmp_path / "bundle"
        bundle.write_text("")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
        assert server.api().get("/1.0")[0]["auth"] == "trusted"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.pin))
        other = StateFolder(tmp_path / "other").client_certificate(create=True)
        assert other
        with pytest.raises(LxdCertificateError):
            server.api(pin=other.certificate)

    def test_closed_port(self, server: Server) -> None:
        address = f"{HOST_ADDRESSES[server.host]}:8444"
        with pytest.raises(
            LxdUnreachableError, match=rf"{address} \(connection refused\).*systemctl"
        ):
            server.api(address=address)

    def test_lxd_stopped_and_started_again(self, second: Server) -> None:
        connected = second.api()
        second.sh("systemctl stop lxd.socket lxd.service", timeout=60)
        try:
            started = time.monotonic()
            with pytest.raises(LxdUnreachableError, match=f"{second.host}: .*systemctl status lxd"):
                connected.get("/1.0/profiles")
            assert time.monotonic() - started < 10
        finally:
            second.sh("systemctl start lxd.socket lxd.service && lxc info >/dev/null", timeout=90)
        assert connected.get("/1.0/profiles/default")[0]["name"] == "default"


def test_the_way_urllib3_says_it_is_told_in_one_line() -> None:
    cause = OSError("x")
    cause.__cause__ = OSError("[Errno 113] No route to host")
    error = unreachable(cause, "box", "192.0.2.1:8443", "GET /1.0")
    assert isinstance(error, LxdUnreachableError)
    assert "(no route to host)" in str(error)
    assert "\n" not in str(error)


class Downloading:
    """In a session's place: LXD with a download that is waited for ten seconds at a time.

    ``own`` and ``others`` are what it says after each wait, of this download and of one more.
    """

    where = "voice-01"

    def __init__(self, own: list[str], others: list[str], *, cancels: bool = True) -> None:
        self.own, self.others, self.cancels = own, others, cancels
        self.now = 0.0
        self.asked: list[str] = []

    def monotonic(self) -> float:
        return self.now

    def request(self, method: str, path: str) -> Any:
        self.asked.append(method)
        turn = int(self.now / 10)
        if method == "DELETE":
            if not self.cancels:
                raise LxdError("LXD refused it")
            return None
        answer: Any = {"running": [self.state("2", self.others, turn)]}
        if "/wait" in path:
            self.now += 10
            answer = self.state("1", self.own, turn)
        return SimpleNamespace(json=lambda: {"metadata": answer})

    def state(self, number: str, said: list[str], turn: int) -> dict[str, Any]:
        now = said[min(turn, len(said) - 1)] if said else ""
        return {
            "id": number,
            "description": "Downloading image",
            "updated_at": "",
            "metadata": {"download_progress": now} if now else None,
            "status_code": 200 if now == "done" else 103,
        }

    def follow(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(operations, "time", self)
        path = "/1.0/operations/1"
        return follow(cast("LxdSession", self), path, "POST /1.0/images", 600, stall=30)


class TestStalls:
    """Of a download: it is ended, unless it or one of the same image gets on."""

    def test_what_gets_on_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slow = ["", "", "", "1%", "1%", "1%", "2%", "done"]
        lxd = Downloading(slow, [])
        lxd.follow(monkeypatch)
        assert lxd.asked == ["GET"] * len(slow)

    def test_so_is_what_waits_for_another_download(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lxd = Downloading([""] * 12 + ["done"], [f"{percent}%" for percent in range(12)])
        lxd.follow(monkeypatch)
        assert "DELETE" not in lxd.asked

    @pytest.mark.parametrize(
        ("own", "others", "seconds"),
        [([], [], 40), (["1%"], [], 40), ([], ["1%"], 70)],
        ids=["nothing came", "it stopped coming", "another one stopped as well"],
    )
    def test_what_does_not_is_cancelled(
        self, own: list[str], others: list[str], seconds: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lxd = Downloading(own, others)
        with pytest.raises(LxdStalledError) as ended:
            lxd.follow(monkeypatch)
        assert (lxd.now, ended.value.began) == (seconds, bool(own))
        assert str(ended.value) == (
            "voice-01: no progress for 30 s; POST /1.0/images was cancelled"
        )

    def test_or_named_where_lxd_cannot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(LxdStalledError, match="its operation 1 goes on there until it fails"):
            Downloading([], [], cancels=False).follow(monkeypatch)
