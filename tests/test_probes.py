"""HTTP and SIP as they are asked from the controller, with real servers on this machine."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import NoAnswerError
from tasks.intent.health import HttpCheck, SipCheck
from tasks.maintenance.probes.http import probe_http
from tasks.maintenance.probes.sip import Options, parse, retransmissions
from tasks.maintenance.probes.sip_exchange import probe_sip
from tests.http_server import certificate_of, serving
from tests.sip_server import Answers, SipServer, response
from tests.sshd import free_port

SIP_CASES = yaml.safe_load((Path(__file__).parent / "cases" / "sip.yaml").read_text())
OURS = Options("192.0.2.9", 5060, "udp", "192.0.2.1:5062", "z9hG4bKa", "t", "c@d", 7)


def connect(host: str, port: int, deadline: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=deadline)


def never(host: str, port: int, deadline: float) -> socket.socket:
    raise AssertionError(f"{host} port {port} was connected to")


@contextmanager
def speaking(*said: bytes, pause: float = 0.0) -> Iterator[int]:
    """A TCP server that says the same to everyone, then waits for the other's end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            try:
                connection, _ = server.accept()
                with connection:
                    for part in said:
                        connection.sendall(part)
                        time.sleep(pause)
                    if said:
                        connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(10)
                    while connection.recv(4096):
                        pass
            except OSError:
                pass  # the other went away, as it may

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield server.getsockname()[1]


class TestHttp:
    def test_a_page_as_expected(self) -> None:
        with serving() as server:
            url = f"http://127.0.0.1:{server.port}/a/b?c=d#e"
            assert probe_http(HttpCheck(url), connect) == ""
        assert server.asked == [("GET", "/a/b?c=d", f"127.0.0.1:{server.port}")]

    def test_a_url_without_a_path(self) -> None:
        with serving() as server:
            assert probe_http(HttpCheck(f"http://localhost:{server.port}"), connect) == ""
        assert server.asked == [("GET", "/", f"localhost:{server.port}")]

    def test_another_status(self) -> None:
        with serving() as server:
            url = f"http://127.0.0.1:{server.port}/503"
            assert probe_http(HttpCheck(url, (200, 404)), connect) == (
                f"http {url}: answers 503 Service Unavailable, expected 200 or 404"
            )
            assert probe_http(HttpCheck(url, (404, 503)), connect) == ""

    def test_a_redirect_is_the_answer(self) -> None:
        with serving() as server:
            url = f"http://127.0.0.1:{server.port}/301"
            assert "answers 301 Moved Permanently, exp" in probe_http(HttpCheck(url), connect)
            assert probe_http(HttpCheck(url, (301,)), connect) == ""
        assert [path for _, path, _ in server.asked] == ["/301", "/301"]

    def test_nobody_there(self) -> None:
        def refused(host: str, port: int, deadline: float) -> socket.socket:
            raise NoAnswerError(f"{host} refuses connections to port {port}", remedy="of SSH")

        assert probe_http(HttpCheck("http://127.0.0.1/"), refused) == (
            "http http://127.0.0.1/: 127.0.0.1 refuses connections to port 80, expected 200"
        )

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer over HTTP (SSH-2.0-OpenSSH_9.2)"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000, "no answer over HTTP (got more than 65536"),
        ],
    )
    def test_what_is_no_http(self, said: bytes, why: str) -> None:
        with speaking(said) as port:
            assert why in probe_http(HttpCheck(f"http://127.0.0.1:{port}/"), connect)

    def test_silence_has_a_deadline(self) -> None:
        with speaking() as port:
            started = time.monotonic()
            problem = probe_http(HttpCheck(f"http://127.0.0.1:{port}/"), connect, deadline=0.5)
        assert problem.endswith(f":{port}/: no answer within 0.5 s, expected 200")
        assert 0.4 < time.monotonic() - started < 3

    def test_an_answer_that_never_ends_has_the_same_deadline(self) -> None:
        with speaking(b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 90, pause=0.1) as port:
            started = time.monotonic()
            problem = probe_http(HttpCheck(f"http://127.0.0.1:{port}/"), connect, deadline=0.5)
            assert time.monotonic() - started < 3
        assert "no answer within 0.5 s" in problem


