"""Controllers of the fleet: what they are sent, what is planned, who lets them in."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.actual import HostFacts, LxdFacts, MachineFacts, UserFacts
from tasks.certificate import fingerprint_of, make_client_certificate
from tasks.controllers.departed import plan_departed_keys
from tasks.controllers.identity import plan_identity
from tasks.controllers.known import known_controllers, learned, letting_in
from tasks.controllers.plan import Equipment, plan_controller
from tasks.controllers.program import DISTRIBUTION, wheels_in
from tasks.controllers.trust import trust_controllers
from tasks.errors import FleetError, InventoryError
from tasks.fleet import open_fleet
from tasks.identity import Identity
from tasks.intent.controller import KEY, SETTINGS, STATES, WHEELS, Controller
from tasks.intent.model import Bootstrap, Machine, Ssh
from tasks.intent.schema import COMMON
from tasks.intent.system import Configure, File, User
from tasks.intent.values import ListOf, Table
from tasks.lxd_server.trust import TrustedClient, departed_certificates
from tasks.lxd_server.writes import OnHost
from tasks.machine.paths import ROOT_KEYS
from tasks.maintenance.jobs import JOBS
from tasks.ownership import trust_line
from tasks.run import run_of
from tests.demo import Demo, change
from tests.machines import HOST, container_of, facts_of_yaml, fleet_of, run_on
from tests.records import told
from tests.sshd import make_key

CASES = yaml.safe_load((Path(__file__).parent / "cases" / "controllers.yaml").read_text())
CONTROLLER = Controller("voice", Path("wheels"))


@cache
def certificate() -> str:
    return make_client_certificate()[0]


def read(case: dict[str, Any], fingerprint: str = "") -> MachineFacts:
    if case.get("bare"):
        return MachineFacts("control")
    done, facts = CASES["done"], case["facts"]
    data = {key: {**done.get(key, {}), **facts.get(key, {})} for key in ("packages", "files")}
    filled = {
        path: text.replace("CERTIFICATE", certificate()).replace("FINGERPRINT", fingerprint)
        if isinstance(text, str)
        else {"content": "", **text}
        for path, text in data["files"].items()
    }
    return facts_of_yaml("control", {**done, **facts, **data, "files": filled})


@pytest.mark.parametrize("case", CASES["identity"], ids=lambda case: case["name"])
def test_a_key_and_a_certificate_of_its_own(case: dict[str, Any]) -> None:
    machine = Machine("control", Ssh("10.0.0.5"), controller=CONTROLLER)
    plan = plan_identity(machine, CONTROLLER, read(case))
    assert [f"{step.action} {step.object}" for step in plan.steps] == case["steps"]
    assert plan.reason == case.get("reason", plan.reason)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("nornir_lxd_fleet-1.0-py3-none-any.whl", "other-2-py3-none-any.whl"):
        (folder / name).write_text(f"{name}, which is none")
    return folder


@pytest.mark.parametrize("case", CASES["controller"], ids=lambda case: case["name"])
def test_what_it_has_besides_its_files(case: dict[str, Any], wheels: Path) -> None:
    users = (User("root", only_keys=True),) if case.get("only_keys") else ()
    machine = Machine(
        "control",
        Ssh("10.0.0.5"),
        configure=Configure(users=users),
        foreign=tuple(case.get("foreign", ())),
    )
    equipment = Equipment(
        wheels_in(wheels, "control"),
        tuple(case.get("keys", ["ssh-ed25519 AAAAours nornir-lxd-fleet@control"])),
        case.get("host_keys", {"voice-01,10.0.0.1": ["ssh-ed25519 AAAAhost"]}),
    )
    facts = read(case, equipment.wheels.fingerprint)
    steps = list(plan_controller(machine, CONTROLLER, equipment, facts))
    assert [f"{step.action} {step.object}" for step in steps] == case["steps"]
    if "written" in case:
        assert [c.content for c in steps[-1].write] == [case["written"].encode()]


def test_wheels_are_told_apart_by_what_is_in_them(wheels: Path) -> None:
    before = wheels_in(wheels, "control")
    assert (before.version, len(before.files)) == ("1.0", 2)
    (wheels / "other-2-py3-none-any.whl").write_text("another")
    assert wheels_in(wheels, "control").fingerprint != before.fingerprint


@pytest.mark.parametrize("spoil", ["nothing there", "no folder", "two of ours"])
def test_wheels_that_are_not_there(wheels: Path, spoil: str) -> None:
    own = wheels / "nornir_lxd_fleet-1.0-py3-none-any.whl"
    if spoil == "nothing there":
        own.unlink()
    elif spoil == "no folder":
        wheels = wheels / "nowhere"
    else:
        (wheels / "nornir_lxd_fleet-0.9-py3-none-any.whl").touch()
    with pytest.raises(
        FleetError, match=f"^control: there is .* of {DISTRIBUTION} in .*make wheels"
    ):
        wheels_in(wheels, "control")


def test_the_jobs_that_may_be_declared_are_those_there_are() -> None:
    controller = COMMON["controller"]
    assert isinstance(controller, Table)
    jobs = controller.keys["jobs"]
    assert isinstance(jobs, ListOf)
    accepted = [job for job in JOBS if jobs.item.accept(job)]  # type: ignore[attr-defined]  # a Scalar
    assert accepted == [name for name, job in JOBS.items() if not job.by_hand]


class TestWhoLetsItIn:
    """Every machine, from the run on in which its key was made."""

    control = container_of("control", "10.0.0.5", controller=CONTROLLER)
    web = container_of("web-01", "10.0.0.9")
    key = "ssh-ed25519 AAAAours nornir-lxd-fleet@control"

    def test_by_what_was_read_and_later_by_what_is_remembered(self, tmp_path: Path) -> None:
        who = Identity("control", "nornir-lxd-fleet@control", self.key, certificate())
        run = run_of(fleet_of(tmp_path, self.control, self.web))
        assert letting_in(self.web, run) == self.web
        learned(run, who)
        assert letting_in(self.web, run).bootstrap.authorized_keys[-1] == self.key
        later = run_of(fleet_of(tmp_path, self.control, self.web))
        assert known_controllers(later) == (who,)
        assert "PRIVATE" not in "".join(
            path.read_text() for path in tmp_path.rglob("*") if path.is_file()
        )

    def test_a_key_to_be_made_stands_in_a_dry_run_only(self, tmp_path: Path) -> None:
        nobody = Identity("control", "nornir-lxd-fleet@control")
        for dry_run in (True, False):
            run = run_of(fleet_of(tmp_path, self.control, self.web, dry_run=dry_run))
            learned(run, nobody)
            keys = letting_in(self.web, run).bootstrap.authorized_keys
            assert ("(the public key of control, to be made)" in keys) == dry_run
        assert not (tmp_path / "controllers").exists()

    def test_a_root_with_only_declared_keys_too(self, tmp_path: Path) -> None:
        run = run_of(fleet_of(tmp_path, self.control, self.web))
        learned(run, Identity("control", "nornir-lxd-fleet@control", self.key, certificate()))
        only = User("root", keys=("ssh-ed25519 AAAAmine",), only_keys=True)
        web = container_of("web-01", "10.0.0.9", configure=Configure(users=(only,)))
        assert letting_in(web, run).configure.users[0].keys == ("ssh-ed25519 AAAAmine", self.key)

    def test_the_user_that_logs_in_too_and_no_other(self, tmp_path: Path) -> None:
        run = run_of(fleet_of(tmp_path, self.control, self.web))
        learned(run, Identity("control", "nornir-lxd-fleet@control", self.key, certificate()))
        users = (User("fleet"), User("olga"), User("root"))
        web = container_of(
            "web-01",
            "10.0.0.9",
            ssh=Ssh("10.0.0.9", username="fleet"),
            configure=Configure(users=users),
        )
        assert [u.keys for u in letting_in(web, run).configure.users] == [(self.key,), (), ()]


class TestTrust:
    """Of an LXD host in its controllers, planned from what was read of it."""

    control = container_of("control", "10.0.0.5", controller=CONTROLLER)
    name = "nornir-lxd-fleet@control"

    def plan(
        self, state: Path, *trusted: str, declared: bool = True, prune: bool = False
    ) -> dict[str, Any]:
        """A dry run's record, with what the state folder has; all of ``trusted`` are ours."""
        control = self.control if declared else container_of("control", "10.0.0.5")
        nr = fleet_of(state, control, dry_run=True)
        prints = [fingerprint_of(pem) for pem in trusted]
        run_of(nr).facts[HOST] = HostFacts(
            HOST,
            created=frozenset(trust_line(self.name, print_) for print_ in prints),
            lxd=LxdFacts(
                running=True,
                certificates=tuple({"fingerprint": p, "name": self.name} for p in prints),
            ),
        )
        return run_on(nr, HOST, trust_controllers, prune=prune)

    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        run = run_of(fleet_of(tmp_path, self.control))
        learned(run, Identity("control", self.name, "ssh-ed25519 AAAAours", certificate()))
        return tmp_path

    def test_one_that_is_not_trusted_yet(self, state: Path) -> None:
        entry = self.plan(state)
        assert told(entry) == [f"trust certificate {self.name}"]
        assert entry["steps"][0]["detail"] == fingerprint_of(certificate())[:12]

    def test_one_that_is_trusted(self, state: Path) -> None:
        entry = self.plan(state, certificate())
        assert (entry["status"], entry["message"]) == ("ok", "the fleet's controllers are trusted")

    def test_one_that_nobody_knows_yet(self, tmp_path: Path) -> None:
        assert self.plan(tmp_path)["notes"] == [
            "controller control is not known yet: trusted once it is bootstrapped"
        ]

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_former_certificate_is_told_and_pruned(self, state: Path, declared: bool) -> None:
        former = make_client_certificate()[0]
        trusted = (certificate(), former) if declared else (former,)
        entry = self.plan(state, *trusted, declared=declared)
        assert entry["steps"] == []
        assert "--prune removes it" in entry["notes"][0]
        entry = self.plan(state, *trusted, declared=declared, prune=True)
        assert told(entry) == [f"distrust certificate {self.name}"]


