"""A machine's own name: hostname(5), hosts(5), and what the kernel has now."""

from __future__ import annotations

from collections.abc import Iterator

from tasks.actual import MachineFacts
from tasks.intent.model import Machine
from tasks.intent.system import File
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT, file_step
from tasks.machine.paths import HOSTNAME, HOSTS, is_ours
from tasks.plan import Step, mapping_diff, text_diff


def plan_host_name(machine: Machine, name: str, actual: MachineFacts) -> Iterator[Step[Calls]]:
    """Give a machine its name, in the files that are ours. ``name`` may have a domain."""
    short = name.split(".", maxsplit=1)[0]
    held = actual.files.get(HOSTNAME, ABSENT)
    named = held.text.strip()
    step = file_step(File(HOSTNAME, f"{name}\n"), held)
    if step and _differs(named, name) and is_ours(HOSTNAME, machine):
        yield step
    if _differs(actual.hostname, name):
        yield Step(
            "update",
            "host name",
            (Call("set_hostname", (name,)),),
            diff=mapping_diff({"name": actual.hostname}, {"name": name}, "host name"),
        )
    known = actual.files.get(HOSTS, ABSENT).text
    if name not in known.split() and is_ours(HOSTS, machine):
        line = f"127.0.1.1 {name if name == short else f'{name} {short}'}\n"
        yield Step(
            "update",
            f"file {HOSTS}",
            (Call("add_lines", (HOSTS,), line.encode()),),
            diff=text_diff(known, f"{known.rstrip()}\n{line}", HOSTS),
        )


def _differs(now: str, wanted: str) -> bool:
    """A name without a domain is satisfied by any domain."""
    return now != wanted if "." in wanted else now.split(".", maxsplit=1)[0] != wanted