class TestHttps:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[str, ssl.SSLContext]:
        return certificate_of("127.0.0.1", tmp_path)

    def test_trusted_by_its_ca(self, certificate: tuple[str, ssl.SSLContext]) -> None:
        pem, context = certificate
        with serving(context) as server:
            url = f"https://127.0.0.1:{server.port}/x"
            assert probe_http(HttpCheck(url, ca=pem), connect) == ""
            assert "answers 200 OK, expected 404" in probe_http(
                HttpCheck(url, (404,), pem), connect
            )
        assert server.asked == [("GET", "/x", f"127.0.0.1:{server.port}")] * 2

    def test_not_trusted_by_the_system(self, certificate: tuple[str, ssl.SSLContext]) -> None:
        with serving(certificate[1]) as server:
            problem = probe_http(HttpCheck(f"https://127.0.0.1:{server.port}/"), connect)
        assert re.search(
            r"its certificate is not trusted \(self.signed cert.*\), expected", problem
        )
        assert server.asked == []

    def test_of_another_name(self, certificate: tuple[str, ssl.SSLContext]) -> None:
        pem, context = certificate
        with serving(context) as server:
            url = f"https://localhost:{server.port}/"
            problem = probe_http(HttpCheck(url, ca=pem), connect)
        assert "its certificate is not trusted (Hostname mismatch" in problem
        assert server.asked == []

    def test_a_server_without_tls(self) -> None:
        with serving() as server:
            problem = probe_http(HttpCheck(f"https://127.0.0.1:{server.port}/"), connect)
        assert "no answer over HTTP ([SSL" in problem

    def test_a_handshake_that_never_ends(self) -> None:
        with speaking() as port:
            url = f"https://127.0.0.1:{port}/"
            assert "no answer within 0.5 s" in probe_http(HttpCheck(url), connect, deadline=0.5)


class TestSipMessages:
    def test_the_request(self) -> None:
        assert OURS.text().decode().split("\r\n") == [
            "OPTIONS sip:192.0.2.9:5060 SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKa;rport",
            "Max-Forwards: 70",
            "From: <sip:health@192.0.2.1>;tag=t",
            "To: <sip:192.0.2.9>",
            "Call-ID: c@d",
            "CSeq: 7 OPTIONS",
            "Contact: <sip:health@192.0.2.1:5062;transport=udp>",
            "Accept: application/sdp",
            "User-Agent: nornir-lxd-fleet",
            "Content-Length: 0",
            "",
            "",
        ]

    def test_of_ipv6_over_tcp(self) -> None:
        request = replace(OURS, address="2001:db8::9", transport="tcp", sender="[2001:db8::1]:5062")
        lines = request.text().decode().split("\r\n")
        assert lines[0] == "OPTIONS sip:[2001:db8::9]:5060;transport=tcp SIP/2.0"
        assert lines[1] == "Via: SIP/2.0/TCP [2001:db8::1]:5062;branch=z9hG4bKa;rport"
        assert lines[3] == "From: <sip:health@[2001:db8::1]>;tag=t"
        assert lines[4] == "To: <sip:[2001:db8::9]>"

    def test_no_two_requests_are_alike(self) -> None:
        many = [Options("192.0.2.9", 5060, "udp", "192.0.2.1:1") for _ in range(200)]
        for attribute in ("branch", "tag", "call_id", "cseq"):
            assert len({getattr(one, attribute) for one in many}) == 200
        assert all(one.branch.startswith("z9hG4bK") and 0 < one.cseq < 2**31 for one in many)

    @pytest.mark.parametrize("case", SIP_CASES, ids=lambda case: case["name"])
    @pytest.mark.parametrize("line_end", ["\r\n", "\n"])
    def test_what_answers_it(self, case: dict[str, Any], line_end: str) -> None:
        message = parse(case["message"].rstrip().replace("\n", line_end).encode())
        assert (message.status, OURS.answered_by(message)) == (case["status"], case["answers"])
        assert message.length == case.get("length", 0)

    def test_timer_e(self) -> None:
        assert list(islice(retransmissions(), 6)) == [0.5, 1, 2, 4, 4, 4]


