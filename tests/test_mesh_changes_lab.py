"""Hosts that join the mesh, leave it and come back new, and what all of that costs and shows.

The tests stand in the order in which a fleet lives, and build on each other.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.demo import messages
from tests.exec_trace import exec_trace
from tests.lab import Lab
from tests.mesh import (
    CLIENT,
    CREATED,
    FOURTH,
    HOSTS,
    PASSWORD,
    TOKEN,
    UNMADE,
    Mesh,
    all_ok,
    edges,
    failures,
    mesh_on,
    steps,
)
from tests.sshd import make_key

pytestmark = pytest.mark.lab

FIRST, SECOND, THIRD = HOSTS


@pytest.fixture(scope="module")
def mesh(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    yield from mesh_on(lab, tmp_path_factory.mktemp("mesh"))


def test_a_fourth_host_joins_and_no_secret_is_seen_on_its_way(mesh: Mesh, tmp_path: Path) -> None:
    assert mesh.provision()["exit"] == 0
    everyone = (*HOSTS, FOURTH)
    mesh.declare(*everyone)
    trace, report_file = tmp_path / "execs", tmp_path / "report.json"
    with exec_trace(mesh.lab, everyone, trace):
        joined = mesh.runbook("provision", "-v", "--json", str(report_file))
    assert joined.returncode == 0, joined.stdout + joined.stderr
    assert "remotes: 16 of 16 edges proven" in joined.stdout.splitlines()
    for name in HOSTS:
        assert FOURTH in mesh.remotes(name)
        assert FOURTH in mesh.trusted(name)

    # one that fails with a secret in its hand: LXD quotes the value that it refuses
    mesh.declare(*HOSTS, FOURTH, config={"core.shutdown_timeout": {"env": "MESH_PASSWORD"}})
    failed = mesh.runbook("provision", "-v", "--phase", "lxd")
    assert failed.returncode == 1
    assert "(secret)" in failed.stdout
    shown = mesh.runbook("status", "--json", "-")
    mesh.declare(*HOSTS, FOURTH)

    said = [each.stdout + each.stderr for each in (joined, failed, shown)]
    executed = trace.read_text(errors="replace")
    # it has what was done on each
    assert executed.count('"config", "trust", "add"') >= 3 * 1 + 4
    texts = {
        "the runs' output": "".join(said),
        "the report": report_file.read_text(),
        "the commands executed": executed,
        **{
            str(path.relative_to(mesh.state)): path.read_text(errors="replace")
            for path in mesh.state.rglob("*")
            if path.is_file() and path.name != "client.key"
        },
        **{f"what {name} has written": mesh.sh(name, WRITTEN) for name in (*HOSTS, FOURTH)},
    }
    assert {path.split("/")[0] for path in texts} > {"logs", "reports"}
    for secret in secrets_of(mesh):
        found = [where for where, text in texts.items() for form in forms(secret) if form in text]
        assert found == [], f"a secret is in {found}"


#: Logs, shell histories and what we leave on a host, all but the files that hold the keys.
WRITTEN = (
    "journalctl --no-pager -o cat 2>/dev/null; "
    "cat /root/.*history /var/log/*.log /var/lib/lxd/logs/*.log 2>/dev/null; "
    f"find /var/lib/nornir-lxd-fleet /run/nornir-lxd-fleet* -type f -exec cat {{}} + 2>/dev/null; "
    f"cat {CLIENT}/config.yml"
)


def secrets_of(mesh: Mesh) -> list[str]:
    """What is planted, and each line of the private keys of the controller and the hosts."""
    keys = [(mesh.state / "client.key").read_text()]
    keys += [mesh.sh(name, f"cat {CLIENT}/client.key /var/lib/lxd/server.key") for name in HOSTS]
    lines = [line for key in keys for line in key.splitlines() if not line.startswith("---")]
    assert len(lines) > 9
    return [PASSWORD, TOKEN, *(line for line in lines if len(line) > 12)]


def forms(secret: str) -> list[str]:
    """A secret as it is, and within any text that travels as base64."""
    shifted = [base64.b64encode(b"x" * shift + secret.encode()).decode() for shift in range(3)]
    return [secret, *(form[4:-4] for form in shifted)]


def test_exchanges_are_the_same_and_bytes_grow_by_a_constant_for_each_peer(mesh: Mesh) -> None:
    """A whole mesh written and proven, at 2, 3 and 4 hosts."""
    everyone = (*HOSTS, FOURTH)
    counts = []
    for size in (2, 3, 4):
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: mesh.sh(name, UNMADE), everyone))
        mesh.declare(*everyone[:size])
        report = mesh.provision("--phase", "remotes", "--phase", "prove")
        assert (report["exit"], failures(report)) == (0, {})
        assert edges(report) == all_ok(*everyone[:size])
        counts.append([host["exchanges"] for host in report["hosts"].values()])
    for at_two, at_three, at_four in zip(*counts, strict=False):
        # lock, read, write, read again, prove, ask
        assert [each["execs"] for each in (at_two, at_three, at_four)] == [6, 6, 6]
        assert [each["requests"] for each in (at_two, at_three, at_four)] == [0, 0, 0]
        for kind in ("sent", "received"):
            third, fourth = at_three[kind] - at_two[kind], at_four[kind] - at_three[kind]
            assert 1000 < third < 5000, kind  # a peer's certificates, twice in base64
            # their signatures differ by some bytes in length, a bridge's timers by some digits
            assert abs(fourth - third) < 60, (kind, third, fourth)


def test_a_host_that_left_is_reported_and_pruned_with_all_that_was_ours(mesh: Mesh) -> None:
    mesh.lab.power_off(FOURTH)
    mesh.declare(*HOSTS)
    before = mesh.snapshot(*HOSTS)
    told = mesh.provision()
    assert (told["exit"], steps(told)) == (0, {})
    assert f"remote {FOURTH} is no longer in the inventory; --prune removes it" in messages(
        told, FIRST
    )
    assert mesh.snapshot(*HOSTS) == before

    pruned = mesh.provision("--prune")
    gone = [("remotes", "delete", f"remote {FOURTH}"),
            ("remotes", "distrust", f"certificate {FOURTH}")]  # fmt: skip
    assert (pruned["exit"], steps(pruned)) == (0, dict.fromkeys(HOSTS, gone))
    assert edges(pruned) == all_ok(*HOSTS)
    for name in HOSTS:
        assert FOURTH not in mesh.remotes(name)
        assert FOURTH not in mesh.trusted(name)
        assert mesh.sh(name, f"ls {CLIENT}/servercerts").split() == [f"{n}.crt" for n in HOSTS]
        assert FOURTH not in mesh.sh(name, f"cat {CREATED}")
        # lock, read, write, read again; as a machine: read, prove; ask
        assert pruned["hosts"][name]["exchanges"]["execs"] == 7
    assert steps(mesh.provision("--prune")) == {}


NEW_HOST_KEY = """
cat >/etc/ssh/ssh_host_ed25519_key
ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key >/etc/ssh/ssh_host_ed25519_key.pub
systemctl restart ssh
"""


def test_a_host_installed_anew_is_back_in_the_mesh_after_one_run(
    mesh: Mesh, tmp_path: Path
) -> None:
    """Its SSH host key, which is declared, is a new one as well, as are its LXD's certificates."""
    former = {name: mesh.trusted(name)[SECOND] for name in HOSTS}
    pinned = (mesh.state / "servers" / f"{SECOND}.crt").read_text()
    mesh.lab.reset(SECOND)
    key = make_key(tmp_path / "new")
    assert mesh.lab.exec(SECOND, NEW_HOST_KEY, input=key.read_bytes()).returncode == 0
    mesh.declare(*HOSTS, host_keys={SECOND: key})
    report = mesh.provision()
    assert (report["exit"], failures(report)) == (0, {})
    assert edges(report) == all_ok(*HOSTS)
    assert (mesh.state / "servers" / f"{SECOND}.crt").read_text() != pinned
    found = steps(report)
    for name in (FIRST, THIRD):
        assert found[name] == [
            ("remotes", "trust", f"certificate {SECOND}"),
            ("remotes", "distrust", f"certificate {SECOND}"),
            ("remotes", "update", f"remote {SECOND}"),
        ]
    for name in HOSTS:
        trusted = mesh.query(name, "/1.0/certificates?recursion=1")
        assert former[name] not in [entry["fingerprint"] for entry in trusted]
        assert former[name] not in mesh.sh(name, f"cat {CREATED}")
    assert steps(mesh.provision()) == {}
