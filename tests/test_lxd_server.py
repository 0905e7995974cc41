from __future__ import annotations

import subprocess
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import ClientFolder, HostFacts, LxdFacts
from tasks.certificate import fingerprint_of, make_client_certificate
from tasks.errors import FleetError
from tasks.intent.kernel import kernel_of
from tasks.intent.model import LxdHost, LxdServer, Pool, Ssh
from tasks.intent.secret import Secret
from tasks.lxd_server.plan import plan_lxd
from tasks.lxd_server.trust import TrustedClient
from tasks.lxd_server.writes import OnHost, Request
from tasks.onhost import on_host
from tasks.ownership import created_by_us

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "lxd_server.yaml").read_text())


@cache
def certificate(name: str) -> str:
    return make_client_certificate()[0]


def wanted_host(spec: dict[str, Any], secrets: Path) -> LxdHost:
    def config_value(value: str | dict[str, str]) -> str | Secret:
        if isinstance(value, str):
            return value
        secrets.write_text(value["secret"] + "\n")
        return Secret("file", str(secrets))

    return LxdHost(
        name="host-01",
        ssh=Ssh(str(ip_address("192.168.56.150"))),
        client_users=tuple(spec.get("users", ("root",))),
        profiles=tuple(spec.get("profiles", ())),
        lxd=LxdServer(
            package=spec.get("package", "deb"),
            channel=spec.get("channel"),
            refresh=spec.get("refresh"),
            kernel=kernel_of(spec.get("kernel", {})),
            listen=spec.get("listen"),
            pools=tuple(Pool(name, **body) for name, body in spec.get("pools", {}).items()),
            config={key: config_value(value) for key, value in spec.get("config", {}).items()},
        ),
    )


