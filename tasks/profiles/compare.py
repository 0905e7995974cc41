"""The Nornir task that holds an LXD host's profiles against the inventory and the other hosts."""

from __future__ import annotations

from typing import Any

from nornir.core.task import Result, Task

from tasks.facts.host import facts_or_none
from tasks.facts.lxd import lxd_facts_of
from tasks.profiles.across import compare_across
from tasks.run import run_of


def compare_profiles(task: Task) -> Result:
    """Hold the profiles of an LXD host against the inventory and all other LXD hosts.

    It changes nothing, and reads each host once a run, also those that the run does not select.

    ``Result.result`` has a dict for each profile that the host has or declares: ``against`` (what
    it is held against: the inventory where that declares it, else the first host that has it),
    ``same``, ``differing`` and ``missing`` (the hosts that have it so, that have it otherwise, that
    declare it and have none), ``unread`` (those that declare it and cannot say) and ``diff``, from
    what this host has to what it is held against, "" where that is the same. ``Result.diff`` is all
    of these diffs.

    Raises :class:`~tasks.errors.UnreachableError` or :class:`~tasks.errors.LxdError` where the host
    itself cannot say.
    """
    run, name = run_of(task), task.host.name
    own = lxd_facts_of(task.host)  # before the others, whom their own threads are reading
    facts = {host: facts_or_none(run.hosts[host]) for host in run.intent.lxd_hosts}
    read = {host: found for host, found in facts.items() if found and found.lxd.running}
    declared = {host: run.intent.lxd_hosts[host].profiles for host in run.intent.lxd_hosts}
    found: dict[str, dict[str, Any]] = {
        profile.name: {
            "against": profile.against,
            "same": list(profile.same),
            "differing": list(profile.differing),
            "missing": list(profile.missing),
            "unread": [h for h in declared if h not in read and profile.name in declared[h]],
            "diff": profile.diffs.get(name, ""),
        }
        for profile in compare_across(run.intent, read)
        if profile.name in own.profiles or profile.name in declared[name]
    }
    diff = "\n".join(each["diff"] for each in found.values() if each["diff"])
    return Result(host=task.host, result=found, diff=diff)
