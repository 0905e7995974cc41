"""Check that a machine is well: disk, failed units, and what its inventory declares."""

from __future__ import annotations

from nornir.core.task import Result, Task

from tasks.maintenance.look import look_at
from tasks.outcome import result_of


def check_health(task: Task) -> Result:
    """Look at disk space and inodes of /, failed systemd units, and the declared health checks.

    What there is to see on the machine is read in one exchange; then its services are asked from
    here, side by side, also where the machine cannot be read. It changes nothing, unless a
    declared command does, so that it runs in a dry run as well. A container that has an address
    for SSH and does not answer there is read through its LXD host, and is not well.

    ``Result.result`` is the record of phase ``health``: ok with what was found, or failed with
    everything that is wrong. Errors are in the record, never raised.
    """
    return result_of(task, look_at(task.host))