def actual_host(spec: dict[str, Any]) -> HostFacts:
    clients = spec.get("clients", {"root": None})
    return HostFacts(
        name="host-01",
        os_id=spec.get("os", "ubuntu"),
        os_version=spec.get("os_version", "18.04"),
        kernel=spec.get("kernel", {}),
        kernel_file=spec.get("kernel_file", {}),
        created=frozenset(
            f"trust {name} {fingerprint_of(certificate(held))}"
            for name, held in spec.get("remembered", ())
        ),
        clients={
            user: ClientFolder(
                user, f"/home/{user}", certificate=certificate(name) if name else None
            )
            for user, name in clients.items()
        },
        lxd=LxdFacts(
            package=spec.get("package", "deb"),
            running=spec.get("running", True),
            problem=spec.get("problem", ""),
            deb=spec.get("deb", ""),
            move=spec.get("move", ""),
            mounted=spec.get("mounted", False),
            channel=spec.get("channel", ""),
            refresh=spec.get("refresh", ""),
            server={
                "config": spec.get("config", {}),
                "environment": {
                    "server_version": spec.get("version", "5.0.2"),
                    "server_clustered": spec.get("clustered", False),
                },
                "api_extensions": spec.get("extensions", []),
            },
            instances={
                name: {"name": name, "status": status}
                for name, status in spec.get("instances", {}).items()
            },
            certificates=tuple(
                {"name": name, "fingerprint": fingerprint_of(certificate(name))}
                for name in spec.get("trusted", ())
            ),
            pools={
                name: {"name": name, "config": {}, **body}
                for name, body in spec.get("pools", {}).items()
            },
            profiles={
                name: {"name": name, "devices": devices}
                for name, devices in spec.get("profiles", {}).items()
            },
        ),
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_plan(case: dict[str, Any], tmp_path: Path) -> None:
    pem = certificate("CONTROLLER") if case.get("controller", True) else None
    controller = TrustedClient("nornir-lxd-fleet@ctl", pem)
    prune = case.get("prune", False)
    wanted = wanted_host(case["wanted"], tmp_path / "secret")
    actual = actual_host(case["actual"])
    if "error" in case:
        with pytest.raises(FleetError) as caught:
            plan_lxd(wanted, actual, controller, prune=prune)
        assert case["error"] in str(caught.value)
        return
    plan = plan_lxd(wanted, actual, controller, prune=prune)

    def filled_in(text: str) -> str:
        for word, held in (("FINGERPRINT", "CONTROLLER"), ("FORMER", "FORMER")):
            text = text.replace(word, fingerprint_of(certificate(held))[:12])
        return text

    steps = [[filled_in(word) for word in step] for step in case["steps"]]
    assert [[s.action, s.object, s.detail] for s in plan.steps] == steps
    assert list(plan.notes) == [filled_in(note) for note in case.get("notes", [])]
    if "diff" in case:
        assert plan.diff.splitlines()[3:] == case["diff"].splitlines()
    shown = repr(plan) + plan.diff
    assert "Horse" not in shown
    assert "Cow" not in shown


def test_what_is_done_over_ssh_comes_before_what_is_done_over_the_api(tmp_path: Path) -> None:
    bare = next(case for case in CASES if case["name"] == "a bare host, nothing installed")
    wanted = wanted_host(bare["wanted"], tmp_path / "secret")
    controller = TrustedClient("c", certificate("CONTROLLER"))
    plan = plan_lxd(wanted, actual_host(bare["actual"]), controller, prune=False)
    kinds = [type(step.write) for step in plan.steps]
    assert kinds == [OnHost] * 4 + [Request] * 2


def test_a_new_pool_carries_our_mark_and_an_existing_one_is_not_marked(tmp_path: Path) -> None:
    wanted = wanted_host(
        {"pools": {"default": {"driver": "dir", "config": {"rsync.bwlimit": "1MB"}}}},
        tmp_path / "secret",
    )
    controller = TrustedClient("c", certificate("CONTROLLER"))
    ready = {"trusted": ["CONTROLLER"], "clients": {"root": "CONTROLLER"}}
    created = plan_lxd(wanted, actual_host(ready), controller, prune=False).steps[0].write
    there = actual_host({**ready, "pools": {"default": {"driver": "dir"}}})
    updated = plan_lxd(wanted, there, controller, prune=False)
    assert isinstance(created, Request)
    assert created_by_us(created.body)
    changed = updated.steps[0].write
    assert isinstance(changed, Request)
    assert changed.body == {"config": {"rsync.bwlimit": "1MB"}}


class Here:
    """``setup_lxd.sh`` on this machine, with stand-ins for the programs that it calls."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls = folder / "calls"
        self.created = folder / "var/created"
        self.proc = folder / "proc"
        self.sysctl = folder / "sysctl.d/60-nornir-lxd-fleet.conf"
        for name in ("apt-get", "snap", "lxd", "lxc"):
            self.program(name, "true")

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{script}\n')
        path.chmod(0o755)

    def run(
        self, *arguments: str, stdin: str = "", seconds: int = 700
    ) -> subprocess.CompletedProcess[str]:
        script = on_host("setup_lxd", *arguments)
        for what, instead in (
            ("\nPATH=", f"\nPATH={self.bin}:"),
            ("/run/nornir", f"{self.bin}/nornir"),
            ("+ 700", f"+ {seconds}"),
            ("created=/var/lib/nornir-lxd-fleet/created", f"created={self.created}"),
            ("/proc/sys", str(self.proc)),
            ("/etc/sysctl.d", str(self.sysctl.parent)),
        ):
            assert what in script
            script = script.replace(what, instead)
        # From a file: standard input is the script's own.
        path = self.bin.parent / "setup_lxd.sh"
        path.write_text(script)
        return subprocess.run(
            ["sh", path], input=stdin, capture_output=True, text=True, timeout=30, check=False
        )


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (["install", "snap"], ["snap install lxd"]),
        (["install", "snap=5.0/stable"], ["snap install lxd --channel=5.0/stable"]),
        (["channel", "5.21/stable"], ["snap refresh lxd --channel=5.21/stable"]),
        (["refresh", "sat,02:00-04:00"], ["snap set system refresh.timer=sat,02:00-04:00"]),
    ],
    ids=lambda value: " ".join(value) if value[0] != "snap" else "",
)
def test_what_is_asked_of_a_stand_in_snap(
    tmp_path: Path, words: list[str], calls: list[str]
) -> None:
    here = Here(tmp_path)
    here.run(*words)
    assert [line for line in here.calls.read_text().splitlines() if "snap" in line] == calls


@pytest.mark.parametrize(("package", "program"), [("snap", "snap"), ("deb", "apt-get")])
class TestInstallation:
    def test_one_that_fails_ends_it(self, tmp_path: Path, package: str, program: str) -> None:
        here = Here(tmp_path)
        here.program(program, "echo no network >&2; exit 7")
        done = here.run("install", package, "listen", ":8443")
        assert (done.returncode, done.stderr) == (7, "no network\n")
        assert [line.split()[0] for line in here.calls.read_text().splitlines()] == [program]

    def test_one_that_hangs_is_ended(self, tmp_path: Path, package: str, program: str) -> None:
        here = Here(tmp_path)
        here.program(program, "exec sleep 20")
        done = here.run("install", package, seconds=1)
        assert done.returncode == 124
        assert done.stderr == f"{program} was ended: it was not done within the deadline\n"
        assert [line.split()[0] for line in here.calls.read_text().splitlines()] == [program]


def test_a_kernel_setting_is_kept_only_if_the_kernel_takes_it(tmp_path: Path) -> None:
    here = Here(tmp_path)
    (here.proc / "vm").mkdir(parents=True)
    here.run("kernel", "vm.swappiness=10")
    here.run("kernel", "vm.swappiness=20", "kernel", "vm.overcommit_memory=1")
    kept = "vm.swappiness = 20\nvm.overcommit_memory = 1\n"
    assert here.sysctl.read_text() == kept
    assert (here.proc / "vm/swappiness").read_text() == "20\n"
    refusing = here.proc / "vm/max_map_count"
    refusing.mkdir()  # nothing can be written to it
    done = here.run("kernel", "vm.max_map_count=many")
    assert (done.returncode, done.stderr) == (
        1,
        "the kernel does not take vm.max_map_count = many\n",
    )
    assert here.sysctl.read_text() == kept


NAME = "nornir-lxd-fleet@ctl"


def test_who_is_trusted_is_remembered_before_and_forgotten_after(tmp_path: Path) -> None:
    here = Here(tmp_path)
    pem = certificate("CONTROLLER")
    former = f"trust {NAME} {fingerprint_of(certificate('FORMER'))}"
    ours = f"trust {NAME} {fingerprint_of(pem)}"
    here.created.parent.mkdir()
    here.created.write_text(f"remote root web\n{former}\n")
    here.program(
        "lxc", f'[ "$1 $2 $3" != "config trust add" ] || cp {here.created} {tmp_path}/then'
    )
    for _ in range(2):
        here.run("trust", NAME, stdin=pem)
        assert here.created.read_text() == f"remote root web\n{former}\n{ours}\n"
    assert (tmp_path / "then").read_text() == here.created.read_text()
    here.run("distrust", former.removeprefix("trust "))
    assert here.created.read_text() == f"remote root web\n{ours}\n"
    fingerprint = former.rsplit(maxsplit=1)[-1]
    assert f"lxc config trust remove {fingerprint}" in here.calls.read_text().splitlines()


def test_who_is_still_trusted_is_not_forgotten(tmp_path: Path) -> None:
    here = Here(tmp_path)
    here.created.parent.mkdir()
    here.created.write_text(f"trust {NAME} abc\n")
    here.program("lxc", "echo 'Error: database is locked' >&2; exit 1")
    assert here.run("distrust", f"{NAME} abc").returncode == 1
    assert here.created.read_text() == f"trust {NAME} abc\n"
