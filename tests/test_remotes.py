from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import ClientFolder, HostFacts, LxdFacts
from tasks.certificate import fingerprint_of, make_client_certificate
from tasks.errors import FleetError
from tasks.intent.model import LxdHost, Ssh
from tasks.remotes.edges import outcome_of
from tasks.remotes.plan import Peer, plan_remotes, script_input

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "remotes.yaml").read_text())


@cache
def certificate(name: str) -> str:
    return make_client_certificate()[0]


def lxd_host(number: int, users: tuple[str, ...] = ("root",)) -> LxdHost:
    ssh = Ssh(f"192.168.56.{number}")
    return LxdHost(name=f"host-{number:02}", ssh=ssh, client_users=users)


def entry(number: int) -> dict[str, Any]:
    return {
        "addr": f"https://192.168.56.{number}:8443",
        "auth_type": "tls",
        "project": "default",
        "protocol": "lxd",
        "public": False,
    }


def own_facts(case: dict[str, Any]) -> HostFacts:
    wanted = {"host-01": entry(1), "host-02": entry(2)}
    clients = {}
    for user, spec in case["clients"].items():
        remotes = {
            name: wanted[name] if body == "ok" else body
            for name, body in spec.get("remotes", {}).items()
        }
        clients[user] = ClientFolder(
            user,
            f"/home/{user}/.config/lxc",
            config=yaml.safe_dump({"remotes": remotes}) if remotes else "",
            certificate=certificate(f"host-01-{user}"),
            server_certificates={n: certificate(c) for n, c in spec.get("pins", {}).items()},
        )
    trusted = tuple(
        {"name": name, "fingerprint": fingerprint_of(certificate(which))}
        for name, which in case.get("trusted", {}).items()
    )
    return HostFacts(
        name="host-01",
        clients=clients,
        created=frozenset(map(whole, case.get("created", ()))),
        lxd=LxdFacts("deb", True, certificate=certificate("SERVER-host-01"), certificates=trusted),
    )


def peer_facts(case: dict[str, Any], peer: LxdHost) -> HostFacts | None:
    if peer.name in case.get("unreachable", ()):
        return None
    if peer.name in case.get("bare", ()):
        return HostFacts(peer.name, clients={"root": ClientFolder("root", "/root/.config/lxc")})
    return HostFacts(
        peer.name,
        clients={
            user: ClientFolder(user, "", certificate=certificate(f"{peer.name}-{user}"))
            for user in peer.client_users
            if user != "ghost" or f"{peer.name}-ghost" in case["trusted"]
        },
        lxd=LxdFacts("deb", True, certificate=certificate(f"SERVER-{peer.name}")),
    )


def whole(text: str, length: int | None = None) -> str:
    """A text of a case with its fingerprints in place of their names."""
    return re.sub(
        r"FINGERPRINT ([\w-]+)", lambda m: fingerprint_of(certificate(m[1]))[:length], text
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_plan(case: dict[str, Any]) -> None:
    users = tuple(case.get("users", ("root",)))
    own, other = lxd_host(1, users), lxd_host(2, users)
    actual = own_facts(case)
    peers = [Peer(own, actual), Peer(other, peer_facts(case, other))]
    plan = plan_remotes(own, actual, peers, dry=case.get("dry", False))

    assert [[s.action, s.object, s.detail] for s in plan.steps] == [
        [whole(word, 12) for word in step] for step in case["steps"]
    ]
    assert list(plan.notes) == [whole(note, 12) for note in case.get("notes", [])]


def planned_input(config: str) -> list[list[str]]:
    own, other = lxd_host(1), lxd_host(2)
    case = {"clients": {"root": {}}, "trusted": {"host-01": "host-01-root"}}
    actual = own_facts(case)
    folder = ClientFolder(
        "root",
        "/root/.config/lxc",
        config=config,
        certificate=certificate("host-01-root"),
        server_certificates={"host-01": certificate("SERVER-host-01")},
    )
    actual = HostFacts(actual.name, clients={"root": folder}, lxd=actual.lxd)
    peers = [Peer(own, actual), Peer(other, peer_facts(case, other))]
    plan = plan_remotes(own, actual, peers, dry=False)
    return [line.split(" ") for line in script_input(actual, plan).decode().splitlines()]


def test_foreign_remotes_default_remote_and_aliases_are_kept() -> None:
    before: dict[str, Any] = {
        "default-remote": "backup",
        "remotes": {
            "host-01": entry(1),
            "backup": {"addr": "https://10.1.1.1:8443", "auth_type": "candid", "domain": "x"},
            "host-02": {"addr": "https://10.0.0.9:8443", "global": True},
            "images": {"addr": "https://images.example", "protocol": "simplestreams"},
        },
        "aliases": {"ll": "list -cns"},
    }
    text = yaml.safe_dump(before, sort_keys=False)
    lines = planned_input(text)
    assert [line[0] for line in lines] == ["trust", "created", "pin", "created", "config"]
    word, user, checksum, encoded = lines[-1]
    assert (word, user) == ("config", "root")
    assert checksum == hashlib.sha256(text.encode()).hexdigest()
    after = yaml.safe_load(base64.b64decode(encoded))
    remotes = after.pop("remotes")
    assert after == {"default-remote": "backup", "aliases": {"ll": "list -cns"}}
    assert remotes == {**before["remotes"], "host-02": {**entry(2), "global": True}}
    assert list(remotes) == list(before["remotes"])


def test_what_was_trusted_is_remembered_by_its_fingerprint() -> None:
    """By its name alone somebody else's certificate of that name would count as ours later."""
    created = [line[1:] for line in planned_input("") if line[0] == "created"]
    assert ["trust", "host-02", fingerprint_of(certificate("host-02-root"))] in created


def test_a_user_without_config_gets_one() -> None:
    word, _, checksum, encoded = planned_input("")[-1]
    assert (word, checksum) == ("config", "-")
    assert yaml.safe_load(base64.b64decode(encoded)) == {
        "default-remote": "local",
        "aliases": {},
        "remotes": {"host-01": entry(1), "host-02": entry(2)},
    }


def test_every_change_fits_a_line_of_the_script() -> None:
    for line in planned_input(""):
        assert len(line) <= 4
        if line[0] == "pin":
            assert base64.b64decode(line[3]).decode() == certificate("SERVER-host-02")


@pytest.mark.parametrize("config", ["- a list\n", "remotes: [\n", "remotes: text\n"])
def test_a_broken_config_is_named_and_not_touched(config: str) -> None:
    with pytest.raises(FleetError, match=r"host-01: /root/\.config/lxc/config\.yml is no LXD"):
        planned_input(config)


@pytest.mark.parametrize(
    ("status", "auth", "said", "outcome"),
    [
        (0, "trusted", "", "ok"),
        (0, "untrusted", "", "untrusted"),
        (0, "-", "", "untrusted"),
        (124, "-", "", "unreachable"),
        (1, "-", "Error: dial tcp: connect: no route to host", "unreachable"),
        (1, "-", "Error: dial tcp 10.0.0.1:8443: connect: connection refused", "unreachable"),
        (1, "-", "Error: x509: certificate signed by unknown authority", "certificate mismatch"),
        (1, "-", 'Error: The remote "host-02" doesn\'t exist', "failed"),
    ],
)  # fmt: skip
def test_what_a_request_over_a_remote_came_to(
    status: int, auth: str, said: str, outcome: str
) -> None:
    assert outcome_of(status, auth, said) == outcome
