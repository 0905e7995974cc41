"""Certificates that end soon, renewed on real LXD hosts without a moment without access.

The tests stand in the order in which the fleet lives, and build on each other.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tasks.certificate import expiry_of, fingerprint_of, same_key
from tests.demo import messages
from tests.killed_renewal import STAGES
from tests.lab import HOST_ADDRESSES, Lab
from tests.mesh import (
    CLIENT,
    CREATED,
    HOSTS,
    PASSWORD,
    Mesh,
    all_ok,
    edges,
    failures,
    mesh_on,
    steps,
)

pytestmark = pytest.mark.lab

FIRST, SECOND, THIRD = HOSTS
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def mesh(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    for fleet in mesh_on(lab, tmp_path_factory.mktemp("certificates")):
        assert fleet.provision()["exit"] == 0
        yield fleet


def of_key(key: str, days: float, like: str) -> str:
    """A certificate (PEM) of a key that is valid for so many days from now, else like another."""
    other = x509.load_pem_x509_certificate(like.encode())
    private: Any = serialization.load_pem_private_key(key.encode(), None)
    builder = (
        x509.CertificateBuilder(other.issuer, other.subject, other.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=30))
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    for extension in other.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(private, hashes.SHA384()).public_bytes(serialization.Encoding.PEM).decode()


def shorten(
    mesh: Mesh, host: str, days: float, *, folder: str = CLIENT, name: str = "client"
) -> str:
    """Give a host such a certificate instead of its own; the new one."""
    key = mesh.sh(host, f"cat {folder}/{name}.key")
    pem = of_key(key, days, mesh.sh(host, f"cat {folder}/{name}.crt"))
    mesh.lab.exec(host, f"cat >{folder}/{name}.crt", input=pem.encode())
    return pem


def shorten_controller(mesh: Mesh, days: float) -> str:
    """The same for the controller's own."""
    certificate = mesh.state / "client.crt"
    pem = of_key((mesh.state / "client.key").read_text(), days, certificate.read_text())
    certificate.write_text(pem)
    return pem


def known_everywhere(mesh: Mesh, host: str = FIRST) -> tuple[str, str]:
    """Certificates with 5 days left, of a host and of the controller, that all hosts trust."""
    ends = shorten(mesh, host, 5), shorten_controller(mesh, 5)
    arranged = mesh.provision("--phase", "lxd", "--phase", "remotes", "--phase", "prove", "--prune")
    assert (arranged["exit"], failures(arranged)) == (0, {})
    assert edges(arranged) == all_ok(*HOSTS)
    return ends


def maintain(mesh: Mesh, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = mesh.runbook("maintain", "certificates", "--json", "-", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def silent(mesh: Mesh) -> bool:
    done = mesh.runbook("maintain", "certificates", "--quiet")
    return (done.returncode, done.stdout, done.stderr) == (0, "", "")


def in_use(mesh: Mesh, host: str) -> str:
    return mesh.sh(host, f"cat {CLIENT}/client.crt")


def trusted(mesh: Mesh, host: str) -> set[str]:
    return {e["fingerprint"] for e in mesh.query(host, "/1.0/certificates?recursion=1")}


def all_edges_work(mesh: Mesh) -> bool:
    """Each of them asked there, by the users' own clients, and each LXD from here."""
    ask = "; ".join(
        f'HOME=/root lxc query {peer}:/1.0 | grep -c \'"auth": "trusted"\'' for peer in HOSTS
    )
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda name: mesh.lab.exec(name, ask).stdout.split(), HOSTS))
    return told == [["1"] * len(HOSTS)] * len(HOSTS) and {
        name: controller_is_trusted(mesh, name) for name in HOSTS
    } == dict.fromkeys(HOSTS, True)


