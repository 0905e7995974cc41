"""Which shell reaches which machine: against a local sshd, and into containers on the lab."""

from __future__ import annotations

import io
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from nornir.core.inventory import Defaults, Host, Hosts
from nornir.core.plugins.connections import ConnectionPluginRegister

from tasks import transport
from tasks.certificate import ClientCertificate
from tasks.configure.task import configure_system
from tasks.errors import (
    DeadlineError,
    HostKeyError,
    LockedError,
    LoginError,
    LxdCertificateError,
    LxdUntrustedError,
    NoAnswerError,
    UnreachableError,
    UsageError,
)
from tasks.exec_shell import ExecShell
from tasks.intent.model import Container, Intent, LxdHost, Machine, Ssh
from tasks.lxd_api.api import LxdApi
from tasks.lxd_api.connection import LxdConnection, api_of
from tasks.maintenance.health import check_health
from tasks.prove import prove_machine
from tasks.run import RUN_KEY, Run, run_of
from tasks.shell import Completed
from tasks.ssh.connection import ShellConnection
from tasks.ssh.host_lock import take_lock
from tasks.state import StateFolder
from tasks.transport import (
    NO_ADDRESS,
    MachineShell,
    exec_notes,
    exec_shell_of,
    lock_host,
    shell_of,
    ssh_shell_of,
)
from tests import lab as lab_places
from tests.lab import HOST_ADDRESSES, HOST_NAMES, Lab
from tests.machines import HOST, container_of, fleet_of, run_on
from tests.sshd import Sshd, fingerprint, free_port, make_key, why_no_sshd

NAME = "transport-test"
#: Reserved for documentation (RFC 5737): nobody has it, so it can be made unreachable here.
FAR_AWAY = "203.0.113.77"
needs_sshd = pytest.mark.skipif(bool(why_no_sshd()), reason=why_no_sshd())


def hosts_of(folder: Path, *machines: Machine, **options: object) -> Hosts:
    """Nornir hosts of machines, as ``open_fleet`` would give them."""
    for name, plugin in (("shell", ShellConnection), ("lxd", LxdConnection)):
        ConnectionPluginRegister.register(name, plugin)
    kinds: dict[str, dict[str, Machine]] = {"lxd": {}, "container": {}, "machine": {}}
    for machine in machines:
        kinds[machine.kind][machine.name] = machine
    intent = Intent(
        folder, kinds["lxd"], kinds["container"], kinds["machine"], {}, {}, {}  # type: ignore[arg-type]  # sorted by kind
    )  # fmt: skip
    defaults = Defaults(data={"of": "test"})
    hosts = Hosts(
        {
            m.name: Host(
                m.name,
                hostname=m.ssh.hostname,
                port=m.ssh.port,
                username=m.ssh.username,
                defaults=defaults,
            )
            for m in machines
        }
    )
    run = Run(intent, StateFolder(folder / "state"), hosts=hosts, **options)  # type: ignore[arg-type]  # the caller's
    defaults.data[RUN_KEY] = run
    return hosts


@pytest.fixture
def box(sshd: Sshd) -> LxdHost:
    """An LXD host, as far as SSH goes."""
    key = sshd.public(sshd.host_keys["ed25519"])
    return LxdHost("box", Ssh("127.0.0.1", sshd.port, sshd.user, sshd.user_key, key))


@pytest.fixture
def host(tmp_path: Path, box: LxdHost) -> Iterator[Host]:
    opened = hosts_of(tmp_path, box)["box"]
    yield opened
    opened.close_connections()


