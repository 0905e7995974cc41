"""Real containers configured over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tasks.intent.system import Configure, CronJob, File, Group, Repository, Service, User
from tasks.machine.paths import STATE
from tests.configured import REPOSITORY, Configured, killed_take_back
from tests.lab import Lab, client_public_key
from tests.machines import lab_container
from tests.records import told

pytestmark = pytest.mark.lab
SSHD = "/etc/ssh/sshd_config.d/50-mach.conf"
SYSCTL = "/etc/sysctl.d/61-nornir-lxd-fleet.conf"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"
TIDY = "/etc/cron.d/nornir-lxd-fleet-tidy"


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    with lab_container(lab, "mach-conf") as container:
        container.launch()
        configured = Configured(container, tmp_path_factory.mktemp("state"))
        configured.bootstrap()
        yield configured


WHOLE = Configure(
    timezone="Europe/Amsterdam",
    locale="nl_NL.UTF-8",
    packages={"cron": "present", "tree": "present"},
    groups=(Group("sip", gid=900),),
    files=(
        File("/etc/motd", "Of the tests\n"),
        File(SSHD, "PasswordAuthentication no\n", validate="sshd -t", restarts=("ssh",)),
        File("/etc/cron.d/mach", "# nothing\n", restarts=("cron",)),
        File("/etc/mach-secret", "hush hush\n", group="adm", mode="0640"),
    ),
    sysctl={"net.ipv4.ip_forward": "1", "net.ipv4.tcp_rmem": "4096 131072 6000000"},
    cron=(CronJob("tidy", "5 3 * * *", "date +%F >/run/tidy", "olga"),),
    services=(Service("cron"), Service("ssh")),
)
GPG = {"gpg": "present", "gpg-agent": "present"}
#: All that a configuration may change, but for what passwd(5)'s tools keep for themselves.
TRACES = """
find /etc /home /root -xdev ! -name '*-' ! -name .pwd.lock ! -name ld.so.cache \
    -printf '%p %M %u %g %l\\n' | sort
find /etc /home /root -xdev -type f ! -name '*-' ! -name ld.so.cache \
    ! -name group ! -name gshadow -exec sha256sum {} + | sort
sort /etc/group
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/tcp_rmem
systemctl is-active cron ssh; dpkg-query -W; id olga
"""


DPKG_FRONTEND, APT_LISTS = "/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock"
#: Says that the lists were fetched a moment ago.
FETCHED = "/run/nornir-lxd-fleet.fetched"
#: apt-get as Debian 10 and Ubuntu 18.04 have it: it heeds neither of these two options.
OLD_APT = r"""
cat >/usr/local/sbin/apt-get <<'END'
#!/bin/bash
kept=()
for word; do
    case $word in
    DPkg::Lock::Timeout=* | APT::Update::Error-Mode=*) word=Of::The::Tests=1 ;;
    esac
    kept+=("$word")
