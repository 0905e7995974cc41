"""What a machine says of itself, understood; read once more where some of it is lost."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tasks.actual import UserFacts
from tasks.bootstrap.task import _ContainerBootstrap
from tasks.errors import CommandError, DeadlineError, FleetError
from tasks.facts.machine import read_machine
from tasks.facts.machine_document import parse_machine
from tasks.plan import Plan
from tasks.run import run_of
from tasks.shell import Completed
from tests.machines import container_of, fleet_of

SAID = "system running\nhostname web-01\nhost_key ssh-ed25519 AAAA\ntimezone Etc/UTC\nend\n"
WEB = container_of("web-01", "192.168.56.230")


class Answering:
    """A shell whose commands say one thing after the other."""

    where = "web-01"

    def __init__(self, *answers: str, status: int = 0, stderr: str = "") -> None:
        self.answers = [Completed(status, answer.encode(), stderr.encode()) for answer in answers]
        self.execs = 0
        self.deadlines: list[float] = []

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        self.execs += 1
        self.deadlines.append(deadline)
        return self.answers.pop(0)


@pytest.mark.parametrize("lost", ["", SAID[:40], SAID.removesuffix("end\n")])
def test_what_is_lost_is_read_once_more(lost: str) -> None:
    shell = Answering(lost, SAID)
    assert read_machine(shell, WEB).hostname == "web-01"
    assert shell.execs == 2
    shell = Answering(lost, lost, SAID)
    with pytest.raises(CommandError, match="breaks off"):
        read_machine(shell, WEB)
    assert shell.execs == 2


def test_what_arrived_is_read_once() -> None:
    shell = Answering(SAID)
    assert read_machine(shell, WEB).host_key == "ssh-ed25519 AAAA"
    assert shell.execs == 1


def test_what_failed_is_not_read_again() -> None:
    shell = Answering("", SAID, status=1, stderr="no")
    with pytest.raises(CommandError, match="exit status 1: no"):
        read_machine(shell, WEB)
    assert shell.execs == 1


def test_a_machine_that_waits_in_vain_has_room_to_say_so() -> None:
    shell = Answering(
        "", status=75, stderr="cloud-init did not end in time, the end of its log:\nhm"
    )
    with pytest.raises(DeadlineError, match="the end of its log:\nhm"):
        read_machine(shell, WEB, deadline=20)
    assert shell.deadlines[0] > 20


@pytest.mark.parametrize(
    ("answers", "learned"),
    [
        (["host_key ssh-ed25519 AAAA\nend\n"], "ssh-ed25519 AAAA"),
        (["", SAID], "ssh-ed25519 AAAA"),
        (["host_key ssh-ed25519 AA", SAID], "ssh-ed25519 AAAA"),
        (["end\n"], ""),
        (["", SAID.replace("host_key ssh-ed25519 AAAA\n", "")], ""),
    ],
)
def test_a_host_key_that_is_lost_is_asked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[str], learned: str
) -> None:
    host = fleet_of(tmp_path, WEB).inventory.hosts["web-01"]
    shell = Answering(*answers)
    monkeypatch.setattr("tasks.bootstrap.task.exec_shell_of", lambda _: shell)
    bootstrap = _ContainerBootstrap(host, WEB, dry=False)
    if learned:
        bootstrap.apply(Plan())
        assert learned in run_of(host).state.known_hosts.read_text()
    else:
        with pytest.raises(FleetError, match="it has no SSH host key"):
            bootstrap.apply(Plan())
    assert shell.execs == len(answers)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode() or "-"


@pytest.mark.parametrize("shell", ["/bin/bash", "", "/opt/a shell"])
@pytest.mark.parametrize("home", ["/home/olga", "", "/home/o l g a"])
def test_a_user_whose_entry_has_empty_words_or_blanks(shell: str, home: str) -> None:
    line = f"user olga {encoded(shell)} {encoded(home)} 1000 - olga adm"
    facts = parse_machine("web-01", f"{line}\n{SAID}", units=())
    assert facts.users == {"olga": UserFacts(shell, home, ("olga", "adm"), (), 1000)}
