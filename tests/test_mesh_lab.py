"""The mesh of remotes on real hosts: from nothing, tampered with, an impostor.

The tests stand in the order in which a fleet lives, and build on each other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.certificate import fingerprint_of
from tests.demo import messages
from tests.lab import HOST_ADDRESSES, Lab
from tests.mesh import CLIENT, CREATED, FOURTH, HOSTS, Mesh, all_ok, edges, failures, mesh_on, steps

pytestmark = pytest.mark.lab

FIRST, SECOND, THIRD = HOSTS


@pytest.fixture(scope="module")
def mesh(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    yield from mesh_on(lab, tmp_path_factory.mktemp("mesh"))


def test_one_run_leads_from_nothing_to_a_proven_mesh_and_the_profiles(mesh: Mesh) -> None:
    report = mesh.provision()
    assert (report["exit"], failures(report)) == (0, {})
    assert edges(report) == all_ok(*HOSTS)
    assert sum(len(peers) for peers in edges(report).values()) == 9
    profiles = [mesh.query(name, "/1.0/profiles/web") for name in HOSTS]
    assert [profile["devices"]["if-demo"]["parent"] for profile in profiles] == ["br-demo"] * 3
    assert all(profile == profiles[0] for profile in profiles)


@pytest.mark.once
def test_a_second_run_writes_nothing(mesh: Mesh) -> None:
    before = mesh.snapshot(*HOSTS)
    report = mesh.provision()
    assert mesh.snapshot(*HOSTS) == before
    assert (report["exit"], report["summary"]["ok"], steps(report)) == (0, 3, {})
    assert edges(report) == all_ok(*HOSTS)
    for name in HOSTS:
        exchanges = report["hosts"][name]["exchanges"]
        # lock, read; as a machine: read to bootstrap and configure, prove; ask all its remotes
        assert (exchanges["execs"], exchanges["requests"]) == (5, 0), name


TAMPERED = {
    "a remote's address": (
        FIRST,
        f"sed -i 's/{HOST_ADDRESSES[SECOND]}/192.168.56.99/' {CLIENT}/config.yml",
        ("remotes", "update", f"remote {SECOND}"),
    ),
    "a pinned certificate": (
        SECOND,
        f"cd {CLIENT}/servercerts && cp {FIRST}.crt {THIRD}.crt",
        ("remotes", "update", f"remote {THIRD}"),
    ),
    "a trust entry": (
        THIRD,
        f"lxc config trust remove $(sed -n 's/^trust {FIRST} //p' {CREATED})",
        ("remotes", "trust", f"certificate {FIRST}"),
    ),
    "a profile's device": (
        SECOND,
        "lxc profile device set web if-demo mtu 1400",
        ("profiles", "update", "profile web"),
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_shown_and_mended_alone(mesh: Mesh, what: str) -> None:
    host, command, step = TAMPERED[what]
    before = without_times(mesh.snapshot(*HOSTS))
    mesh.sh(host, command)
    tampered = mesh.snapshot(*HOSTS)
    assert without_times(tampered) != before
    shown = mesh.provision("--dry-run")
    assert (shown["exit"], steps(shown)) == (3, {host: [step]})
    assert mesh.snapshot(*HOSTS) == tampered
    mended = mesh.provision()
    assert (mended["exit"], steps(mended)) == (0, {host: [step]})
    assert edges(mended) == all_ok(*HOSTS)
    after = mesh.snapshot(*HOSTS)
    assert without_times(after) == before
    others = [name for name in HOSTS if name != host]
    assert [after[name] for name in others] == [tampered[name] for name in others]


def without_times(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without the times of its files, for what was mended is written anew."""
    found = copy.deepcopy(snapshot)
    for of_host in found.values():
        of_host["files"] = [
            " ".join(word for number, word in enumerate(line.split()) if number != 3)
            for line in of_host["files"]
        ]
    return found


#: Whoever asks the second host's LXD, itself included, is answered by the fourth one's. A relay
#: does it, since a bridge sends nothing back through the port that it came from.
IMPOSTOR = f"""
systemd-run -q --unit=impostor systemd-socket-activate -l 18443 \\
    /lib/systemd/systemd-socket-proxyd {HOST_ADDRESSES[FOURTH]}:8443
nft -f - <<'END'
table ip impostor {{
    chain relay {{
        ip daddr {HOST_ADDRESSES[SECOND]} tcp dport 8443 dnat to {HOST_ADDRESSES[SECOND]}:18443
    }}
    chain in {{
        type nat hook prerouting priority -100
        jump relay
    }}
    chain own {{
        type nat hook output priority -100
        jump relay
    }}
}}
END
"""


@pytest.fixture
def impostor(mesh: Mesh) -> Iterator[None]:
    mesh.sh(FOURTH, "lxd waitready --timeout=60; lxc config set core.https_address :8443")
    mesh.sh(
        FOURTH,
        "mkdir -p /run/watch; LXD_CONF=/run/watch setsid lxc monitor --type=logging --format=json "
        ">/run/watch/seen 2>&1 </dev/null & echo $! >/run/watch.pid; sleep 1",
    )
    mesh.sh(SECOND, IMPOSTOR)
    try:
        yield
    finally:
        mesh.sh(SECOND, "nft delete table ip impostor; systemctl stop impostor")
        mesh.sh(FOURTH, "kill $(cat /run/watch.pid); rm -r /run/watch /run/watch.pid")


@pytest.mark.usefixtures("impostor")
def test_an_impostor_is_refused_by_all_and_receives_nothing(mesh: Mesh) -> None:
    pinned = (mesh.state / "servers" / f"{SECOND}.crt").read_text()
    presented = mesh.sh(FOURTH, "cat /var/lib/lxd/server.crt")
    before = mesh.snapshot(FIRST, THIRD)
    mesh.sh(SECOND, "lxc profile device set web if-demo mtu 1400")

    written = mesh.provision()
    assert (written["exit"], list(failures(written))) == (1, [*HOSTS])
    assert (
        f"presents the certificate SHA256 {fingerprint_of(presented)}, "
        f"pinned is {fingerprint_of(pinned)}"
    ) in messages(written, SECOND)

    mesh.sh(SECOND, "lxc profile device unset web if-demo mtu")
    asked = mesh.provision()
    assert asked["exit"] == 1
    assert edges(asked) == {
        name: {FIRST: "ok", SECOND: "certificate mismatch", THIRD: "ok"} for name in HOSTS
    }
    for name in HOSTS:
        assert f"remote {SECOND} presents another certificate than the pinned one" in messages(
            asked, name
        )
    assert mesh.snapshot(FIRST, THIRD) == before
    assert (mesh.state / "servers" / f"{SECOND}.crt").read_text() == pinned

    # each handshake ended early: what its LXD handles is the test's own, over the socket
    mesh.query(FOURTH, "/1.0")
    seen = mesh.sh(FOURTH, "cat /run/watch/seen").splitlines()
    broken = [line for line in seen if "TLS handshake error" in line]
    assert len(broken) >= 1 + 2 + 3  # the controller, two hosts, then all three
    handled = [line for line in seen if "Handling API request" in line]
    assert handled
    assert [line for line in handled if '"ip":"@"' not in line] == []