done
exec /usr/bin/apt-get "${kept[@]}"
END
chmod 755 /usr/local/sbin/apt-get
"""


def held(*locks: str) -> str:
    """Shell text that has a process hold locks for six seconds; one is over when it ends."""
    hold = (
        f"import fcntl, time; files = [open(f, 'w') for f in {locks!r}];"
        " [fcntl.lockf(f, fcntl.LOCK_EX) for f in files]; time.sleep(6)"
    )
    return f'setsid -f python3 -c "{hold}" >/dev/null 2>&1 </dev/null; sleep 1'


class TestWhole:
    """In this order: one machine, taken from bare to configured, then spoilt piece by piece."""

    def wanted(self) -> Configure:
        key = client_public_key().read_text().strip()
        olga = User("olga", groups=("adm",), keys=(key,), only_keys=True, sudo=True)
        return replace(WHOLE, users=(olga,))

    def test_dry_shows_all_and_changes_nothing(self, machine: Configured) -> None:
        look = "find /etc /root /home /var/lib -xdev -type f -exec sha256sum {} + | sort"
        before = machine.inside(look)
        entry = machine.converge(self.wanted(), dry_run=True)
        assert entry["status"] == "changed"
        assert "create user olga" in told(entry)
        assert "+PasswordAuthentication no" in entry["diff"].splitlines()
        assert machine.inside(look) == before
        assert machine.execs == 1

    def test_real_makes_it_so_in_one_change(self, machine: Configured) -> None:
        dry = machine.converge(self.wanted(), dry_run=True)
        entry = machine.converge(self.wanted())
        assert entry["status"] == "changed", entry["message"]
        assert machine.execs == 3  # read, change, proof
        assert (entry["steps"], entry["diff"]) == (dry["steps"], dry["diff"])
        assert "hush" not in str(entry)
        assert machine.inside("date +%Z").strip() in ("CET", "CEST")
        assert machine.inside("cat /etc/motd") == "Of the tests\n"
        assert machine.inside("stat -c '%U %G %a' /etc/mach-secret").split() == [
            "root", "adm", "640",
        ]  # fmt: skip
        assert machine.inside("runuser -u olga -- sudo -n id -un").strip() == "root"
        assert "adm" in machine.inside("id -Gn olga").split()
        assert machine.inside("getent group sip").split(":")[2] == "900"
        assert machine.inside("cat /proc/sys/net/ipv4/tcp_rmem").split()[-1] == "6000000"
        assert "LANG=nl_NL.UTF-8" in machine.inside("cat /etc/default/locale")
        assert "januari" in machine.inside("LC_ALL=nl_NL.UTF-8 date -d 2026-01-01 +%B")
        assert machine.inside("stat -c '%U %a' /home/olga/.ssh/authorized_keys").split() == [
            "olga", "600",
        ]  # fmt: skip
        assert machine.inside("systemctl is-active cron; systemctl is-enabled cron").split() == [
            "active", "enabled",
        ]  # fmt: skip
        backup = machine.inside("cat /var/lib/nornir-lxd-fleet/backup/etc/motd")
        assert "Debian" in backup

    @pytest.mark.once
    def test_again_there_is_nothing_to_do(self, machine: Configured) -> None:
        started = machine.started("ssh")
        entry = machine.converge(self.wanted())
        assert (entry["status"], entry["message"]) == ("ok", "configured as declared")
        assert machine.execs == 1
        assert machine.started("ssh") == started

    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            ("echo spoilt >/etc/motd", ["update file /etc/motd"]),
            ("chmod 600 /etc/motd", ["update file /etc/motd"]),
            ("chown olga /etc/motd", ["update file /etc/motd"]),
            ("ln -sf /etc/hostname /etc/motd", ["update file /etc/motd"]),
            ("rm /etc/cron.d/mach", ["create file /etc/cron.d/mach", "restart service cron"]),
            ("ln -sf /usr/share/zoneinfo/UTC /etc/localtime", ["update timezone"]),
            ("systemctl stop cron", ["start service cron"]),
            ("systemctl disable cron", ["enable service cron"]),
            ("usermod -s /bin/sh olga", ["update user olga"]),
            ("gpasswd -d olga adm", ["add groups of olga"]),
            (": >/home/olga/.ssh/authorized_keys", ["set authorized keys of olga"]),
            ("rm /etc/sudoers.d/olga", ["create file /etc/sudoers.d/olga"]),
            ("chmod 644 /etc/sudoers.d/olga", ["update file /etc/sudoers.d/olga"]),
            ("echo ssh-ed25519 AAAA >>~olga/.ssh/authorized_keys", ["set authorized keys of olga"]),
            ("dpkg -r tree", ["install package tree"]),
            ("echo 0 >/proc/sys/net/ipv4/ip_forward", ["set kernel net.ipv4.ip_forward"]),
            ("rm /etc/sysctl.d/61-nornir-lxd-fleet.conf", [f"create file {SYSCTL}"]),
            ("sed -i s/^5/6/ /etc/cron.d/nornir-lxd-fleet-tidy", [f"update file {TIDY}"]),
            ("sed -i s/^LANG.*/LANG=C/ /etc/default/locale", ["update locale"]),
            ("groupdel sip", ["create group sip"]),
        ],
    )
    def test_what_was_spoilt_is_shown_and_mended_and_nothing_else(
        self, machine: Configured, spoil: str, expected: list[str]
    ) -> None:
        before = machine.inside(TRACES)
        machine.inside(spoil)
        spoilt = machine.inside(TRACES)
        assert spoilt != before
        dry = machine.converge(self.wanted(), dry_run=True)
        assert told(dry) == expected, dry["message"]
        assert machine.inside(TRACES) == spoilt
        entry = machine.converge(self.wanted())
        assert (told(entry), entry["diff"]) == (expected, dry["diff"]), entry["message"]
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside(TRACES) == before

    def test_a_service_restarts_only_when_its_file_changed(self, machine: Configured) -> None:
        ssh, cron = machine.started("ssh"), machine.started("cron")
        files = tuple(
            replace(f, content="PermitEmptyPasswords no\n") if f.path == SSHD else f
            for f in WHOLE.files
        )
        entry = machine.converge(replace(self.wanted(), files=files))
        assert told(entry) == [f"update file {SSHD}", "restart service ssh"]
        assert machine.started("ssh") != ssh
        assert machine.started("cron") == cron

    def test_a_failed_validation_puts_the_file_back(self, machine: Configured) -> None:
        before, ssh = machine.inside(f"cat {SSHD}"), machine.started("ssh")
        bad = Configure(
            files=(File(SSHD, "NoSuchOption yes\n", validate="sshd -t", restarts=("ssh",)),)
        )
        entry = machine.converge(bad)
        assert entry["status"] == "failed"
        assert f"update file {SSHD} failed" in entry["message"]
        assert "put back as it was" in entry["message"]
        assert "NoSuchOption" in entry["message"]
        assert machine.inside(f"cat {SSHD}") == before
        assert machine.started("ssh") == ssh
        left = "find /var/lib/nornir-lxd-fleet/undo /var/lib/nornir-lxd-fleet/restart -type f"
        assert machine.inside(left) == ""

    def test_a_new_file_that_fails_its_validation_is_gone_again(self, machine: Configured) -> None:
        path = "/etc/ssh/sshd_config.d/51-mach.conf"
        for validate in ("sshd -t", "sshd -t -f %s"):
            bad = Configure(files=(File(path, "NoSuchOption yes\n", validate=validate),))
            entry = machine.converge(bad)
            assert entry["status"] == "failed"
            assert machine.inside("ls -A /etc/ssh/sshd_config.d").split() == ["50-mach.conf"]

    def test_a_run_killed_before_its_restart_is_finished_by_the_next(
        self, machine: Configured
    ) -> None:
        wanted = self.wanted()
        machine.converge(wanted)
        ssh = machine.started("ssh")
        machine.inside(
            "cd /var/lib/nornir-lxd-fleet; mkdir -p restart undo/etc/ssh/sshd_config.d; "
            f": >restart/ssh; cp {SSHD} undo{SSHD}"
        )
        entry = machine.converge(wanted)
        assert told(entry) == [f"update file {SSHD}", "restart service ssh"]
        assert machine.started("ssh") != ssh
        assert machine.converge(wanted)["status"] == "ok"

    def test_no_process_list_shows_a_file_or_the_script(self, machine: Configured) -> None:
        look = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >/run/seen; :"
        secret = "correct-horse-battery"
        wanted = Configure(files=(File("/etc/mach-key", secret, mode="0600", validate=look),))
        assert machine.converge(wanted)["status"] == "changed"
        seen = machine.inside("cat /run/seen")
        assert "dd bs=" in seen  # the transport's own line was there to be seen
        assert secret not in seen
        assert "put_file" not in seen

    def test_a_user_whose_group_debian_has_already(self, machine: Configured) -> None:
        entry = machine.converge(Configure(users=(User("operator"),)))
        assert told(entry) == ["create user operator"]
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside("id -gn operator").strip() == "operator"

    def test_a_user_without_a_shell_of_its_own_gets_one(self, machine: Configured) -> None:
        machine.inside("useradd -m empty; sed -i '/^empty:/s|[^:]*$||' /etc/passwd")
        assert machine.converge(Configure(users=(User("empty"),)))["status"] in ("ok", "changed")
        wanted = Configure(users=(User("empty", shell="/bin/sh"),))
        entry = machine.converge(wanted)
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside("getent passwd empty").strip().endswith(":/bin/sh")

    def test_what_holds_apt_up_is_waited_for_and_what_it_left_is_mended(
        self, machine: Configured
    ) -> None:
        machine.inside("apt-get -q update && cd /run && apt-get -q download ncal")
        machine.inside("dpkg --unpack /run/ncal_*.deb")
        machine.inside(held(DPKG_FRONTEND, "/var/lib/dpkg/lock", APT_LISTS))
        entry = machine.converge(Configure(packages={"ncal": "present"}))
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 3
        assert machine.inside("dpkg-query -W -f '${db:Status-Status}' ncal") == "installed"

    @pytest.mark.parametrize("apt", ["apt", "old apt"])
    @pytest.mark.parametrize("lock", [APT_LISTS, DPKG_FRONTEND])
    def test_one_lock_alone_is_waited_for_whatever_apt_knows_of_it(
        self, machine: Configured, lock: str, apt: str
    ) -> None:
        machine.inside(f"apt-get -q -y purge tree; rm -f {FETCHED}")
        if apt == "old apt":
            machine.inside(OLD_APT)
        machine.inside(held(lock))
        entry = machine.converge(Configure(packages={"tree": "present"}))
        machine.inside("rm -f /usr/local/sbin/apt-get")
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 3

    @pytest.mark.parametrize("apt", ["apt", "old apt"])
    def test_a_repository_that_cannot_be_fetched_does_not_pass_for_fetched(
        self, machine: Configured, apt: str
    ) -> None:
        away = "http://192.168.56.1:9/"
        machine.inside(
            f"rm -f {FETCHED}; apt-get -q -y purge tree;"
            f"echo 'deb [trusted=yes] {away} away main' >/etc/apt/sources.list.d/away.list"
        )
        if apt == "old apt":
            machine.inside(OLD_APT)
        entry = machine.converge(Configure(packages={"tree": "present"}))
        assert entry["status"] == "failed"
        assert "install package tree" in entry["message"]
        assert away in entry["message"]
        machine.inside("rm /etc/apt/sources.list.d/away.list")
        repository = Repository("away", away, "away", ("main",))
        entry = machine.converge(Configure(repositories=(repository,)))
        machine.inside("rm -f /usr/local/sbin/apt-get")
        assert entry["status"] == "failed"
        assert "put back as it was" in entry["message"]
        machine.inside("! ls /etc/apt/sources.list.d/away.sources 2>/dev/null")

    def test_a_change_whose_controller_is_gone_is_waited_for(self, machine: Configured) -> None:
        machine.inside(
            "setsid -f flock /run/nornir-lxd-fleet.change sleep 3 >/dev/null 2>&1 </dev/null"
        )
        entry = machine.converge(Configure(files=(File("/etc/mach-late", "late\n"),)))
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 1

    def test_packages_come_and_go(self, machine: Configured) -> None:
        entry = machine.converge(Configure(packages={"cron": "absent", "netbase": "present"}))
        assert told(entry) == ["remove package cron"]
        assert "dpkg" in machine.inside("dpkg-query -W -f '${Package}\\n' dpkg")
        entry = machine.converge(Configure(packages={"cron": "no-such-version"}))
        assert entry["status"] == "failed"
        assert "install package cron" in entry["message"]
        assert "no-such-version" in entry["message"]

    def test_a_service_that_its_package_brings_is_off_in_the_same_run(
        self, machine: Configured
    ) -> None:
        machine.converge(Configure(packages={"cron": "absent"}))
        off = tuple(Service(name, enabled=False, running=False) for name in ("cron", "away"))
        wanted = Configure(packages={"cron": "present"}, services=off)
        dry = machine.converge(wanted, dry_run=True)
        assert told(dry) == [
            "install package cron", "disable service cron", "stop service cron",
            "disable service away", "stop service away",
        ]  # fmt: skip
        entry = machine.converge(wanted)
        assert entry["status"] == "changed", entry["message"]
        assert (entry["steps"], entry["diff"]) == (dry["steps"], dry["diff"])
        look = "systemctl is-active cron; systemctl is-enabled cron; :"
        assert machine.inside(look).split() == ["inactive", "disabled"]
        assert machine.converge(wanted)["status"] == "ok"
        assert machine.converge(Configure(services=(Service("cron"),)))["status"] == "changed"
        entry = machine.converge(Configure(packages={"cron": "absent"}, services=off))
        assert entry["status"] == "changed", entry["message"]

    def test_a_restart_of_a_service_that_is_gone_is_forgotten(self, machine: Configured) -> None:
        machine.inside(f"mkdir -p {STATE}/restart; : >{STATE}/restart/away")
        machine.inside(
            f"ln -sf /dev/null /etc/systemd/system/masked.service; : >{STATE}/restart/masked"
        )
        wanted = Configure(files=(File("/etc/mach-away", "x\n", restarts=("gone",)),))
        entry = machine.converge(wanted)
        assert sorted(told(entry)) == [
            "create file /etc/mach-away", "forget restart of service away",
            "forget restart of service masked", "restart service gone",
        ]  # fmt: skip
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside(f"ls {STATE}/restart; rm /etc/systemd/system/masked.service") == ""
        assert machine.converge(wanted)["status"] == "ok"

    def test_what_leaves_the_inventory_is_noted_and_with_prune_what_was_there_is_back(
        self, machine: Configured
    ) -> None:
        machine.inside("echo of the operator >/etc/mach-kept; chmod 640 /etc/mach-kept")
        kept = File("/etc/mach-kept", "ours\n")
        job = CronJob("leaves", "@daily", "true")
        assert machine.converge(Configure(files=(kept,), cron=(job,)))["status"] == "changed"
        entry = machine.converge(Configure())
        assert entry["status"] == "ok"
        assert "file /etc/mach-kept is no longer in the inventory" in entry["message"]
        assert machine.inside("cat /etc/mach-kept") == "ours\n"
        entry = machine.converge(Configure(), prune=True)
        assert entry["status"] == "changed", entry["message"]
        assert "take back file /etc/mach-kept" in told(entry)
        assert machine.inside("cat /etc/mach-kept; stat -c %a /etc/mach-kept").split("\n")[:2] == [
            "of the operator", "640",
        ]  # fmt: skip
        assert "leaves" not in machine.inside("ls /etc/cron.d")
        assert machine.converge(Configure(), prune=True)["status"] == "ok"

    def test_a_user_a_group_and_a_file_that_are_declared_absent_go(
        self, machine: Configured
    ) -> None:
        made = Configure(
            groups=(Group("team"),),
            users=(User("bob", groups=("team",), uid=1900, home="/srv/bob"),),
            files=(File("/etc/mach-bob", "of bob\n", owner="bob", group="team", mode="0600"),),
        )
        assert machine.converge(made)["status"] == "changed"
        assert machine.inside("getent passwd bob").split(":")[2:6:3] == ["1900", "/srv/bob"]
        entry = machine.converge(replace(made, users=(User("bob", uid=1901),), files=()))
        assert entry["status"] == "failed"
        assert "1900" in entry["message"]
        assert "usermod --uid 1901" in entry["message"]
        gone = Configure(
            groups=(Group("team", absent=True),),
            users=(User("bob", absent=True),),
            files=(File("/etc/mach-bob", absent=True),),
        )
        entry = machine.converge(gone)
        assert entry["status"] == "changed", entry["message"]
        assert told(entry) == [
            "remove user bob", "remove group team", "remove file /etc/mach-bob",
        ]  # fmt: skip
        assert machine.inside("ls -d /srv/bob").strip() == "/srv/bob"
        assert machine.converge(gone)["status"] == "ok"

    def test_keys_users_and_groups_of_ours_that_left_are_told_and_go_with_prune(
        self, machine: Configured
    ) -> None:
        jan, before = f"{KEY}jan jan@x", f"{KEY}bob bob@x"
        machine.inside(f"useradd -m theirs; groupadd crew; echo {before} >>~/.ssh/authorized_keys")
        machine.bootstrap(jan)
        made = Configure(
            groups=(Group("crew"), Group("team"), Group("shared"), Group("nora")),
            users=(
                User("theirs", groups=("shared",), keys=(jan,)),
                User("nora", groups=("team", "crew"), keys=(jan, before), sudo=True),
            ),
        )
        assert machine.converge(made)["status"] == "changed"
        left = "authorized key of root (jan@x) is no longer in the inventory; --prune removes it"
        assert left in machine.converge(made)["notes"]
        look = "cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; cat /etc/passwd"
        seen = machine.inside(look)
        told_only = machine.converge(Configure())
        assert (told_only["status"], machine.inside(look)) == ("ok", seen)
        assert {
            "authorized key of theirs (jan@x) is no longer in the inventory; --prune removes it",
            "user nora is no longer in the inventory; --prune removes it",
            "group shared is no longer in the inventory, and stays: theirs in it",
        } <= set(told_only["notes"])
        assert not any("crew" in note or "bob" in note for note in told_only["notes"])
        dry = machine.converge(Configure(), dry_run=True, prune=True)
        entry = machine.converge(Configure(), prune=True)
        assert entry["status"] == "changed", entry["message"]
        assert entry["steps"] == dry["steps"]
        assert {
            "remove authorized keys of root", "remove authorized keys of theirs",
            "remove user nora", "remove group team", "remove group nora",
            "take back file /etc/sudoers.d/nora",
        } <= set(told(entry))  # fmt: skip
        root = machine.inside("cat /root/.ssh/authorized_keys")
        assert (jan in root, before in root) == (False, True)
        assert machine.inside(
            "cat /home/theirs/.ssh/authorized_keys; ls -d /home/nora"
        ).split() == ["/home/nora"]
        groups = machine.inside("cut -d: -f1 /etc/group").split()
        assert {"crew", "shared", "theirs"} <= set(groups)
        assert not {"team", "nora"} & set(groups)
        again = machine.converge(Configure(), prune=True)
        assert again["status"] == "ok", again["message"]
        assert machine.execs == 1

    def test_nothing_is_guessed_of_a_machine_that_an_older_version_configured(
        self, machine: Configured
    ) -> None:
        made = Configure(groups=(Group("old"),), users=(User("olof", keys=(f"{KEY}old o",)),))
        assert machine.converge(made)["status"] == "changed"
        machine.inside(f"rm {STATE}/keys {STATE}/made")
        assert machine.converge(made)["status"] == "ok"
        entry = machine.converge(Configure(), prune=True)
        assert not any(word in str(entry) for word in ("olof", "group old")), entry
        assert machine.inside("id -u olof; getent group old")

    def test_a_unit_of_ours_starts_and_restarts_with_its_new_text(
        self, machine: Configured
    ) -> None:
        def wanted(what: str) -> Configure:
            unit = f"[Service]\nExecStart=sleep {what}\n[Install]\nWantedBy=multi-user.target\n"
            file = File("/etc/systemd/system/mach.service", unit, restarts=("mach",))
            return Configure(files=(file,), services=(Service("mach"),))

        for what in ("1001", "1002"):
            entry = machine.converge(wanted(what))
            assert entry["status"] == "changed", entry["message"]
            assert machine.inside("ps -C sleep -o args=").split() == ["sleep", what]
            assert machine.converge(wanted(what))["status"] == "ok"
        machine.inside("systemctl disable --now mach; rm /etc/systemd/system/mach.service")

    def test_a_setting_that_a_container_may_not_change_is_a_clear_error(
        self, machine: Configured
    ) -> None:
        entry = machine.converge(Configure(sysctl={"vm.swappiness": "7"}))
        assert entry["status"] == "failed"
        assert "the kernel does not take vm.swappiness = 7 here" in entry["message"]
        entry = machine.converge(Configure(sysctl={"net.none.such": "7"}))
        assert "its kernel has no setting net.none.such" in entry["message"]

    def test_a_repository_is_signed_by_its_own_key_or_taken_back(self, machine: Configured) -> None:
        assert machine.converge(Configure(packages=GPG))["status"] in ("ok", "changed")
        armoured = machine.inside(REPOSITORY)
        signed = Repository("mach", "file:/srv/rep", "./", key=armoured)
        wanted = Configure(repositories=(signed,), packages={"mach-hello": "present"})
        machine.inside(held(APT_LISTS))
        entry = machine.converge(wanted)
        assert told(entry) == [
            "create repository mach",
            "install package mach-hello",
        ]
        assert entry["status"] == "changed", entry["message"]
        assert entry["seconds"] > 3
        assert machine.converge(wanted)["status"] == "ok"
        other = machine.inside("gpg --homedir /root/other --armor --export; :")
        entry = machine.converge(replace(wanted, repositories=(replace(signed, key=other),)))
        assert told(entry) == ["update repository mach"]
        assert entry["status"] == "failed"
        assert "put back as it was" in entry["message"]
        assert machine.inside("cat /etc/apt/keyrings/mach.asc") == armoured
        assert machine.converge(wanted)["status"] == "ok"
        gone = replace(signed, url="file:/srv/none")
        entry = machine.converge(replace(wanted, repositories=(gone,)))
        assert entry["status"] == "failed"
        assert machine.converge(wanted)["status"] == "ok"
        entry = machine.converge(Configure(repositories=(Repository("mach", absent=True),)))
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside("ls /etc/apt/sources.list.d /etc/apt/keyrings").split() == [
            "/etc/apt/keyrings:", "/etc/apt/sources.list.d:",
        ]  # fmt: skip

    def test_five_hundred_files_are_one_exchange_to_compare_and_one_to_send(
        self, machine: Configured
    ) -> None:
        files = tuple(File(f"/srv/many/{n:03}.conf", f"number {n}\n") for n in range(500))
        entry = machine.converge(Configure(files=files))
        assert entry["status"] == "changed", entry["message"]
        assert machine.execs == 3  # read, change, proof
        assert machine.inside("cat /srv/many/*.conf | wc -l").strip() == "500"
        assert machine.converge(Configure(files=files))["status"] == "ok"
        assert machine.execs == 1
        entry = machine.converge(Configure(), prune=True)
        assert entry["status"] == "changed", entry["message"]
        assert machine.inside("ls /srv/many") == ""

    def test_a_take_back_that_was_killed_is_done_again_and_loses_nothing(
        self, machine: Configured
    ) -> None:
        """Killed after each of its lines: the run after that finishes, with the original there."""
        original, edit = "of the operator\n", "ours, then edited\n"
        for after in range(7):  # none of its six commands, to all of them
            machine.inside(f"printf '{original}' >/etc/mach-back")
            assert machine.converge(Configure(files=(File("/etc/mach-back", "ours\n"),)))["changed"]
            machine.inside(f"printf '{edit}' >/etc/mach-back")
            machine.inside(killed_take_back("/etc/mach-back", after))
            entry = machine.converge(Configure(), prune=True)
            assert entry["status"] in ("changed", "ok"), (after, entry["message"])
            assert ("take back file /etc/mach-back" in told(entry)) == (after < 5), after
            assert machine.inside("cat /etc/mach-back") == original, after
            assert machine.inside(f"cat {STATE}/taken-back/etc/mach-back") == edit, after
            assert "/etc/mach-back" not in machine.inside(f"cat {STATE}/configured"), after
            machine.inside(f"rm -r {STATE}/taken-back")

    def test_a_failed_validation_leaves_no_trace_of_ours(self, machine: Configured) -> None:
        for validate in ("false", "test -z %s"):
            wanted = Configure(files=(File("/etc/mach-never", "ours\n", validate=validate),))
            machine.inside("echo before >/etc/mach-never")
            assert machine.converge(wanted)["status"] == "failed"
            machine.inside("echo edited >/etc/mach-never")
            entry = machine.converge(Configure(), prune=True)
            assert "mach-never" not in str(entry), entry["message"]
            assert machine.inside("cat /etc/mach-never") == "edited\n"
            assert machine.converge(wanted)["status"] == "failed"
            assert machine.inside("cat /etc/mach-never") == "edited\n"

    def test_rights_go_with_the_user(self, machine: Configured) -> None:
        assert machine.converge(Configure(users=(User("bert", sudo=True),)))["changed"]
        entry = machine.converge(Configure(users=(User("bert", absent=True),)))
        assert told(entry) == ["remove user bert", "remove file /etc/sudoers.d/bert"]
        assert entry["status"] == "changed", entry["message"]
        assert "bert" not in machine.inside("ls /etc/sudoers.d")

    def test_rights_that_visudo_does_not_take_are_not_given(self, machine: Configured) -> None:
        broken = User("bert", sudo_commands=("id",))  # without a path
        entry = machine.converge(Configure(users=(broken,)))
        assert entry["status"] == "failed"
        assert "create file /etc/sudoers.d/bert" in entry["message"]
        assert "not written: the validation failed: visudo -cf" in entry["message"]
        assert "bert" not in machine.inside("ls /etc/sudoers.d")
        assert machine.inside("visudo -cq; echo $?").strip() == "0"
        assert machine.converge(Configure(users=(User("bert", absent=True),)))["changed"]

    def test_another_home_is_made_and_gets_the_keys(self, machine: Configured) -> None:
        key = client_public_key().read_text().strip()
        bert = User("bert", keys=(key,), only_keys=True)
        assert machine.converge(Configure(users=(bert,)))["status"] == "changed"
        machine.inside(f"echo {key} | tee /home/bert/.ssh/authorized_keys2 >/dev/null")
        machine.inside("sed -i s/AAAA/AAAAB/ /home/bert/.ssh/authorized_keys2")
        entry = machine.converge(Configure(users=(bert,)))
        assert told(entry) == ["set authorized keys of bert"]
        assert machine.inside("ls /home/bert/.ssh").split() == ["authorized_keys"]
        entry = machine.converge(Configure(users=(replace(bert, home="/srv/bert"),)))
        assert entry["status"] == "changed", entry["message"]
        look = "stat -c '%U %a' /srv/bert /srv/bert/.ssh/authorized_keys"
        assert machine.inside(look).split() == ["bert", "700", "bert", "600"]