class TestSipOverUdp:
    def probe(self, answers: Answers, *statuses: int, deadline: float = 3) -> tuple[str, SipServer]:
        with SipServer("udp", answers) as server:
            check = SipCheck("127.0.0.1", server.port, "udp", statuses)
            problem = probe_sip(check, never, deadline=deadline)
        return problem.replace(str(server.port), "PORT"), server

    def test_a_server_that_is_well(self) -> None:
        problem, server = self.probe(lambda request, _: [response(request, "204 Well")])
        assert problem == ""
        assert len(server.requests) == 1
        via = re.search(
            r"Via: SIP/2.0/UDP 127.0.0.1:\d+;branch=z9hG4bK\w+;rport", server.requests[0]
        )
        assert via

    def test_requests_that_are_lost_are_sent_again_alike(self) -> None:
        started = time.monotonic()
        problem, server = self.probe(
            lambda request, before: [response(request, "200 OK")] if before == 2 else []
        )
        assert problem == ""
        assert 1.4 < time.monotonic() - started < 2.9  # after 0.5 and 1 s
        assert len(server.requests) == 3
        assert len(set(server.requests)) == 1

    def test_a_provisional_response_slows_that_down_and_is_no_answer(self) -> None:
        problem, server = self.probe(lambda request, _: [response(request, "100 Trying")])
        assert problem == (
            "sip 127.0.0.1:PORT/udp: no final response within 3 s to 2 requests, "
            "only provisional ones, expected 2xx"
        )
        assert len(server.requests) == 2  # at 0 and 0.5 s, the next would be 4 s later

    def test_a_final_response_after_a_provisional_one(self) -> None:
        problem, server = self.probe(
            lambda request, _: [response(request, "100 Trying"), response(request, "200 OK")]
        )
        assert (problem, len(server.requests)) == ("", 1)

    def test_other_statuses(self) -> None:
        def forbidden(request: str, _: int) -> list[bytes]:
            return [response(request, "403 Forbidden\x1b[31m")]

        problem, _ = self.probe(forbidden, 404, 405)
        assert problem == (
            "sip 127.0.0.1:PORT/udp: answers 403 Forbidden[31m, expected 2xx or 404 or 405"
        )
        assert self.probe(forbidden, 403)[0] == ""
        assert self.probe(lambda request, _: [response(request, "200 OK")], 403)[0] == ""

    @pytest.mark.parametrize(
        "changed", [{"z9hG4bK.": "z9hG4bKx"}, {"CSeq: .": "CSeq: 0"}, {"Call-ID: .": "Call-ID: x"}]
    )
    def test_the_answer_to_another_request_is_none(self, changed: dict[str, str]) -> None:
        problem, _ = self.probe(
            lambda request, _: [response(request, "200 OK", **changed)], deadline=1
        )
        assert problem == (
            "sip 127.0.0.1:PORT/udp: no final response within 1 s to 2 requests, 2 of what came "
            "does not answer it; UDP is asked from the controller, it does not go through SSH, "
            "expected 2xx"
        )

    def test_what_is_no_sip_is_passed_over(self) -> None:
        problem, _ = self.probe(lambda request, _: [b"\xff\x00", b"", response(request, "200 OK")])
        assert problem == ""

    def test_no_answer_at_all(self) -> None:
        started = time.monotonic()
        problem, server = self.probe(lambda *_: [], deadline=2)
        assert "no final response within 2 s to 3 requests; UDP is asked from" in problem
        assert 1.9 < time.monotonic() - started < 3
        assert len(server.requests) == 3

    def test_a_port_that_is_closed(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        started = time.monotonic()
        assert probe_sip(SipCheck("127.0.0.1", port), never) == (
            f"sip 127.0.0.1:{port}/udp: nothing listens there, expected 2xx"
        )
        assert time.monotonic() - started < 3

    def test_a_network_that_cannot_be_reached(self) -> None:
        # the system itself refuses the way to a broadcast address
        problem = probe_sip(SipCheck("255.255.255.255"), never, deadline=1)
        assert problem == (
            "sip 255.255.255.255:5060/udp: it cannot be reached from here (Permission denied); "
            "UDP is asked from the controller, it does not go through SSH, expected 2xx"
        )


class TestSipOverTcp:
    def probe(self, answers: Answers, *statuses: int, deadline: float = 2) -> tuple[str, SipServer]:
        with SipServer("tcp", answers) as server:
            check = SipCheck("127.0.0.1", server.port, "tcp", statuses)
            problem = probe_sip(check, connect, deadline=deadline)
        return problem.replace(str(server.port), "PORT"), server

    def test_a_server_that_is_well(self) -> None:
        problem, server = self.probe(lambda request, _: [response(request, "200 OK")])
        assert problem == ""
        assert server.requests[0].startswith(
            f"OPTIONS sip:127.0.0.1:{server.port};transport=tcp SIP/2.0\r\n"
            "Via: SIP/2.0/TCP 127.0.0.1:"
        )

    def test_messages_in_pieces_with_bodies_and_empty_lines_between(self) -> None:
        def answers(request: str, _: int) -> list[bytes]:
            body = {"Content-Length: 0\r\n\r\n": "l: 14\r\n\r\nSIP/2.0 500 No"}
            first = response(request, "100 Trying", **body)
            other = response(request, "500 Not yours", **{"z9hG4bK.": "z9hG4bKx"})
            whole = b"\r\n\r\n" + first + other + response(request, "200 OK")
            return [whole[n : n + 7] for n in range(0, len(whole), 7)]

        assert self.probe(answers)[0] == ""

    def test_other_statuses(self) -> None:
        problem, _ = self.probe(lambda request, _: [response(request, "503 Out of order")])
        assert problem == "sip 127.0.0.1:PORT/tcp: answers 503 Out of order, expected 2xx"

    def test_silence_is_not_asked_twice(self) -> None:
        problem, server = self.probe(lambda *_: [], deadline=1)
        assert problem == (
            "sip 127.0.0.1:PORT/tcp: no final response within 1 s to 1 request, expected 2xx"
        )
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", "it closed the connection without a final response"),
            (b"SIP/2.0 200 OK\r\nContent-Length: x\r\n\r\n", "what it answers is no SIP (invalid"),
            (b"SIP/2.0 200 OK\r\nContent-Length: -1\r\n\r\n", "is no SIP (a body of -1 bytes)"),
            (b"x" * 200000, "what it answers is no SIP (a message without an end)"),
        ],
    )
    def test_what_is_no_sip(self, said: bytes, why: str) -> None:
        with speaking(said) as port:
            assert why in probe_sip(SipCheck("127.0.0.1", port, "tcp"), connect, deadline=2)

    def test_nobody_there(self) -> None:
        port = free_port()
        assert probe_sip(SipCheck("127.0.0.1", port, "tcp"), connect) == (
            f"sip 127.0.0.1:{port}/tcp: nothing listens there, expected 2xx"
        )
