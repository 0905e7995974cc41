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
from tasks.facts.host_document import parse_facts
from tasks.intent.model import LxdHost, Ssh
from tasks.onhost import on_host
from tasks.remotes.edges import outcome_of, worst_by_peer
from tasks.remotes.peer import Peer
from tasks.remotes.plan import plan_remotes
from tasks.remotes.writes import script_input
from tests.lab import Lab

SNAP_HOST = "sidn-demo-02"
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
            config=yaml.safe_dump({"default-remote": spec.get("default"), "remotes": remotes})
            if remotes
            else "",
            certificate=certificate(f"host-01-{user}"),
            server_certificates={
                name: which if which == "(garbage)" else certificate(which)
                for name, which in spec.get("pins", {}).items()
            },
        )
    trusted = tuple(
        {
            "name": name,
            "fingerprint": fingerprint_of(certificate(which)),
            **case.get("limited", {}).get(name, {}),
        }
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
    prune = case.get("prune", False)
    plan = plan_remotes(own, actual, peers, dry=case.get("dry", False), prune=prune)

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
            "host-02": {"addr": "https://10.0.0.9:8443", "global": True, "project": "acc"},
            "images": {"addr": "https://images.example", "protocol": "simplestreams"},
        },
        "aliases": {"ll": "list -cns"},
    }
    text = yaml.safe_dump(before, sort_keys=False)
    lines = planned_input(text)
    assert [line[0] for line in lines] == ["created", "trust", "created", "pin", "config"]
    word, user, checksum, encoded = lines[-1]
    assert (word, user) == ("config", "root")
    assert checksum == hashlib.sha256(text.encode()).hexdigest()
    after = yaml.safe_load(base64.b64decode(encoded))
    remotes = after.pop("remotes")
    assert after == {"default-remote": "backup", "aliases": {"ll": "list -cns"}}
    assert remotes == {
        **before["remotes"],
        "host-02": {**entry(2), "global": True, "project": "acc"},
    }
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


def prune_input(config: dict[str, Any], created: set[str]) -> list[list[str]]:
    """The script's input where host-09 has left a fleet that is as wanted otherwise."""
    own = lxd_host(1)
    folder = ClientFolder(
        "root",
        "/root/.config/lxc",
        config=yaml.safe_dump(config, sort_keys=False),
        certificate=certificate("host-01-root"),
        server_certificates={
            "host-01": certificate("SERVER-host-01"),
            "host-09": certificate("SERVER-host-09"),
        },
    )
    trusted = tuple(
        {"name": name, "fingerprint": fingerprint_of(certificate(f"{name}-root"))}
        for name in ("host-01", "host-09")
    )
    actual = HostFacts(
        "host-01",
        clients={"root": folder},
        created=frozenset(created),
        lxd=LxdFacts("deb", True, certificate=certificate("SERVER-host-01"), certificates=trusted),
    )
    plan = plan_remotes(own, actual, [Peer(own, actual)], dry=False, prune=True)
    return [line.split(" ", 1) for line in script_input(actual, plan).decode().splitlines()]


def test_prune_forgets_only_after_all_is_removed() -> None:
    """Killed before its end, the next run still knows what was ours."""
    fingerprint = fingerprint_of(certificate("host-09-root"))
    created = {"remote root host-09", f"trust host-09 {fingerprint}", "remote root host-01"}
    remotes = {"host-01": entry(1), "host-09": entry(9), "backup": {"addr": "https://10.1.1.1"}}
    lines = prune_input({"default-remote": "local", "remotes": remotes}, created)
    assert [line[0] for line in lines] == ["unpin", "untrust", "config", "forget", "forget"]
    assert [rest for word, rest in lines if word != "config"] == [
        "root host-09",
        fingerprint,
        "remote root host-09",
        f"trust host-09 {fingerprint}",
    ]
    [config] = [rest.split(" ")[2] for word, rest in lines if word == "config"]
    assert yaml.safe_load(base64.b64decode(config)) == {
        "default-remote": "local",
        "remotes": {"host-01": entry(1), "backup": {"addr": "https://10.1.1.1"}},
    }