@needs_sshd
class TestConnection:
    def test_one_connection_for_all_threads(self, sshd: Sshd, host: Host) -> None:
        before = logins(sshd)
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda n: shell_of(host).run(f"echo {n}"), range(16)))
        assert [one.text for one in done] == [f"{n}\n" for n in range(16)]
        assert logins(sshd) == before + 1
        sent = sum(len(f"echo {n}") for n in range(16))
        received = sum(len(one.stdout) + len(one.stderr) for one in done)
        assert run_of(host).exchanges == {
            "box": {"execs": 16, "requests": 0, "sent": sent, "received": received}
        }

    def test_opened_again_after_it_broke(self, sshd: Sshd, host: Host) -> None:
        shell = shell_of(host)
        with pytest.raises(UnreachableError, match="broke while a command ran"):
            shell.run("kill -9 $PPID; sleep 5")
        before = logins(sshd)
        assert shell.run("echo again").text == "again\n"
        assert logins(sshd) == before + 1

    def test_opened_again_where_nobody_noticed(self, sshd: Sshd, host: Host) -> None:
        shell = shell_of(host)
        shell.run("true")
        sshd.cut()
        assert shell.run("echo again").text == "again\n"

    def test_opened_again_after_nornir_closed_it(self, host: Host) -> None:
        shell = shell_of(host)
        host.close_connections()
        assert shell.run("echo again").text == "again\n"

    def test_the_last_good_address_is_tried(
        self, tmp_path: Path, box: LxdHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.transport.CONNECT_DEADLINE", 0.3)
        good = hosts_of(tmp_path, box)["box"]
        shell_of(good)
        good.close_connections()
        with unreachable_here(FAR_AWAY):
            moved = hosts_of(tmp_path, replace(box, ssh=replace(box.ssh, hostname=FAR_AWAY)))["box"]
            assert shell_of(moved).run("echo there").text == "there\n"
            moved.close_connections()
            (tmp_path / "state" / "addresses" / "box").unlink()
            lost = hosts_of(tmp_path, replace(box, ssh=replace(box.ssh, hostname=FAR_AWAY)))["box"]
            with pytest.raises(UnreachableError, match=f"box: no .* {FAR_AWAY}"):
                shell_of(lost)

    def test_a_host_key_is_learned_for_good_but_not_in_a_dry_run(
        self, sshd: Sshd, tmp_path: Path, box: LxdHost
    ) -> None:
        unknown = replace(box, ssh=replace(box.ssh, host_key=None))
        shown = {"box": fingerprint(sshd.folder / "host_ed25519.pub")}
        for options in ({"dry_run": True}, {"dry_run": False}):
            with pytest.raises(HostKeyError, match="--host-key box=SHA256"):
                shell_of(hosts_of(tmp_path, unknown, **options)["box"])
            given = hosts_of(tmp_path, unknown, host_keys=shown, **options)["box"]
            shell_of(given).run("true")
            given.close_connections()
            assert (tmp_path / "state").exists() != options["dry_run"]
        known = hosts_of(tmp_path, unknown)["box"]
        shell_of(known).run("true")
        known.close_connections()

    def test_closed_port(self, tmp_path: Path, box: LxdHost) -> None:
        port = free_port()
        closed = hosts_of(tmp_path, replace(box, ssh=replace(box.ssh, port=port)))["box"]
        with pytest.raises(UnreachableError, match=f"box: .*refuses .* port {port}"):
            shell_of(closed)


@needs_sshd
class TestChoice:
    """A container on the box, whose own SSH is the same sshd, or is not there."""

    @pytest.fixture
    def there(self, tmp_path: Path, box: LxdHost) -> Iterator[Callable[..., Host]]:
        opened: list[Host] = []

        def make(on: LxdHost = box, **ssh: object) -> Host:
            inside = replace(box.ssh, **ssh)  # type: ignore[arg-type]  # the caller's
            hosts = hosts_of(tmp_path, on, Container("web-01", inside, on="box"))
            opened.extend(hosts.values())
            return hosts["web-01"]

        yield make
        for host in opened:
            host.close_connections()

    def test_ssh_where_it_answers(self, there: Callable[..., Host]) -> None:
        host = there()
        assert isinstance(shell_of(host), MachineShell)
        assert exec_notes(host) == ()

    def test_exec_where_nothing_answers_for_the_rest_of_the_run(
        self, there: Callable[..., Host]
    ) -> None:
        port = free_port()
        host = there(port=port)
        assert isinstance(shell_of(host), ExecShell)
        why = f"through lxc exec on box: 127.0.0.1 refuses connections to port {port}"
        assert exec_notes(host) == (why,)
        with socket.create_server(("127.0.0.1", port)):
            assert isinstance(shell_of(host), ExecShell)

    def test_ssh_again_once_it_was_asked_for_and_answered(self, there: Callable[..., Host]) -> None:
        host = there()
        run_of(host).over_exec["web-01"] = "of an earlier phase"
        ssh_shell_of(host)
        assert exec_notes(host) == ()
        assert isinstance(shell_of(host), MachineShell)

    def test_exec_where_no_address_is_declared(self, there: Callable[..., Host]) -> None:
        host = there(hostname="")
        with pytest.raises(NoAnswerError, match=f"web-01: {NO_ADDRESS}"):
            ssh_shell_of(host)
        assert isinstance(shell_of(host), ExecShell)
        assert exec_notes(host) == (f"through lxc exec on box: {NO_ADDRESS}",)

    def test_never_where_another_key_or_an_unknown_one_is_shown(
        self, there: Callable[..., Host], tmp_path: Path
    ) -> None:
        other = make_key(tmp_path / "other").with_name("other.pub").read_text()
        for key in (" ".join(other.split()[:2]), None):
            host = there(host_key=key)
            with pytest.raises(HostKeyError, match="web-01"):
                shell_of(host)
            assert exec_notes(host) == ()

    def test_never_where_the_login_is_refused(
        self, there: Callable[..., Host], tmp_path: Path
    ) -> None:
        host = there(key_file=make_key(tmp_path / "mine"))
        with pytest.raises(LoginError, match="web-01: it refused the login"):
            shell_of(host)
        assert exec_notes(host) == ()

    def test_never_where_what_answers_is_no_ssh_server(self, there: Callable[..., Host]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute, ThreadPoolExecutor(1) as pool:
            pool.submit(hang_up, mute)
            host = there(port=mute.getsockname()[1])
            with pytest.raises(UnreachableError, match="web-01: no SSH session"):
                shell_of(host)
        assert exec_notes(host) == ()

    def test_nothing_where_the_lxd_host_does_not_answer_either(
        self, there: Callable[..., Host], box: LxdHost
    ) -> None:
        port = free_port()
        host = there(on=replace(box, ssh=replace(box.ssh, port=port)), port=port)
        with pytest.raises(UnreachableError, match=f"box: .*refuses .* port {port}"):
            shell_of(host)


class Stopped:
    """Stands in for ``lxc exec`` into a container: its shell says what a read or a check prints."""

    where = "web-01"

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        if "read_files" in script:
            return Completed(0, READ, b"")
        return Completed(0, b"disk / 10\ninodes / 10\n", b"")


#: Of a container that is as it is declared to be, but for its sshd.
READ = b"system running\nhostname web-01\ntimezone Etc/UTC\nend\n"


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("127.0.0.1", {"configure": "ok", "prove": "failed", "health": "failed"}),
        ("", {"configure": "ok", "prove": "ok", "health": "ok"}),
    ],
)
def test_what_a_record_says_of_exec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostname: str, expected: dict[str, str]
) -> None:
    monkeypatch.setattr("tasks.transport.ExecShell", lambda *_: Stopped())
    live = transport._live
    monkeypatch.setattr(transport, "_live", lambda host: None if host.name == HOST else live(host))
    port = free_port()
    container = container_of("web-01", "127.0.0.1", ssh=Ssh(hostname, port), attachments={})
    nr = fleet_of(tmp_path, container)
    why = f"127.0.0.1 refuses connections to port {port}" if hostname else NO_ADDRESS
    for phase, task in (
        ("configure", configure_system), ("prove", prove_machine), ("health", check_health),
    ):  # fmt: skip
        entry = run_on(nr, "web-01", task)
        assert entry["status"] == expected[phase], entry["message"]
        if expected[phase] == "failed":
            assert f"SSH does not answer: {why}" in entry["message"]
        else:
            assert f"through lxc exec on {HOST}: {why}" in entry["notes"]