def controller_is_trusted(mesh: Mesh, host: str) -> bool:
    done = subprocess.run(
        ["curl", "-sk", "--max-time", "20", "--cert", str(mesh.state / "client.crt"), "--key",
         str(mesh.state / "client.key"), f"https://{HOST_ADDRESSES[host]}:8443/1.0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return '"auth":"trusted"' in done.stdout


@contextmanager
def asked_all_the_time(mesh: Mesh) -> Iterator[list[bool]]:
    """What came of requests from the first host to the others, one after the other."""
    answers: list[bool] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            peer = HOSTS[len(answers) % len(HOSTS)]
            done = mesh.lab.exec(FIRST, f"HOME=/root lxc query {peer}:/1.0", timeout=60)
            answers.append('"auth": "trusted"' in done.stdout)
            answers.append(controller_is_trusted(mesh, peer))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def test_with_years_left_it_is_silent_and_costs_one_read(mesh: Mesh) -> None:
    assert silent(mesh)
    status, report = maintain(mesh)
    assert (status, steps(report)) == (0, {})
    for name in HOSTS:
        said = messages(report, name)
        assert "the first to end: " in said
        assert "which expires in 36" in said
        # lock, read
        assert report["hosts"][name]["exchanges"]["execs"] == 2
        assert report["hosts"][name]["exchanges"]["requests"] == 0


def test_those_that_end_soon_are_renewed_and_no_moment_is_without_access(mesh: Mesh) -> None:
    old, old_controller = known_everywhere(mesh)
    before = mesh.snapshot(*HOSTS)
    status, dry = maintain(mesh, "--dry-run")
    assert (status, mesh.snapshot(*HOSTS)) == (3, before)
    wanted = [
        ("certificates", "renew", f"client certificate {FIRST}"),
        ("certificates", "renew", f"client certificate {controller_name(mesh)}"),
    ]
    assert steps(dry) == {FIRST: wanted}
    with asked_all_the_time(mesh) as answers:
        status, report = maintain(mesh)
    assert (status, steps(report)) == (0, {FIRST: wanted}), messages(report, FIRST)
    # lock, read, make, trust, use, ask all remotes, let go, read again
    assert report["hosts"][FIRST]["exchanges"]["execs"] == 8
    # lock, read, trust, let go, read again
    for name in (SECOND, THIRD):
        assert report["hosts"][name]["exchanges"]["execs"] == 5
    # connect, ask
    assert [report["hosts"][name]["exchanges"]["requests"] for name in HOSTS] == [2, 2, 2]
    assert len(answers) > 4
    assert all(answers)
    diffs = [[p["diff"] for p in each["hosts"][FIRST]["phases"]] for each in (dry, report)]
    assert diffs[0] == diffs[1]

    new, new_controller = in_use(mesh, FIRST), (mesh.state / "client.crt").read_text()
    for former, now in ((old, new), (old_controller, new_controller)):
        assert (expiry_of(now) - NOW).days > 3640
        assert same_key(former, now)
        for name in HOSTS:
            assert fingerprint_of(now) in trusted(mesh, name)
            assert fingerprint_of(former) not in trusted(mesh, name)
            assert fingerprint_of(former) not in mesh.sh(name, f"cat {CREATED}")
    assert (mesh.state / "client.crt").stat().st_mode & 0o777 == 0o600
    assert mesh.sh(FIRST, f"stat -c %a {CLIENT}/client.crt; ls {CLIENT}").split() == [
        "600", "client.crt", "client.key", "config.yml", "servercerts",
    ]  # fmt: skip
    assert not (mesh.state / "client.crt.next").exists()
    assert all_edges_work(mesh)
    assert silent(mesh)
    provisioned = mesh.provision()
    assert (provisioned["exit"], steps(provisioned)) == (0, {})
    assert edges(provisioned) == all_ok(*HOSTS)


def controller_name(mesh: Mesh) -> str:
    names = [line.split()[1] for line in mesh.sh(FIRST, f"cat {CREATED}").splitlines()]
    return next(name for name in names if "@" in name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_killed_is_finished_by_the_next(mesh: Mesh, stage: str) -> None:
    old, old_controller = known_everywhere(mesh)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.killed_renewal", stage, "certificates", "--inventory",
         str(mesh.folder / "mesh")],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "MESH_PASSWORD": PASSWORD},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    assert all_edges_work(mesh)
    if stage == "trusted by one":  # a provision in between takes nothing of it for drift
        between = mesh.provision("--phase", "lxd", "--phase", "remotes", "--prune")
        assert (between["exit"], steps(between)) == (0, {})
    status, report = maintain(mesh)
    assert status == 0, failures(report)
    assert all_edges_work(mesh)
    for former in (old, old_controller):
        for name in HOSTS:
            assert fingerprint_of(former) not in trusted(mesh, name)
    assert not (mesh.state / "client.crt.next").exists()
    assert mesh.sh(FIRST, f"ls {CLIENT} | grep -c next || true").strip() == "0"
    assert silent(mesh)
    final = mesh.provision()
    assert (final["exit"], steps(final)) == (0, {})
    assert {name: len(trusted(mesh, name)) for name in HOSTS} == dict.fromkeys(HOSTS, 4)


def test_what_a_host_cannot_be_told_of_waits_for_it(mesh: Mesh) -> None:
    known_everywhere(mesh)
    mesh.lab.power_off(THIRD)
    before = in_use(mesh, FIRST)
    status, report = maintain(mesh)
    assert status == 1
    said = messages(report, FIRST)
    assert f"client certificate {FIRST} expires in 4 days" in said
    assert f"a new one is used once these trust it too: {THIRD} (unreachable)" in said
    assert in_use(mesh, FIRST) == before
    again = maintain(mesh)[1]
    assert steps(again) == {}
    mesh.lab.power_on(THIRD)
    status, report = maintain(mesh)
    assert (status, failures(report)) == (0, {})
    assert in_use(mesh, FIRST) != before
    assert all_edges_work(mesh)
    assert silent(mesh)


def test_a_host_that_a_limit_leaves_out_is_not_written_to(mesh: Mesh) -> None:
    known_everywhere(mesh)
    before = trusted(mesh, THIRD)
    status, report = maintain(mesh, "--limit", FIRST)
    assert status == 1
    assert f"{THIRD} (not among what was selected)" in messages(report, FIRST)
    assert trusted(mesh, THIRD) == before
    assert maintain(mesh)[0] == 0
    assert silent(mesh)


def test_one_that_has_expired_is_told_and_renewed(mesh: Mesh) -> None:
    shorten(mesh, FIRST, -1)
    assert not all_edges_work(mesh)
    status, report = maintain(mesh)
    assert status == 1
    expired = f"{NOW - datetime.timedelta(days=1):%Y-%m-%d}"
    assert f"client certificate {FIRST} expired on {expired}" in messages(report, FIRST)
    assert steps(report) == {FIRST: [("certificates", "renew", f"client certificate {FIRST}")]}
    assert all_edges_work(mesh)
    assert mesh.provision()["exit"] == 0
    assert silent(mesh)


FOREIGN = f"""
printf '  theirs: {{addr: "https://192.0.2.1:8443", auth_type: tls, protocol: lxd}}\\n' >/run/theirs
sed -i '/^remotes:/r /run/theirs' {CLIENT}/config.yml
"""


def test_one_that_servers_outside_of_the_fleet_know_stays(mesh: Mesh) -> None:
    ends, _ = known_everywhere(mesh)
    mesh.sh(FIRST, FOREIGN)
    status, report = maintain(mesh)
    assert status == 1
    assert "root has remotes that are not of this fleet (theirs)" in messages(report, FIRST)
    assert in_use(mesh, FIRST) == ends
    mesh.sh(FIRST, f"sed -i '/theirs:/d' {CLIENT}/config.yml")
    assert maintain(mesh)[0] == 0
    assert silent(mesh)


def test_a_servers_own_is_told_with_what_to_do_which_does_it(mesh: Mesh) -> None:
    served = shorten(mesh, SECOND, 5, folder="/var/lib/lxd", name="server")
    mesh.sh(SECOND, "systemctl restart lxd; lxd waitready --timeout=60")
    assert mesh.provision()["exit"] == 0
    status, report = maintain(mesh)
    assert (status, list(failures(report))) == (1, [SECOND])
    said = messages(report, SECOND)
    assert "the certificate of its LXD server expires in 4 days" in said
    assert "move server.crt and server.key out of /var/lib/lxd, then systemctl restart lxd" in said
    remedy = "cd /var/lib/lxd && mv server.crt server.key /root && systemctl restart lxd"
    mesh.sh(SECOND, f"{remedy}; lxd waitready --timeout=60")
    provisioned = mesh.provision()
    assert (provisioned["exit"], edges(provisioned)) == (0, all_ok(*HOSTS))
    pinned = (mesh.state / "servers" / f"{SECOND}.crt").read_text()
    assert ssl.PEM_cert_to_DER_cert(pinned) != ssl.PEM_cert_to_DER_cert(served)
    assert all_edges_work(mesh)
    assert silent(mesh)
