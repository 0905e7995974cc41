"""The health of a machine: what its reading says, the script that reads, the task as a whole."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from nornir.core import Nornir
from nornir.core.inventory import Groups, Inventory
from nornir.core.state import GlobalState
from nornir.plugins.runners import SerialRunner

from tasks import transport
from tasks.errors import NoAnswerError
from tasks.exec_shell import ExecShell
from tasks.intent.health import (
    ClockCheck,
    CommandCheck,
    DiskCheck,
    HealthCheck,
    HttpCheck,
    MemoryCheck,
    PortCheck,
    ServiceCheck,
    SipCheck,
)
from tasks.intent.model import Container, LxdHost, Machine, Ssh
from tasks.maintenance.health import check_health
from tasks.maintenance.reading import Interval, Reading, asked, found, judge, parse
from tasks.onhost import on_host
from tasks.run import run_of
from tasks.shell import Completed
from tasks.ssh.connection import SshShell
from tasks.ssh.login import tcp_socket
from tasks.ssh.tunnel import as_socket
from tests.http_server import certificate_of, serving
from tests.sip_server import SipServer, well
from tests.sshd import Sshd, free_port
from tests.test_transport import hosts_of, needs_sshd

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "health.yaml").read_text())["health"]
KINDS: dict[str, Any] = {
    "service": ServiceCheck,
    "port": PortCheck,
    "disk": DiskCheck,
    "memory": MemoryCheck,
    "clock": ClockCheck,
    "command": CommandCheck,
}
ALWAYS = Interval(0, 1)


def check_of(written: dict[str, Any]) -> HealthCheck:
    ((kind, value),) = written.items()
    check: HealthCheck = KINDS[kind](**value) if isinstance(value, dict) else KINDS[kind](value)
    return check


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_wrong_with_a_machine(case: dict[str, Any]) -> None:
    checks = [check_of(written) for written in case["checks"]]
    reading = parse(case["output"])
    assert judge(checks, reading, Interval(*case.get("between", (0, 1)))) == case["problems"]
    if "found" in case:
        assert found(checks, reading) == case["found"]


def test_what_is_asked_and_how_long_that_takes() -> None:
    checks: list[HealthCheck] = [
        ServiceCheck("ssh"), PortCheck(22), DiskCheck(80), DiskCheck(80, "/srv"), MemoryCheck(9),
        CommandCheck("a: b", 7), CommandCheck("a: b", 7), CommandCheck("a: b"), ClockCheck(1),
    ]  # fmt: skip
    arguments, deadline = asked(checks)
    assert arguments == [
        "service:ssh", "port:22", "disk:/srv", "memory:", "clock:",
        "command:7:a: b", "command:10:a: b",
    ]  # fmt: skip
    assert deadline == 60 + 22 + 7 + 6 + 10 + 6


class TestScript:
    """health.sh on this machine, with the sh that is here."""

    def read(self, *checks: HealthCheck) -> Reading:
        arguments, deadline = asked(checks)
        done = subprocess.run(
            ["sh", "-c", on_host("health", *arguments)],
            input="what is no command's business\n",
            capture_output=True,
            text=True,
            timeout=deadline,
            check=True,
        )
        assert done.stderr == ""
        return parse(done.stdout)

    def problems(self, *checks: HealthCheck) -> list[str]:
        """What is wrong of what is asked; how full this machine is does not matter here."""
        reading = self.read(*checks)
        reading.failed.clear()
        return judge((DiskCheck(100), *checks), reading, ALWAYS)

    def test_the_root_file_system_is_always_read(self) -> None:
        reading = self.read()
        assert list(reading.disk) == list(reading.inodes) == ["/"]
        assert 0 <= reading.disk["/"] <= 100

    def test_other_mount_points(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("/proc")
        linked = str(tmp_path / "link")
        missing = str(tmp_path / "missing")
        reading = self.read(
            *(DiskCheck(90, path) for path in ("/proc", linked, str(tmp_path), missing))
        )
        assert reading.disk.keys() == reading.inodes.keys() == {"/", "/proc", linked}
        assert reading.unmounted == {str(tmp_path), missing}

    def test_ports(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            closed = free_port()
            assert self.problems(PortCheck(port), PortCheck(closed)) == [
                f"nothing listens on TCP port {closed}"
            ]

    def test_memory(self) -> None:
        reading = self.read(MemoryCheck(100))
        with Path("/proc/meminfo").open() as lines:
            total = int(next(line for line in lines if line.startswith("MemTotal:")).split()[1])
        assert reading.memory["total"] == total
        assert 0 < reading.memory["available"] <= total
        assert not self.read().memory

    @pytest.mark.parametrize(
        ("files", "seen"),
        [
            (
                {
                    "memory.max": "536870912",
                    "memory.current": "314572800",
                    "memory.stat": "anon 1\ninactive_file 104857600\nactive_file 5\n",
                },
                {"limit": 524288, "used": 204800},
            ),
            ({"memory.max": "max", "memory.current": "314572800"}, {}),
            (
                {
                    "memory/memory.limit_in_bytes": "9223372036854771712",
                    "memory/memory.usage_in_bytes": "314572800",
                    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 104857600\n",
                },
                {"limit": 9007199254740988, "used": 204800},
            ),
            ({}, {}),
        ],
        ids=["version 2", "version 2 without a limit", "version 1", "none"],
    )
    def test_the_memory_of_a_cgroup(
        self, files: dict[str, str], seen: dict[str, int], tmp_path: Path
    ) -> None:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        script = on_host("health", "memory:").replace("/sys/fs/cgroup", str(tmp_path))
        done = subprocess.run(
            ["sh"], input=script, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stderr == ""
        memory = parse(done.stdout).memory
        assert {what: memory[what] for what in memory if what in ("limit", "used")} == seen

    def test_the_clock_is_told_at_both_ends(self) -> None:
        before = time.time()
        reading = self.read(ClockCheck(1), CommandCheck("sleep 1"))
        after = time.time()
        assert before - 0.01 <= reading.clock[0] <= reading.clock[1] - 1 <= after - 1 + 0.01
        assert judge([ClockCheck(1), DiskCheck(100)], reading, Interval(before, after)) == []
        (drift,) = judge(
            [ClockCheck(1), DiskCheck(100)], reading, Interval(before + 60, after + 60)
        )
        assert drift.startswith("clock: 60.") or drift.startswith("clock: 59.")
        assert drift.endswith("s behind the controller's, more than 1 s")

    @pytest.mark.parametrize(
        "command",
        [
            "test \"it's\" = 'it'\"'\"'s'",
            "true\n# a comment\ntrue",
            "test '$HOME `x` \\ %s' = \"\\$HOME \\`x\\` \\\\ %s\"",
            "! read -r line",  # it gets no input, least of all the script's own
            ": ü\t; true",
            "-none 2>/dev/null || true",
        ],
    )
    def test_a_command_arrives_as_it_is_written(self, command: str) -> None:
        assert self.problems(CommandCheck(command)) == []

    def test_commands_that_fail(self) -> None:
        assert self.problems(
            CommandCheck("echo one; echo two >&2; printf three; exit 3"),
            CommandCheck("true"),
            CommandCheck("no-such-command-here 2>/dev/null"),
        ) == [
            "command `echo one; echo two >&2; printf three; exit 3` ended with exit status 3, "
            "expected 0: one / two / three",
            "command `no-such-command-here 2>/dev/null` ended with exit status 127, expected 0",
        ]

    def test_only_the_end_of_what_a_command_says(self) -> None:
        (problem,) = self.problems(CommandCheck("seq 100000; head -c 10000 /dev/zero; exit 1"))
        assert len(problem) < 3000
        (problem,) = self.problems(CommandCheck("seq 100000; exit 1"))
        assert problem.endswith("99998 / 99999 / 100000")

    def test_a_command_that_does_not_end_in_time(self) -> None:
        started = time.monotonic()
        problems = self.problems(
            CommandCheck("echo begun; sleep 60", 1),
            CommandCheck("trap '' TERM; while :; do sleep 1; done", 1),
            CommandCheck("yes", 1),
        )
        assert len(problems) == 3
        assert all("` did not end within 1 s" in problem for problem in problems)
        assert "begun" in problems[0]
        assert time.monotonic() - started < 10

    def test_what_a_command_leaves_running_does_not_hold_it_up_for_long(self) -> None:
        started = time.monotonic()
        assert self.problems(
            CommandCheck("sleep 20 >/dev/null 2>&1 & true", 1), CommandCheck("sleep 20 &", 1)
        ) == ["command `sleep 20 &` left something running that keeps its output open"]
        assert time.monotonic() - started < 15


class Box:
    """A plain machine that is this one, by a real sshd, and what its health is."""

    def __init__(self, folder: Path, sshd: Sshd) -> None:
        key = sshd.public(sshd.host_keys["ed25519"])
        self.ssh = Ssh("127.0.0.1", sshd.port, sshd.user, sshd.user_key, key)
        self.folder = folder
        self.execs = 0

    def health(self, *checks: HealthCheck, machine: Machine | None = None) -> dict[str, Any]:
        box = machine or Machine("box", self.ssh)
        lxd_host = LxdHost("lxd", self.ssh)
        hosts = hosts_of(self.folder, lxd_host, replace(box, health=(DiskCheck(100), *checks)))
        host = hosts[box.name]
        nr = Nornir(
            Inventory(hosts, Groups(), host.defaults), runner=SerialRunner(), data=GlobalState()
        )
        try:
            (result,) = nr.filter(name=box.name).run(task=check_health)[box.name]
        finally:
            nr.close_connections()
        self.execs = run_of(host).exchanges.get(box.name, {"execs": 0})["execs"]
        assert isinstance(result.result, dict)
        return result.result


@needs_sshd
class TestCheckHealth:
    @pytest.fixture
    def box(self, tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Box:
        # how this machine's own units do is not the question
        monkeypatch.setattr("tasks.maintenance.reading._units", lambda _: iter(()))
        return Box(tmp_path, sshd)

    @pytest.fixture
    def tunnels(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
        """What was connected to through SSH."""
        made: list[tuple[str, int]] = []
        tunnel = SshShell.tunnel

        def noted(shell: SshShell, hostname: str, port: int, *, deadline: float) -> Any:
            made.append((hostname, port))
            return tunnel(shell, hostname, port, deadline=deadline)

        monkeypatch.setattr(SshShell, "tunnel", noted)
        return made

    @pytest.fixture
    def no_way(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing but the box's sshd can be reached from here."""

        def refuse(hostname: str, port: int, *, where: str, deadline: float) -> socket.socket:
            if port != box.ssh.port:
                raise NoAnswerError(f"no connection to {hostname} port {port}", where=where)
            return tcp_socket(hostname, port, where=where, deadline=deadline)

        monkeypatch.setattr(transport, "tcp_socket", refuse)

    def test_all_that_is_on_the_machine_is_one_exchange(self, box: Box, sshd: Sshd) -> None:
        entry = box.health(
            PortCheck(sshd.port),
            DiskCheck(100, "/proc"),
            MemoryCheck(100),
            ClockCheck(1),
            CommandCheck("true"),
            CommandCheck("test -e /\n# the end"),
        )
        assert entry["status"] == "ok", entry["message"]
        assert re.fullmatch(r"disk \d+ %, inodes \d+ %, memory \d+ %", entry["message"])
        assert box.execs == 1

    def test_all_that_is_wrong_is_told_at_once(
        self, box: Box, tunnels: list[tuple[str, int]]
    ) -> None:
        closed = free_port()
        with serving() as server, SipServer("udp", lambda *_: []) as mute:
            entry = box.health(
                PortCheck(closed),
                CommandCheck("echo no && false"),
                HttpCheck(f"http://127.0.0.1:{server.port}/500"),
                SipCheck("127.0.0.1", closed, "tcp"),
                SipCheck("127.0.0.1", mute.port),
            )
        assert entry["status"] == "failed"
        assert entry["message"].removeprefix("box: ").split("; ") == [
            f"nothing listens on TCP port {closed}",
            "command `echo no && false` ended with exit status 1, expected 0: no",
            f"http http://127.0.0.1:{server.port}/500: answers 500 Internal Server Error, "
            "expected 200",
            f"sip 127.0.0.1:{closed}/tcp: 127.0.0.1 is the machine's own, and through the SSH of "
            f"box there is no connection to port {closed} either (Connect failed), "
            "expected 2xx",
            f"sip 127.0.0.1:{mute.port}/udp: no final response within 5 s to 4 requests",
            "UDP is asked from the controller, it does not go through SSH, expected 2xx",
        ]
        assert tunnels == [("127.0.0.1", server.port), ("127.0.0.1", closed)]
        assert box.execs == 1

    def test_what_cannot_be_reached_from_here_is_asked_through_ssh(
        self, box: Box, tunnels: list[tuple[str, int]], no_way: None
    ) -> None:
        address = own_address()
        with serving(address=address) as server, SipServer("tcp", address=address) as sip:
            entry = box.health(
                HttpCheck(f"http://{address}:{server.port}/404", (404,)),
                SipCheck(address, sip.port, "tcp"),
            )
        assert entry["status"] == "ok", entry["message"]
        assert sorted(tunnels) == sorted([(address, server.port), (address, sip.port)])
        assert re.search(r"Via: SIP/2.0/TCP \w+\.invalid:5060;", sip.requests[0])

    def test_what_can_be_is_asked_from_here(self, box: Box, tunnels: list[tuple[str, int]]) -> None:
        address = own_address()
        with serving(address=address) as server, SipServer("tcp", address=address) as sip:
            entry = box.health(
                HttpCheck(f"http://{address}:{server.port}/"), SipCheck(address, sip.port, "tcp")
            )
        assert entry["status"] == "ok", entry["message"]
        assert tunnels == []
        assert f"Via: SIP/2.0/TCP {address}:" in sip.requests[0]

    def test_https_through_ssh(
        self, box: Box, tunnels: list[tuple[str, int]], tmp_path: Path
    ) -> None:
        pem, context = certificate_of("127.0.0.1", tmp_path)
        with serving(context) as server:
            url = f"https://127.0.0.1:{server.port}/"
            assert box.health(HttpCheck(url, ca=pem))["status"] == "ok"
            entry = box.health(HttpCheck(url))
        assert "its certificate is not trusted" in entry["message"]
        assert tunnels == [("127.0.0.1", server.port)] * 2

    def test_a_large_answer_through_ssh_holds_nothing_up(self, sshd: Sshd) -> None:
        shell = sshd.shell()
        data = os.urandom(3_000_000)
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
            there = pool.submit(echo, server)
            with as_socket(shell.tunnel("127.0.0.1", server.getsockname()[1], deadline=5)) as sock:
                sock.settimeout(20)
                sender = threading.Thread(target=sock.sendall, args=(data,))
                sender.start()
                received = bytearray()
                while len(received) < len(data):
                    received += sock.recv(1 << 16)
                sender.join()
            assert there.result(10) == len(data)
        assert received == data
        shell.close()

    @pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_tunnel_ends_with_its_connection(self, sshd: Sshd) -> None:
        for _ in range(20):
            shell = sshd.shell()
            with (
                socket.create_server(("127.0.0.1", 0)) as server,
                as_socket(shell.tunnel("127.0.0.1", server.getsockname()[1], deadline=5)) as sock,
            ):
                sock.settimeout(10)
                shell.close()
                assert sock.recv(1) == b""
            for thread in threading.enumerate():
                if thread.name.endswith("a tunnel"):
                    thread.join(5)
                    assert not thread.is_alive()

    def test_services_are_asked_side_by_side(self, box: Box) -> None:
        def late(request: str, before: int) -> list[bytes]:
            time.sleep(1)
            return well(request, before)

        with ExitStack() as stack:
            servers = [stack.enter_context(SipServer("tcp", late)) for _ in range(6)]
            started = time.monotonic()
            entry = box.health(*(SipCheck("127.0.0.1", one.port, "tcp") for one in servers))
            assert time.monotonic() - started < 4
        assert entry["status"] == "ok", entry["message"]

    def test_a_machine_without_ssh_is_unreachable_and_its_services_are_told(self, box: Box) -> None:
        box.ssh = replace(box.ssh, port=free_port())
        address = own_address()
        with serving(address=address) as server:
            entry = box.health(
                HttpCheck(f"http://{address}:{server.port}/"),
                HttpCheck(f"http://{address}:{server.port}/503"),
                HttpCheck("http://127.0.0.1:1/"),
            )
        assert entry["status"] == "unreachable"
        assert f"box: 127.0.0.1 refuses connections to port {box.ssh.port}" in entry["message"]
        first, second = entry["notes"]
        assert first.startswith(f"http http://{address}:{server.port}/503: answers 503")
        assert second == "http http://127.0.0.1:1/: 127.0.0.1 is the machine's own, expected 200"

    def test_a_container_without_ssh_is_asked_through_its_lxd_host(
        self,
        box: Box,
        tunnels: list[tuple[str, int]],
        no_way: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(
            ExecShell, "run", lambda *_, **__: Completed(0, b"disk / 1\ninodes / 1\n", b"")
        )
        web = Container("web", Ssh(""), on="lxd")
        address = own_address()
        with serving(address=address) as server:
            url = f"http://{address}:{server.port}/"
            entry = box.health(HttpCheck(url), machine=web)
            assert entry["status"] == "ok", entry["message"]
            assert tunnels == [(address, server.port)]
            entry = box.health(HttpCheck("http://127.0.0.1:8080/"), machine=web)
        assert (
            "http http://127.0.0.1:8080/: 127.0.0.1 is the machine's own, which has no SSH"
            in entry["message"]
        )
        assert len(tunnels) == 1


def own_address() -> str:
    """An address of this machine that is not a loopback one, where it has any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback ones")
        return str(sock.getsockname()[0])


def echo(server: socket.socket) -> int:
    """Send back to one client what it sends; how much that was."""
    connection, _ = server.accept()
    count = 0
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)
            count += len(data)
    return count
