"""Which machines maintenance can work on, as their LXD hosts see them."""

from __future__ import annotations

from tasks.actual import HostFacts, Json
from tasks.intent.model import Container
from tasks.maintenance.boot import is_drained
from tasks.maintenance.upgrade.stage import is_upgrading
from tasks.report import Report
from tasks.run import Run


class Workable:
    """By what a run has read of its LXD hosts, and what its report says of them.

    ``finishing`` is a run that finishes upgrades which others have begun.
    """

    def __init__(self, run: Run, report: Report, *, finishing: bool) -> None:
        self.run = run
        self.report = report
        self.finishing = finishing

    def is_read(self, name: str) -> bool:
        """Whether the LXD host that a machine is, or is on, was read; any other needs none."""
        container = self.run.intent.containers.get(name)
        host = container.on if container else name
        return host not in self.run.intent.lxd_hosts or host in self.run.facts

    def is_left_unread(self, name: str) -> bool:
        """Whether the run was asked to stop before it read a machine's LXD host."""
        container = self.run.intent.containers.get(name)
        host = self.report.hosts.get(container.on if container else name)
        return host is not None and host.status == "skipped"

    def why_skip(self, name: str) -> tuple[str, str]:
        """Why no job is done to a container, and why none that concerns what it does."""
        container = self.run.intent.containers.get(name)
        if container is None:
            return "", ""
        if self.report.lost(container.on):
            return f"its LXD host {container.on} is {self.report.hosts[container.on].status}", ""
        return "", self._why_not(container, self.run.facts[container.on])

    def _why_not(self, container: Container, facts: HostFacts) -> str:
        """As :func:`why_not`; an upgrade is finished also where one that was killed has left its
        container stopped."""
        reason = why_not(container, facts)
        elsewhere = [
            name
            for name, other in self.run.facts.items()
            if name != container.on and container.name in other.lxd.instances
        ]
        if reason and elsewhere and container.name not in facts.lxd.instances:
            where = f"it is on {elsewhere[0]}, declared on {container.on}"
            reason = f"{where}: correct its on, or provision.py --move"
        return "" if self.finishing and self.is_unfinished(container) else reason

    def is_down(self, container: Container) -> bool:
        """Whether it is known not to do its work: it does not run, its LXD host does not answer, or
        what was begun with it has not ended; also of one that is not selected, where its
        host was read."""
        facts = self.run.facts.get(container.on)
        if container.on in self.run.unreachable:
            return True
        without_work = self.is_unfinished(container) or is_drained(self._instance(container))
        return without_work or bool(facts and why_not(container, facts))

    def is_unfinished(self, container: Container) -> bool:
        """Whether an upgrade of it that another run began has not ended."""
        return is_upgrading(self._instance(container))

    def is_left_drained(self, container: Container) -> bool:
        """Whether it runs, and another run took its work off it for a reboot and was ended."""
        instance = self._instance(container)
        return is_drained(instance) and instance.get("status") == "Running"

    def _instance(self, container: Container) -> Json:
        facts = self.run.facts.get(container.on)
        return facts.lxd.instances.get(container.name, {}) if facts else {}


def why_not(container: Container, facts: HostFacts) -> str:
    """Why a container cannot be worked on, as its LXD host sees it; empty where it can.

    Where LXD does not answer nothing is known, and the container is tried.
    """
    if facts.lxd.problem:
        return ""
    instance = facts.lxd.instances.get(container.name)
    if instance is None:
        return f"it does not exist on {container.on}"
    status = str(instance.get("status", "Running"))
    return "" if status == "Running" else f"it is {status.lower()} on {container.on}"
