"""Packages, those that other parts of a configuration need among them."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actual import MachineFacts
from tasks.intent.system import Configure
from tasks.machine.change import Call, Calls
from tasks.machine.paths import CERTIFICATES, CRON, LOCALES, SUDO, TIME_ZONES, is_built_in
from tasks.plan import Step, mapping_diff

Steps = Iterator[Step[Calls]]


def plan_certificates(wanted: Configure, actual: MachineFacts) -> Steps:
    """What a repository over https is verified with: it has to be there before the repository."""
    urls = [repo.url for repo in wanted.repositories if repo.url.startswith("https:")]
    if urls and CERTIFICATES not in actual.packages:
        yield _install(CERTIFICATES, "present", None, f"{urls[0]} is verified with it")


def plan_packages(wanted: Configure, actual: MachineFacts) -> Steps:
    """What is to be removed first: it may stand in the way of what is installed."""
    needed = {name: why for name, why in _needed(wanted, actual) if name not in wanted.packages}
    packages = {**wanted.packages, **dict.fromkeys(needed, "present")}
    for package, state in sorted(packages.items(), key=lambda item: item[1] != "absent"):
        installed = actual.packages.get(package)
        if state == "absent" and installed is not None:
            yield Step(
                "remove",
                f"package {package}",
                (Call("remove_packages", (package,)),),
                f"{installed} is installed",
                mapping_diff({package: installed}, {package: state}, "packages"),
            )
        elif state not in ("absent", installed) and not (state == "present" and installed):
            yield _install(package, state, installed, needed.get(package, ""))


def _needed(wanted: Configure, actual: MachineFacts) -> Iterator[tuple[str, str]]:
    """The packages that are needed though nobody declares them, and why."""
    if wanted.timezone and not actual.zone_known:
        yield TIME_ZONES, f"the time zone {wanted.timezone} needs it"
    if needs_generating(wanted, actual):
        yield LOCALES, f"the locale {wanted.locale} needs it"
    if any(user.has_sudo for user in wanted.users):
        yield SUDO, "a user with sudo needs it"
    if any(not job.absent for job in wanted.cron):
        yield CRON, "a cron job needs it"


def needs_generating(wanted: Configure, actual: MachineFacts) -> bool:
    """Whether the wanted locale is not there yet; C and its kin always are."""
    return not is_built_in(wanted.locale or "C") and not actual.locale_known


def _install(package: str, state: str, installed: str | None, why: str) -> Step[Calls]:
    what = package if state == "present" else f"{package}={state}"
    return Step(
        "install",
        f"package {package}",
        (Call("install_packages", (what,)),),
        why or ("" if installed is None else f"{installed} is installed"),
        mapping_diff({package: installed or "absent"}, {package: state}, "packages"),
    )