def test_a_controller_that_left_is_distrusted_under_the_name_that_it_once_had() -> None:
    now = TrustedClient("nornir-lxd-fleet@now", certificate())
    print_ = fingerprint_of(certificate())
    facts = HostFacts(
        HOST,
        created=frozenset([trust_line("nornir-lxd-fleet@once", print_), "trust other abc"]),
        lxd=LxdFacts(certificates=({"fingerprint": print_, "name": "nornir-lxd-fleet@once"},)),
    )
    (note,) = departed_certificates(facts, now, prune=False)
    assert "certificate nornir-lxd-fleet@once" in str(note)
    (step,) = departed_certificates(facts, now, prune=True)
    assert not isinstance(step, str)
    assert step.write == OnHost("distrust", f"nornir-lxd-fleet@once {print_}")
    named_so = replace(now, name="nornir-lxd-fleet@once")  # former_certificates sees to those
    assert list(departed_certificates(facts, named_so, prune=True)) == []


class TestDepartedKeys:
    """The key of a machine that is a controller no longer."""

    former = Identity("control", "nornir-lxd-fleet@control", "ssh-ed25519 AAAAours c")

    def plan(
        self,
        held: str,
        *wanted: str,
        user: str = "root",
        prune: bool = False,
        foreign: tuple[str, ...] = (),
    ) -> list[Any]:
        files = {ROOT_KEYS: held if user == "root" else ""}
        facts = facts_of_yaml("web-01", {"files": files})
        if user != "root":
            there = UserFacts("/bin/sh", "/home/op", (), (held,), 1000)
            facts = replace(facts, users={user: there})
        machine = Machine(
            "web-01",
            Ssh("", username=user),
            bootstrap=Bootstrap(authorized_keys=wanted),
            foreign=foreign,
        )
        return list(plan_departed_keys([self.former], machine, facts, prune=prune))

    def test_of_the_user_that_logs_in(self) -> None:
        (step,) = self.plan("ssh-ed25519 AAAAours c", user="op", prune=True)
        assert step.object == "authorized key of control for op"
        assert [(c.function, c.arguments) for c in step.write] == [("remove_keys", ("op",))]

    def test_told_or_removed(self) -> None:
        held = "ssh-ed25519 AAAAmine me\nno-pty ssh-ed25519 AAAAours c\n"
        assert self.plan(held) == [
            "authorized key of control is let in, and it is no controller any more; "
            "--prune removes it"
        ]
        (step,) = self.plan(held, prune=True)
        assert (step.action, step.object) == ("remove", "authorized key of control")
        assert [(c.function, c.content) for c in step.write] == [
            ("remove_keys", b"no-pty ssh-ed25519 AAAAours c\n")
        ]

    @pytest.mark.parametrize(("user", "foreign"), [("root", ROOT_KEYS), ("op", "/home/op/.ssh")])
    def test_what_is_foreign_is_left_alone(self, user: str, foreign: str) -> None:
        """It is said all the same: it lets a former controller in."""
        line, path = "ssh-ed25519 AAAAours c", "root" if user == "root" else f"home/{user}"
        (said,) = self.plan(line, user=user, prune=True, foreign=(foreign,))
        assert said.endswith(f"take it out of /{path}/.ssh/authorized_keys there")

    def test_not_there_or_declared_by_name(self) -> None:
        assert self.plan("ssh-ed25519 AAAAmine me\n") == []
        assert self.plan("#ssh-ed25519 AAAAours c\n") == []
        assert self.plan("ssh-ed25519 AAAAours c\n", "ssh-ed25519 AAAAours x") == []


