"""A shell inside a container that needs nothing there: ``lxc exec`` over its LXD host's SSH."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable

from nornir.core.inventory import Host

from tasks.errors import DeadlineError, UnreachableError
from tasks.run import run_of
from tasks.shell import Completed

RunOn = Callable[[Host, str, bytes, float], Completed]

#: Seconds that a command in a container gets to end by itself once its deadline has passed.
GRACE = 5


class ExecShell:
    """Scripts inside a container by ``lxc exec``, bounded on the LXD host itself.

    The client's folder is a temporary one: a first ``lxc`` call makes it, and a dry run leaves
    nothing behind.

    Arguments:
        container: that container.
        lxd_host: where it runs.
        run_on: runs a script on that host, given its input and its deadline in seconds.
    """

    def __init__(self, container: Host, lxd_host: Host, run_on: RunOn) -> None:
        self.where = container.name
        self._container = container
        self._lxd_host = lxd_host
        self._run_on = run_on

    def run(self, script: str, *, stdin: bytes = b"", deadline: float = 60.0) -> Completed:
        """Run a script; see :meth:`tasks.shell.Shell.run`."""
        started = time.monotonic()
        outer = EXEC_SCRIPT.format(
            grace=GRACE,
            seconds=f"{deadline:g}",
            more=f"{deadline + GRACE:g}",
            instance=shlex.quote(self.where),
            count=len(script.encode()),
        )
        inner = script.encode() + stdin
        run = run_of(self._container)
        run.count(self.where, "execs", sent=len(outer.encode()) + len(inner))
        done = self._run_on(self._lxd_host, outer, inner, deadline + 3 * GRACE)
        run.carried(self.where, received=len(done.stdout) + len(done.stderr))
        if done.status in (124, 137) and time.monotonic() - started >= deadline:
            raise DeadlineError(
                f"the command inside did not end within its deadline of {deadline:g} s "
                "and was ended",
                where=self.where,
                remedy="look at the container's load and processes, then run again",
            )
        said = done.stderr.decode(errors="replace").strip()
        if done.status and not done.stdout and said.startswith("Error: "):
            raise UnreachableError(
                f"lxc exec on {self._lxd_host.name} failed ({said.removeprefix('Error: ')})",
                where=self.where,
                remedy="see whether the container exists and runs there: lxc list",
            )
        return done


# The timeout inside ends the command with all its children, the one outside an lxc client whose
# LXD or container no longer answers.
EXEC_SCRIPT = """
PATH=$PATH:/snap/bin
LXD_CONF=$(mktemp -d /run/nornir-lxd-fleet.XXXXXX) || exit 1
export LXD_CONF
trap 'rm -rf "$LXD_CONF"' EXIT
: >"$LXD_CONF/config.yml"
timeout -k {grace} {more} lxc exec {instance} -- timeout -k {grace} {seconds} sh -c \
  's=$(dd bs={count} count=1 iflag=fullblock 2>/dev/null); eval "$s"'
"""
