"""Where Debian packages come from: the same mirror, by the same way, as for this machine."""

from __future__ import annotations

import shlex
from functools import cache

from tests.lab.command import run

SUITE = "bookworm"

CARRIED_OPTIONS = (
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
)
"""How this machine reaches its mirror; a lab root needs the same."""

_CODENAMES = ("bullseye", SUITE, "trixie", "forky", "oldstable", "stable", "testing")
_ARCHIVES = ("debian", "debian-security")


@cache
def sources() -> tuple[str, ...]:
    """The apt source lines for the lab's roots.

    They are this machine's own lines for Debian, with the suite replaced if the machine runs
    another one. A machine without such lines, an Ubuntu for example, gives none: mmdebstrap's
    own default is used then.
    """
    # What is configured, not what was downloaded: the same before and after apt-get update.
    listed = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"],
        check=False,
    )
    lines: list[str] = []
    for target in listed.splitlines():
        uri, release, component = target.split()
        codename, dash, pocket = release.partition("-")
        archive = uri.rstrip("/").rpartition("/")[2]
        if (
            archive in _ARCHIVES
            and codename in _CODENAMES
            and pocket in ("", "updates", "security")
            # The lab needs nothing beyond main; less makes every apt-get update quicker.
            and component == "main"
        ):
            lines.append(f"deb {uri} {SUITE}{dash}{pocket} main")
    return tuple(dict.fromkeys(lines))


@cache
def apt_options() -> tuple[str, ...]:
    """The apt.conf lines that a lab root needs to reach the mirror as this machine does."""
    shown = run(["apt-config", "dump", *CARRIED_OPTIONS], check=False)
    lines = [line.strip() for line in shown.splitlines() if _is_set(line)]
    return (*lines, 'Acquire::Languages "none";', 'APT::Install-Recommends "false";')


def _is_set(line: str) -> bool:
    words = shlex.split(line.rstrip("; "))
    return len(words) == 2 and words[0] in CARRIED_OPTIONS and words[1] != ""