def test_prune_removes_nothing_that_is_not_remembered_as_ours() -> None:
    remotes = {"host-01": entry(1), "host-09": entry(9)}
    assert prune_input({"remotes": remotes}, {"remote root host-01"}) == []


def test_every_change_fits_a_line_of_the_script() -> None:
    lines = planned_input("")
    assert max(len(line) for line in lines) == 4
    pinned = [base64.b64decode(line[3]).decode() for line in lines if line[0] == "pin"]
    assert pinned == [certificate("SERVER-host-02")]


@pytest.mark.parametrize(
    "config", ["- a list\n", "remotes: [\n", "remotes: text\n", "remotes: {host-02: hello}\n"]
)
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


def test_of_several_users_the_worst_counts() -> None:
    one = ("host-01", "ok")
    heard = [("host-02", "ok"), ("host-02", "certificate mismatch"), ("host-02", "unreachable")]
    for said in (heard, heard[::-1]):
        assert worst_by_peer([*said, one]) == {"host-01": "ok", "host-02": "certificate mismatch"}


#: What the snap's client does as far as our scripts ask for it, and a note of each call.
SNAP = r"""
mkdir -p /snap/lxd/current /snap/bin /root/snap/lxd/common/config /var/snap/lxd/common/lxd
cat >/snap/bin/lxc <<'END'
#!/bin/sh
echo "$*" >>/snap/calls
case "$*" in
"query --raw /1.0") echo '{"metadata": {"config": {}}}' ;;
"query --raw "*) echo '{"metadata": []}' ;;
"query "*) printf '{\n\t"auth": "trusted"\n}\n' ;;
esac
END
chmod 755 /snap/bin/lxc
mv /var/lib/dpkg/info/lxd.list /snap/ # the package's programs stay
cp -a /var/lib/nornir-lxd-fleet/created /snap/created 2>/dev/null || true
"""
NO_SNAP = """
mv /snap/lxd.list /var/lib/dpkg/info/
rm -f /var/lib/nornir-lxd-fleet/created
[ ! -e /snap/created ] || mv /snap/created /var/lib/nornir-lxd-fleet/
rm -r /snap /root/snap /var/snap
"""


@pytest.mark.lab
def test_a_stand_in_for_the_snap_gets_remotes_in_the_snaps_client_folder(lab: Lab) -> None:
    """The package's client is there as well, and is not asked."""

    def run(name: str, *arguments: str, stdin: bytes = b"") -> str:
        done = lab.exec(SNAP_HOST, ["sh", "-c", on_host(name, *arguments)], input=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read() -> HostFacts:
        return parse_facts("host-01", run("read_host", "root").encode())

    own = lxd_host(1)
    folder = "/root/snap/lxd/common/config"
    packages = lab.exec(SNAP_HOST, "ls -lR --time-style=full-iso /root/.config").stdout
    lab.exec(SNAP_HOST, SNAP)
    try:
        server = certificate("SERVER-host-01").encode()
        lab.exec(SNAP_HOST, "cat >/var/snap/lxd/common/lxd/server.crt", input=server)
        client = certificate("host-01-root").encode()
        lab.exec(SNAP_HOST, f"cat >{folder}/client.crt", input=client)
        lab.exec(SNAP_HOST, f"echo a key >{folder}/client.key")  # of a pair, or it is none
        facts = read()
        assert (facts.lxd.package, facts.clients["root"].path) == ("snap", folder)
        plan = plan_remotes(own, facts, [Peer(own, facts)], dry=False)
        run("sync_remotes", "snap", stdin=script_input(facts, plan))
        after = read()
        calls = lab.exec(SNAP_HOST, "cat /snap/calls").stdout
        asked = run("ask_remotes", "snap", "root", "host-01")
    finally:
        lab.exec(SNAP_HOST, NO_SNAP)
    assert [step.action for step in plan.steps] == ["trust", "create"]
    assert "config trust add" in calls
    assert after.clients["root"].server_certificates == {"host-01": server.decode()}
    assert yaml.safe_load(after.clients["root"].config)["remotes"] == {"host-01": entry(1)}
    assert asked.split() == ["root", "host-01", "0", "trusted"]
    assert lab.exec(SNAP_HOST, "ls -lR --time-style=full-iso /root/.config").stdout == packages