class TestWhatItIsSent:
    """The demo's inventory, with ``control`` as a controller, opened here and as it is there."""

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An operator's home with what the inventory refers to."""
        home = tmp_path / "home"
        cache = home / ".cache/nornir-lxd-fleet-lab"
        for name in ("sidn-demo-01", "sidn-demo-02"):
            (cache / "hosts" / name).mkdir(parents=True)
            make_key(cache / "hosts" / name / "ssh_host_ed25519_key")
        make_key(cache / "id_ed25519")
        for image in ("minimal", "cloud-init"):
            (cache / "images" / image).mkdir(parents=True)
            for part in ("metadata.tar.xz", "rootfs.squashfs"):
                (cache / "images" / image / part).touch()
        monkeypatch.setenv("HOME", str(home))
        return home

    @pytest.fixture
    def folder(self, home: Path, tmp_path: Path) -> Path:
        inventory = Demo.copy_inventory(tmp_path)
        declare(inventory, wheels="~/wheels", maintain="30 4 * * *", jobs=["health"])
        return inventory

    def test_all_that_it_needs_and_nothing_else(self, folder: Path, home: Path) -> None:
        (folder / ".git").mkdir()
        (folder / ".git" / "config").touch()
        (folder / "hosts.yaml~").touch()
        (folder / "picture.png").write_bytes(b"\x89PNG")
        (folder / "id_rsa").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
        sent = files(folder)
        own = {path for path in sent if not path.startswith(f"{SETTINGS}/files/")}
        assert own >= {f"{SETTINGS}/config.yaml", f"{SETTINGS}/demo/templates/motd.j2"}
        assert own - {f"{SETTINGS}/config.yaml", f"{SETTINGS}/demo/templates/motd.j2"} == {
            f"{SETTINGS}/demo/{name}.yaml" for name in ("hosts", "groups", "defaults")
        }
        assert sorted(path.rpartition("-")[2] for path in set(sent) - own) == [
            "id_ed25519.pub", "ssh_host_ed25519_key.pub", "ssh_host_ed25519_key.pub",
        ]  # fmt: skip
        assert all(sent[path].mode == "0600" for path in set(sent) - own)
        key = (home / ".cache/nornir-lxd-fleet-lab/id_ed25519").read_text()
        assert all(key not in file.content for file in sent.values())
        settings = yaml.safe_load(sent[f"{SETTINGS}/config.yaml"].content)["user_defined"]
        assert (settings["state_dir"], settings["ssh_key"]) == (STATES, KEY)
        assert settings["files_here"]["~/wheels"] == WHEELS

    def test_inside_the_same_follows(
        self, folder: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent = files(folder)
        root = tmp_path / "control"  # stands for / there
        for path, file in sent.items():
            there = root / path.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(file.content.replace(SETTINGS, f"{root}{SETTINGS}").encode())
            there.chmod(int(file.mode, 8))
        config = root / SETTINGS.lstrip("/") / "config.yaml"
        key = make_key(tmp_path / "key")
        config.write_text(config.read_text().replace(KEY, str(key)))
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        inside = run_of(open_fleet(config.parent / "demo")).intent
        again = {f.path: f for f in inside.machine("control").configure.files}
        for path, file in sent.items():
            if path != f"{SETTINGS}/config.yaml":
                assert again[path] == file, path
        assert inside.machine("web-01").ssh.key_file == key
        assert inside.controllers[0].controller is not None
        assert inside.controllers[0].controller.wheels == Path(WHEELS)

    def test_its_cron_entry(self, folder: Path) -> None:
        (job,) = run_of(open_fleet(folder)).intent.machine("control").configure.cron
        assert (job.name, job.schedule) == ("maintain-demo", "30 4 * * *")
        assert job.command == (
            "/opt/nornir-lxd-fleet/current/venv/bin/fleet-maintain "
            f"--inventory {SETTINGS}/demo --quiet health"
        )

    def test_several_schedules(self, folder: Path) -> None:
        nightly = {"schedule": "30 4 * * *", "time_limit": 90}
        weekly = {"schedule": "0 5 * * 0", "jobs": ["reboot", "images"]}
        declare(folder, wheels="~/wheels", maintain={"nightly": nightly, "weekly": weekly})
        former, *jobs = run_of(open_fleet(folder)).intent.machine("control").configure.cron
        assert (former.name, former.absent) == ("maintain-demo", True)
        assert [(job.name, job.schedule, job.command.partition("--quiet")[2]) for job in jobs] == [
            ("maintain-demo-nightly", "30 4 * * *", " --time-limit 90"),
            ("maintain-demo-weekly", "0 5 * * 0", " reboot images"),
        ]

    def test_without_wheels_the_inventory_is_valid(self, folder: Path) -> None:
        intent = run_of(open_fleet(folder)).intent
        assert [m.name for m in intent.controllers] == ["control"]
        assert intent.machine("web-01").controller is None

    @pytest.mark.parametrize(
        ("controller", "said"),
        [
            ({"maintain": "30 4 * * *"}, "has no wheels"),
            ({"wheels": "w", "jobs": ["health"]}, "jobs without a schedule"),
            ({"wheels": "w", "maintain": {"a": {}}}, "has no schedule"),
            ({"wheels": "w", "maintain": {"a b": {"schedule": "@daily"}}}, "name of a schedule"),
            (
                {"wheels": "w", "maintain": {"a": {"schedule": "@daily"}}, "jobs": ["health"]},
                "jobs without a schedule",
            ),
            ({"wheels": "w", "maintain": "daily"}, "is not a schedule of cron"),
            ({"wheels": "w", "maintain": "30 4 * * *", "jobs": ["tidy"]}, "is not one of"),
            ({"wheels": "w", "whels": "x"}, "unknown key; did you mean wheels?"),
        ],
    )
    def test_mistakes(self, folder: Path, controller: dict[str, Any], said: str) -> None:
        declare(folder, **controller)
        with pytest.raises(InventoryError) as refused:
            open_fleet(folder)
        assert [said in line for line in refused.value.mistakes] == [True]

    def test_a_file_that_cannot_be_sent(self, folder: Path) -> None:
        (folder / "two words.j2").touch()
        with pytest.raises(InventoryError, match=r"two words\.j2.* has a space in its name"):
            open_fleet(folder)

    def test_a_package_that_it_needs_and_shall_not_have(self, folder: Path) -> None:
        def absent(hosts: dict[str, Any]) -> None:
            hosts["control"]["data"]["configure"] = {"packages": {"python3-venv": "absent"}}

        change(folder, "hosts.yaml", absent)
        with pytest.raises(InventoryError, match="python3-venv is absent, and a controller needs"):
            open_fleet(folder)


def declare(folder: Path, **controller: Any) -> None:
    """Make ``control`` a controller."""
    change(folder, "hosts.yaml", lambda h: h["control"]["data"].update(controller=controller))


def files(folder: Path) -> dict[str, File]:
    """The files that a controller gets because it is one."""
    configure = run_of(open_fleet(folder)).intent.machine("control").configure
    return {file.path: file for file in configure.files if file.path.startswith(SETTINGS)}