@needs_sshd
class TestLock:
    @pytest.fixture(autouse=True)
    def lock_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tasks.ssh.host_lock.LOCK_FILE", str(tmp_path / "lock"))

    def as_another(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        """Try to take the lock as another controller would."""
        shell = sshd.shell()
        with monkeypatch.context() as patch:
            patch.setattr("tasks.ssh.host_lock.TOKEN", "another")
            try:
                take_lock(shell).close()
            finally:
                shell.close()

    def test_taken_once_and_released(
        self, sshd: Sshd, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock_host(host)
        lock_host(host)
        assert run_of(host).exchanges["box"]["execs"] == 1
        with pytest.raises(LockedError):
            self.as_another(sshd, monkeypatch)
        run_of(host).locks["box"].close()
        self.retry(sshd, monkeypatch)

    def test_released_with_the_connection(
        self, sshd: Sshd, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock_host(host)
        host.close_connections()
        self.retry(sshd, monkeypatch)

    def test_taken_again_with_a_new_connection(
        self, sshd: Sshd, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lock_host(host)
        sshd.cut()
        shell_of(host).run("true")
        with pytest.raises(LockedError):
            self.as_another(sshd, monkeypatch)

    def retry(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        """The host's side ends a moment later than ours."""
        until = time.monotonic() + 10
        while True:
            try:
                self.as_another(sshd, monkeypatch)
                return
            except LockedError:
                assert time.monotonic() < until
                time.sleep(0.1)


class TestApi:
    def test_without_trust_or_pin_it_says_which_phase_makes_them(self, tmp_path: Path) -> None:
        host = hosts_of(tmp_path, LxdHost("box", Ssh("127.0.0.1")))["box"]
        with pytest.raises(LxdUntrustedError, match=r"box: .*--phase lxd --limit box"):
            api_of(host)
        run_of(host).state.client_certificate(create=True)
        with pytest.raises(LxdCertificateError, match=r"box: no certificate .*--phase lxd"):
            api_of(host)

    def test_only_containers_have_an_exec_shell(self, tmp_path: Path) -> None:
        host = hosts_of(tmp_path, LxdHost("box", Ssh("127.0.0.1")))["box"]
        with pytest.raises(UsageError, match="box"):
            exec_shell_of(host)


@pytest.fixture(scope="module")
def inside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """A lab host and a running container of ours on it, with an address that is far from here."""
    folder = tmp_path_factory.mktemp("inside")
    name = HOST_NAMES[0]

    def sh(command: str, **options: object) -> str:
        done = lab.exec(name, command, **options)  # type: ignore[arg-type]  # the caller's
        assert done.returncode == 0, done.stderr
        return done.stdout

    key = lab_places.host_key(name).with_suffix(".pub").read_text()
    ssh = Ssh(HOST_ADDRESSES[name], 22, "root", lab_places.CLIENT_KEY, key)
    hosts = hosts_of(
        folder,
        LxdHost(name, ssh),
        Container(NAME, replace(ssh, hostname=FAR_AWAY), on=name, image=NAME),
        Container(f"{NAME}-none", replace(ssh, hostname=FAR_AWAY), on=name, image=NAME),
    )
    state = run_of(hosts[name]).state
    certificate = state.client_certificate(create=True)
    assert isinstance(certificate, ClientCertificate)
    sh("lxd waitready --timeout=60")
    state.write_pin(name, sh("cat /var/lib/lxd/server.crt"))
    listens = bool(sh("lxc config get core.https_address").strip())
    if not listens:
        sh("lxc config set core.https_address :8443")
    sh(
        f"f=$(mktemp); cat >$f; lxc config trust add $f --name {NAME}; rm $f",
        input=certificate.pem.encode(),
    )
    api = api_of(hosts[name])
    try:
        start_container(api, folder)
        yield hosts
    finally:
        for host in hosts.values():
            host.close_connections()
        sh(f"lxc delete -f {NAME}; lxc image delete {NAME}; lxc storage delete {NAME}", timeout=90)
        sh(f"lxc config trust remove {certificate.fingerprint}")
        if not listens:
            sh("lxc config unset core.https_address")


def start_container(api: LxdApi, folder: Path) -> None:
    """Our own container, from the lab's minimal image under a fingerprint of its own."""
    metadata, rootfs = lab_places.image("minimal")
    own = folder / "metadata.tar.gz"
    with tarfile.open(metadata) as old, tarfile.open(own, "w:gz") as new:
        for entry in old:
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
        new.addfile(tarfile.TarInfo("own"), io.BytesIO())
    api.post("/1.0/storage-pools", {"name": NAME, "driver": "dir", "config": {}})
    api.upload_image(own, rootfs, alias=NAME, properties={})
    root = {"type": "disk", "path": "/", "pool": NAME}
    body = {
        "name": NAME,
        "profiles": [],
        "source": {"type": "image", "alias": NAME},
        "devices": {"root": root},
    }
    api.post("/1.0/instances", body, deadline=120)
    api.put(f"/1.0/instances/{NAME}/state", {"action": "start"}, deadline=60)


@pytest.mark.lab
class TestExec:
    def test_status_outputs_and_input(self, inside: Hosts) -> None:
        shell = exec_shell_of(inside[NAME])
        done = shell.run("hostname; cat; echo wrong >&2; exit 7", stdin=b"data\n")
        assert (done.status, done.stdout, done.stderr) == (
            7, f"{NAME}\ndata\n".encode(), b"wrong\n",
        )  # fmt: skip
        assert run_of(inside[NAME]).exchanges[NAME]["execs"] >= 1

    def test_megabytes(self, inside: Hosts) -> None:
        data = bytes(range(256)) * 12_000
        script = "cat; head -c 3000000 /dev/zero >&2"
        done = exec_shell_of(inside[NAME]).run(script, stdin=data, deadline=60)
        assert done.stdout == data
        assert len(done.stderr) == 3_000_000

    def test_the_script_is_in_no_process_list(self, inside: Hosts) -> None:
        secret = "swordfish-in-a-script"
        listing = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
        with ThreadPoolExecutor(1) as pool:
            script = f"PASSWORD={secret}; {listing}; sleep 2"
            within = pool.submit(exec_shell_of(inside[NAME]).run, script)
            time.sleep(1)
            outside = shell_of(inside[HOST_NAMES[0]]).run(listing).text
            assert f"lxc exec {NAME}" in outside
            assert secret not in outside
            assert "eval" in within.result().text
            assert secret not in within.result().text

    def test_deadline(self, inside: Hosts) -> None:
        started = time.monotonic()
        shell = exec_shell_of(inside[NAME])
        with pytest.raises(DeadlineError, match=f"{NAME}: .*deadline of 1 s and was ended"):
            shell.run("sleep 98765; true", deadline=1)
        assert time.monotonic() - started < 5
        listing = shell.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").text
        assert "eval" in listing
        assert "sleep 98765" not in listing

    def test_deadline_of_what_does_not_listen(self, inside: Hosts) -> None:
        script = "trap '' TERM; while :; do sleep 1; done"
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            exec_shell_of(inside[NAME]).run(script, deadline=1)
        assert time.monotonic() - started < 12

    def test_it_leaves_nothing_behind(self, inside: Hosts) -> None:
        host = shell_of(inside[HOST_NAMES[0]])
        look = "ls -d /run/nornir-lxd-fleet.* 2>/dev/null; stat -c %y ~/.config/lxc/* 2>/dev/null"
        before = host.run(look).stdout
        exec_shell_of(inside[NAME]).run("true")
        assert host.run(look).stdout == before

    def test_no_such_container(self, inside: Hosts) -> None:
        with pytest.raises(UnreachableError, match=f"{NAME}-none: lxc exec on {HOST_NAMES[0]}"):
            exec_shell_of(inside[f"{NAME}-none"]).run("true")

    def test_a_stopped_container(self, inside: Hosts) -> None:
        api = api_of(inside[HOST_NAMES[0]])
        path = f"/1.0/instances/{NAME}/state"
        api.put(path, {"action": "stop", "timeout": 20, "force": True})
        try:
            with pytest.raises(UnreachableError, match=f"{NAME}: .*not running"):
                exec_shell_of(inside[NAME]).run("true")
        finally:
            api.put(path, {"action": "start", "timeout": 20})


@pytest.mark.lab
class TestTunnel:
    def test_through_the_lxd_host_where_there_is_no_way(self, lab: Lab, inside: Hosts) -> None:
        """The address is the LXD host's own, on no network: only from there it answers."""
        name = HOST_NAMES[0]
        lab.exec(name, f"ip address add {FAR_AWAY}/32 dev lo")
        try:
            with unreachable_here(FAR_AWAY):
                started = time.monotonic()
                done = shell_of(inside[NAME]).run("echo $SSH_CONNECTION; head -c 3000000 /dev/zero")
                assert time.monotonic() - started < 10
        finally:
            inside[NAME].close_connections()
            lab.exec(name, f"ip address del {FAR_AWAY}/32 dev lo")
        connection, zeros = done.stdout.split(b"\n", 1)
        assert connection.split()[2].decode() == FAR_AWAY
        assert len(zeros) == 3_000_000

    def test_nobody_there_either_and_so_by_exec(self, inside: Hosts) -> None:
        host = inside[NAME]
        with unreachable_here(FAR_AWAY):
            with pytest.raises(NoAnswerError, match=f"{NAME}: no .*not through {HOST_NAMES[0]}"):
                ssh_shell_of(host)
            assert shell_of(host).run("hostname").text == f"{NAME}\n"
        (note,) = exec_notes(host)
        run_of(host).over_exec.clear()
        assert note.startswith(f"through lxc exec on {HOST_NAMES[0]}: no connection to {FAR_AWAY}")


@pytest.mark.lab
class TestSudo:
    @pytest.fixture
    def user(self, lab: Lab, tmp_path: Path) -> Iterator[Host]:
        """A lab host, logged in to as a user of ours instead of root."""
        name, home = HOST_NAMES[0], f"/home/{NAME}"
        made = lab.exec(
            name,
            f"useradd -m -s /bin/sh {NAME} && mkdir {home}/.ssh && "
            f"cat >{home}/.ssh/authorized_keys && chown -R {NAME} {home}/.ssh",
            input=lab_places.client_public_key().read_bytes(),
        )
        assert made.returncode == 0, made.stderr
        key = lab_places.host_key(name).with_suffix(".pub").read_text()
        ssh = Ssh(HOST_ADDRESSES[name], 22, NAME, lab_places.CLIENT_KEY, key)
        host = hosts_of(tmp_path, LxdHost(name, ssh))[name]
        yield host
        host.close_connections()
        lab.exec(name, f"rm -f /etc/sudoers.d/{NAME}; userdel -rf {NAME}")

    def test_scripts_run_as_root(self, lab: Lab, user: Host) -> None:
        rule = f"{NAME} ALL=(ALL) NOPASSWD: ALL\n".encode()
        lab.exec(user.name, f"cat >/etc/sudoers.d/{NAME}", input=rule)
        done = shell_of(user).run("id -un; cat; exit 5", stdin=b"data\n")
        assert (done.status, done.text) == (5, "root\ndata\n")

    def test_without_the_right_to(self, user: Host) -> None:
        with pytest.raises(LoginError, match=f"{user.name}: {NAME} may not use sudo .*NOPASSWD"):
            shell_of(user).run("id -un")


@pytest.mark.lab
class TestSilence:
    def test_a_host_that_falls_silent_is_given_up(
        self, lab: Lab, inside: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As with a plug pulled: no packet comes back, and none says why."""
        monkeypatch.setattr("tasks.ssh.login.SILENCE", 3)
        monkeypatch.setattr("tasks.ssh.login.KEEPALIVE", 1)
        name = HOST_NAMES[0]
        ssh = run_of(inside[name]).intent.lxd_hosts[name].ssh
        route = [f"{FAR_AWAY}/32", "via", ssh.hostname]
        lab.exec(name, f"ip address add {FAR_AWAY}/32 dev lo")
        subprocess.run(["ip", "route", "add", *route], check=True, timeout=10)
        try:
            far = hosts_of(tmp_path, LxdHost("far", replace(ssh, hostname=FAR_AWAY)))["far"]
            shell = shell_of(far)
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(shell.run, "sleep 60", deadline=60)
                time.sleep(1)
                subprocess.run(["ip", "route", "del", *route], check=True, timeout=10)
                with blackhole(FAR_AWAY):
                    started = time.monotonic()
                    with pytest.raises(UnreachableError, match="far: the SSH connection broke"):
                        running.result()
                    assert time.monotonic() - started < 30
        finally:
            subprocess.run(["ip", "route", "del", *route], timeout=10, check=False)
            lab.exec(name, f"ip address del {FAR_AWAY}/32 dev lo")


class unreachable_here:  # noqa: N801 - a context manager, used like a function
    """No route from this machine to an address, for as long as the context lasts."""

    kind = "unreachable"

    def __init__(self, address: str) -> None:
        self.route = [self.kind, f"{address}/32"]

    def __enter__(self) -> None:
        subprocess.run(["ip", "route", "add", *self.route], check=True, timeout=10)

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "route", "del", *self.route], check=True, timeout=10)


class blackhole(unreachable_here):  # noqa: N801 - as above
    """What is sent to an address is lost without a word, for as long as the context lasts."""

    kind = "blackhole"


def hang_up(server: socket.socket) -> None:
    """Take one connection and end it without a word."""
    server.accept()[0].close()


def logins(sshd: Sshd) -> int:
    """How many logins the server has let in."""
    return (sshd.folder / "log").read_text().count("Accepted publickey")
