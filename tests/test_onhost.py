"""Functions of the scripts that change a machine, on a shell of this machine with stand-ins."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.onhost import script_of

#: The tools of a machine: its groups in a file, what was called in another one.
TOOLS = r"""
systemctl() {
    case $1 in
    show) echo loaded ;;
    is-failed) [ "$failed" = yes ] ;;
    is-enabled) echo "$enabled" ;;
    *) called systemctl "$@" ;;
    esac
}
getent() { grep "^$2:" "$1"; }
called() { echo "$*" >>calls; }
useradd() {
    called useradd "$@"
    [ ! -e refused ] || return 1
    case " $* " in *" --user-group "*) echo "olga:x:1001:" >>group ;; esac
    echo "olga:x:1001:1001::/home/olga:/bin/sh" >>passwd
}
userdel() {
    called userdel "$@"
    : >passwd
    sed -i "/^$1:/d" group
}
groupadd() {
    called groupadd "$@"
    [ ! -e refused ] || return 1
    [ "$1" != --gid ] || echo "$3:x:$2:" >>group
}
"""


class Site:
    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("passwd", "group"):
            (root / name).touch()

    def run(self, *calls: str) -> tuple[int, list[str]]:
        """The exit status of some calls in a shell of their own, and what they called."""
        frame, _, functions = script_of("change_machine").partition("\nours() {")
        assert frame
        lines = [
            "set -eu; state=$PWD/state; work=$PWD; state_made=; kept=; noted=; end=0",
            "now() { echo 0; }; patiently() { \"$@\"; }; fail() { echo \"$1\"; exit 1; }",
            "bounded() { called \"$@\"; }",
            f"ours() {{{functions}",
            script_of("configure"),
            TOOLS,
            *calls,
        ]  # fmt: skip
        (self.root / "calls").write_text("")
        done = subprocess.run(
            ["sh", "-c", "\n".join(lines)], cwd=self.root, check=False, timeout=20
        )
        return done.returncode, (self.root / "calls").read_text().splitlines()

    def made(self) -> list[str]:
        return (self.root / "state/made").read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_private_group_of_a_user_goes_with_it(site: Site) -> None:
    assert site.run("note made 'user olga'", "make_user olga")[0] == 0
    assert site.made() == ["user olga", "private-group olga"]
    assert site.run("remove_user olga") == (0, ["userdel olga"])
    assert site.made() == ["user olga"]


def test_the_group_of_a_user_that_others_made_goes_as_userdel_has_it(site: Site) -> None:
    (site.root / "group").write_text("olga:x:907:\n")
    assert site.run("remove_user olga") == (0, ["userdel olga"])


def test_a_group_of_that_name_that_was_there_before_comes_back_with_its_number(site: Site) -> None:
    (site.root / "group").write_text("olga:x:907:\n")
    assert site.run("note made 'user olga'", "make_user olga") == (
        0,
        ["useradd --create-home --gid olga olga"],
    )
    assert site.run("remove_user olga") == (0, ["userdel olga", "groupadd --gid 907 olga"])
    assert (site.root / "group").read_text() == "olga:x:907:\n"


@pytest.mark.parametrize(
    ("failed", "enabled", "how"),
    [
        ("yes", "enabled", "restart"),
        ("yes", "static", "try-restart"),
        ("yes", "indirect", "try-restart"),
        ("no", "enabled", "try-restart"),
    ],
)
def test_what_had_failed_starts_again_where_it_starts_by_itself(
    site: Site, failed: str, enabled: str, how: str
) -> None:
    status, calls = site.run(f"failed={failed}; enabled={enabled}", "restart app")
    assert (status, calls[-1]) == (0, f"systemctl {how} app")


@pytest.mark.parametrize("audit", ["", "half installed"])
def test_an_interrupted_installation_is_finished_before_anything_goes_too(
    site: Site, audit: str
) -> None:
    stand_ins = f'dpkg() {{ echo "{audit}"; }}; apt() {{ called apt "$@"; }}'
    finished = ["dpkg --configure -a --force-confdef --force-confold"] if audit else []
    assert site.run(stand_ins, "remove_packages mc") == (0, [*finished, "apt remove mc"])


def test_what_could_not_be_made_is_not_remembered_as_ours(site: Site) -> None:
    (site.root / "refused").touch()
    assert site.run("note made 'group other'", "note made 'user olga'", "make_user olga")[0] == 1
    assert site.made() == ["group other"]
    assert site.run("note made 'group sip'", "make_group sip")[0] == 1
    assert site.made() == ["group other"]
