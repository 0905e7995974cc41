"""A change of a host's network that undoes itself unless a new connection confirms it.

The host arms its own way back before anything live changes: a timer that needs neither the SSH
session nor the controller. Until the confirmation the new files are in /run/netplan, where a
reboot forgets them (netplan(5): they shadow those in /etc/netplan).
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Literal

from nornir.core.inventory import Host

from tasks.actual import HostFacts
from tasks.bridges.compare import link_steps, wanted_text
from tasks.bridges.former import former_of
from tasks.bridges.live import Words
from tasks.bridges.naming import member_of
from tasks.errors import DeadlineError, FleetError, UnchangedError, UnreachableError
from tasks.facts.host import facts_of
from tasks.intent.model import LxdHost
from tasks.onhost import on_host, script_of
from tasks.plan import Plan
from tasks.run import run_of
from tasks.shell import Completed, Shell
from tasks.ssh.login import CONNECT_DEADLINE
from tasks.transport import reconnect, settle, shell_of

logger = logging.getLogger(__name__)

#: The steps of a change, in the order in which they are reached.
Stage = Literal["planned", "staged", "applied", "connected", "checked", "confirmed"]
OnStage = Callable[[Stage], None]

#: There as long as a change waits for its confirmation; see ``onhost/stage_network.sh``.
PENDING = "/run/nornir-lxd-fleet/network/pending"
#: Seconds between two attempts to connect anew.
PAUSE = 0.5
#: Seconds to wait for the script that makes the change, at most half of what it has until it is
#: undone: the connection to it may have fallen silent, and the rest is for connecting anew.
APPLY_DEADLINE = 20.0
#: Seconds that networkd has, once the host answers, to finish what it does.
CHECK_PATIENCE = 8.0
#: Seconds that a host has to answer again at its former address, once its way back has begun.
BACK_DEADLINE = 15.0


class NetworkChange:
    """One change of one host's network, from staging it to its confirmation or its way back.

    Arguments:
        host: the Nornir host.
        wanted: what the inventory intends.
        actual: the host before the change.
        plan: what is to be done, by :func:`tasks.bridges.compare.plan_bridges`.
        prune: as it was planned.
        on_stage: called with each stage as it is reached.
    """

    def __init__(
        self,
        host: Host,
        wanted: LxdHost,
        actual: HostFacts,
        plan: Plan[Words],
        *,
        prune: bool,
        on_stage: OnStage,
    ) -> None:
        self.host = host
        self.wanted = wanted
        self.before = actual
        self.plan = plan
        self.prune = prune
        self.on_stage = on_stage
        self.seconds = wanted.netplan.confirm_seconds
        self.address = host.hostname or wanted.ssh.hostname
        self.token = secrets.token_hex(8)
        self.former_address = run_of(host).state.last_address(host.name) or self.address

    def make(self) -> None:
        """Make the change. Raises :class:`FleetError` where it was refused or taken back."""
        self._reached("planned")
        until = time.monotonic() + self.seconds
        try:
            self._stage()
            self._reached("staged")
            until = time.monotonic() + self.seconds
            said = self._apply()
            self._reached("applied")
            shell = self._connect_anew(until)
            self._reached("connected")
            self._check(said, until)
            self._reached("checked")
            self._confirm(shell)
        except UnchangedError:
            raise
        except FleetError as error:
            what = f"{error.what}" if error.where == self.wanted.name else str(error)
            undone, outcome = self._go_back(until)
            raise (UnchangedError if undone else FleetError)(
                f"changing its network was tried, and {what}: {outcome}",
                where=self.wanted.name,
                remedy=error.remedy
                or "compare nics, vlans, addresses and gateways in the inventory with the cabling",
            ) from error
        settle(self.host, good=True)
        self._reached("confirmed")

    def _reached(self, stage: Stage) -> None:
        logger.info("%s: change of its network: %s", self.wanted.name, stage)
        self.on_stage(stage)

    def _stage(self) -> None:
        rollback = script_of("rollback_network").encode()
        apply = script_of("apply_network").encode()
        text = wanted_text(self.wanted, self.before, prune=self.prune).encode()
        lengths = (str(len(rollback)), str(len(apply)))
        words = (self.wanted.netplan.file, f"{self.seconds:.0f}", self.token, *lengths)
        script = on_host("stage_network", *words, *self._staging())
        given = rollback + apply + text
        done = shell_of(self.host).run(script, stdin=given, deadline=APPLY_DEADLINE)
        said = done.stderr.decode(errors="replace").strip()
        if done.status == 10:
            raise UnchangedError(
                f"netplan refuses the new configuration, nothing was touched: {said}",
                where=self.wanted.name,
                remedy="mend the inventory",
            )
        if done.status == 11:
            raise UnchangedError(
                "an earlier change of its network is not confirmed yet, nothing was touched",
                where=self.wanted.name,
                remedy=f"it is undone within {self.seconds:.0f} s; run again after that",
            )
        done.check(self.wanted.name, "preparing the change of its network")

    def _staging(self) -> Iterable[str]:
        for step in self.plan.steps:
            for words in step.write:
                if words[0] == "replace":
                    yield from words
                elif words[0] in ("delete", "unplug", "strip"):
                    yield from ("link", words[1])
        for bridge in self.wanted.bridges:
            nic = self.wanted.nics[bridge.nic] if bridge.nic else None
            for link in dict.fromkeys((bridge.name, member_of(self.wanted, bridge), nic)):
                if link:
                    yield from ("link", link)
            for route in self.wanted.attachment_on(bridge).all_routes:
                if route.to.prefixlen == 0:
                    known = any(route.via == there.via for there in self.before.routes)
                    age = "old" if known else "new"
                    yield from ("gateway", str(route.via), bridge.name, age)

    def _apply(self) -> str:
        """Make it live; what the host said about single things that failed."""
        words = [
            word
            for step in self.plan.steps
            for words in step.write
            if words[0] != "replace"
            for word in words
        ]
        for bridge in self.wanted.bridges:
            address = self.wanted.attachment_on(bridge).address
            member = member_of(self.wanted, bridge)
            words += ["await", bridge.name, member or "-", str(address) if address else "-"]
        script = on_host("start_network", *words)
        try:
            deadline = min(APPLY_DEADLINE, self.seconds / 2)
            done = shell_of(self.host).run(script, deadline=deadline)
        except (UnreachableError, DeadlineError):
            return ""  # the connection may well break here; whether the host is back decides
        said = done.stderr.decode(errors="replace").strip()
        if done.status:
            raise FleetError(f"netplan could not apply it: {said}", where=self.wanted.name)
        return said

    def _connect_anew(self, until: float) -> Shell:
        """Connect at the inventory's address, as whoever comes after us will."""
        while True:
            try:
                shell = reconnect(self.host, self.address)
                if shell.run(f"test -e {PENDING}", deadline=CONNECT_DEADLINE).status == 0:
                    return shell
                reason = "it was rolled back before"
            except (UnreachableError, DeadlineError) as error:
                reason = error.what
                if time.monotonic() + PAUSE < until:
                    time.sleep(PAUSE)
                    continue
            raise FleetError(
                f"it was not reachable at {self.address} within {self.seconds:.0f} s ({reason})",
                where=self.wanted.name,
            )

    def _check(self, said: str, until: float) -> None:
        """Everything is there as planned, seen over the new connection.

        networkd may be at work still, with what comes after a link's carrier.
        """
        former = former_of(self.wanted, self.before)
        patience = min(time.monotonic() + CHECK_PATIENCE, until - BACK_DEADLINE / 3)
        while True:
            now = facts_of(self.host, fresh=True)
            left = link_steps(self.wanted, now, former, prune=self.prune)
            if not left:
                return
            if time.monotonic() > patience:
                break
            time.sleep(PAUSE)
        missing = "; ".join(
            " ".join(part for part in (step.action, step.object, step.detail) if part)
            for step in left
        )
        because = f" ({said})" if said else ""
        raise FleetError(f"this is not as planned: {missing}{because}", where=self.wanted.name)

    def _confirm(self, shell: Shell) -> None:
        done = shell.run(on_host("confirm_network"), deadline=CONNECT_DEADLINE + BACK_DEADLINE)
        _check_confirmed(done, self.wanted.name)

    def _go_back(self, until: float) -> tuple[bool, str]:
        """Have it taken back, and wait until the host answers at its former address again.

        Returns whether it is known to be back, and what to say of it.
        """
        begin = "now"
        by_itself = until + BACK_DEADLINE
        # Back at the former address, or confirmed at the new one, its answer lost.
        places = itertools.cycle(dict.fromkeys((self.former_address, self.address)))
        try:
            while (left := by_itself - time.monotonic()) > 0:
                try:
                    shell = reconnect(self.host, next(places))
                    script = on_host("take_network_back", self.token, f"{left:.0f}", begin)
                    done = shell.run(script, deadline=left + PAUSE)
                except FleetError:
                    time.sleep(PAUSE)
                    continue
                begin = "wait"
                if done.status == 17:
                    settle(self.host, good=True)
                    return False, "the host has confirmed it all the same; run again"
                if done.status == 0:
                    run = run_of(self.host)
                    run.facts.pop(self.host.name, None)
                    run.unreachable.pop(self.host.name, None)
                    answers = f"the host answers at {self.former_address}"
                    return True, f"it was rolled back, and {answers}"
        finally:
            settle(self.host, good=False)
        return False, (
            f"it rolls back by itself, but the host has not answered at {self.former_address} "
            f"within {self.seconds + BACK_DEADLINE:.0f} s"
        )


def _check_confirmed(done: Completed, name: str) -> None:
    said = done.stderr.decode(errors="replace").strip()
    if done.status == 13:
        raise FleetError(
            "it was not confirmed in time",
            where=name,
            remedy="run again, with a longer netplan.confirm_seconds if the network is slow",
        )
    if done.status == 14:
        raise FleetError(
            f"its file could not be written ({said})", where=name, remedy="make room there"
        )
    if done.status == 15:
        raise FleetError(said, where=name)
    done.check(name, "confirming the change of its network")
