"""What a machine says of itself, and what of that is not well: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.intent.health import (
    FULL,
    ClockCheck,
    CommandCheck,
    DiskCheck,
    HealthCheck,
    MemoryCheck,
    PortCheck,
    ServiceCheck,
)
from tasks.shell import TAIL_LINES

#: Seconds that ``health.sh`` takes at most, without what is declared.
DEADLINE = 60.0
#: Seconds that it takes for a disk whose file system does not answer, its inodes too.
DISK_SECONDS = 22
#: Seconds that ending a command takes at most once its time is over.
GRACE = 6
#: Exit statuses of timeout(1) where the time was over: ended by TERM, or by KILL.
TIMED_OUT = (124, 137)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status and the seconds that it took."""

    status: int
    seconds: int


@dataclass
class Reading:
    """What a machine said; what it did not say is not there.

    ``disk`` and ``inodes`` are percent in use by mount point, ``unmounted`` where nothing is
    mounted, ``memory`` in KiB: total and available, and limit and used of the cgroup where it
    limits memory; ``commands`` and ``said`` are by the command's number from 1; ``clock`` its
    time at the beginning and at the end in seconds since 1970.
    """

    disk: dict[str, int] = field(default_factory=dict)
    inodes: dict[str, int] = field(default_factory=dict)
    unmounted: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    silent: bool = False
    services: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    commands: dict[int, Ended] = field(default_factory=dict)
    said: dict[int, list[str]] = field(default_factory=dict)
    clock: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Interval:
    """Between these two times of the controller's clock, in seconds since 1970, it was said."""

    before: float
    after: float


def asked(checks: Sequence[HealthCheck]) -> tuple[list[str], float]:
    """The arguments of ``health.sh`` for these checks, and the seconds to wait for it."""
    arguments: dict[str, None] = {}
    commands = [check for check in checks if isinstance(check, CommandCheck)]
    for check in checks:
        match check:
            case ServiceCheck(name):
                arguments[f"service:{name}"] = None
            case PortCheck(number):
                arguments[f"port:{number}"] = None
            case DiskCheck(path=path) if path != "/":
                arguments[f"disk:{path}"] = None
            case MemoryCheck():
                arguments["memory:"] = None
            case ClockCheck():
                arguments["clock:"] = None
    for command in dict.fromkeys(commands):
        arguments[f"command:{command.seconds}:{command.run}"] = None
    seconds = sum(command.seconds + GRACE for command in dict.fromkeys(commands))
    disks = sum(argument.startswith("disk:") for argument in arguments)
    return list(arguments), DEADLINE + seconds + disks * DISK_SECONDS


def parse(output: str) -> Reading:
    """The lines of ``onhost/health.sh``."""
    reading = Reading()
    # not splitlines, which knows line ends that a shell does not
    for line in output.split("\n"):
        match line.split(" ", 3):
            case ["disk", path, percent]:
                reading.disk[path] = int(percent)
            case ["inodes", path, percent]:
                reading.inodes[path] = int(percent)
            case ["unmounted", path]:
                reading.unmounted.add(path)
            case ["failed", unit]:
                reading.failed.append(unit)
            case ["systemd", "silent"]:
                reading.silent = True
            case ["service", name, state]:
                reading.services[name] = state
            case ["port", number, state]:
                reading.ports[number] = state
            case ["memory", what, amount]:
                reading.memory[what] = int(amount)
            case ["command", number, "ended", rest]:
                status, seconds = rest.split()
                reading.commands[int(number)] = Ended(int(status), int(seconds))
            case ["command", number, "said", rest]:
                reading.said.setdefault(int(number), []).append(rest)
            case ["clock", seconds]:
                reading.clock.append(float(seconds))
    return reading


def judge(checks: Sequence[HealthCheck], reading: Reading, asked_in: Interval) -> list[str]:
    """All that is wrong, in words; empty for a machine that is well."""
    return [*_disks(checks, reading), *_units(reading), *_declared(checks, reading, asked_in)]


def found(checks: Sequence[HealthCheck], reading: Reading) -> str:
    """What a machine that is well said, in words."""
    parts = [f"disk {reading.disk['/']} %", f"inodes {reading.inodes['/']} %"]
    memory = _memory_used(reading)
    if memory is not None and any(isinstance(check, MemoryCheck) for check in checks):
        parts.append(f"memory {memory:.0f} %")
    return ", ".join(parts)


def _disks(checks: Sequence[HealthCheck], reading: Reading) -> Iterator[str]:
    limits: dict[str, int] = {}
    for check in checks:
        if isinstance(check, DiskCheck):
            limits[check.path] = min(check.percent, limits.get(check.path, check.percent))
    for path, limit in {"/": FULL, **limits}.items():
        if path in reading.unmounted:
            yield f"disk: nothing is mounted on {path}"
            continue
        for what, used in (("disk", reading.disk), ("inodes", reading.inodes)):
            place = "" if path == "/" else f" of {path}"
            if path not in used:
                yield f"{what}{place}: not known"
            elif used[path] > limit:
                yield f"{what}: {path} is {used[path]} % full, more than {limit} %"


def _units(reading: Reading) -> Iterator[str]:
    if reading.failed:
        yield f"failed units: {', '.join(reading.failed)}"
    if reading.silent:
        yield "systemd does not answer"


def _declared(checks: Sequence[HealthCheck], reading: Reading, asked_in: Interval) -> Iterator[str]:
    commands = [check for check in checks if isinstance(check, CommandCheck)]
    numbers = {command: number for number, command in enumerate(dict.fromkeys(commands), 1)}
    for check in checks:
        problem = ""
        match check:
            case ServiceCheck(name):
                state = reading.services.get(name, "unknown")
                problem = "" if state == "active" else f"service {name} is {state}"
            case PortCheck(number):
                if reading.ports.get(str(number)) != "open":
                    problem = f"nothing listens on TCP port {number}"
            case MemoryCheck(percent):
                problem = _memory(percent, reading)
            case ClockCheck(seconds):
                problem = _clock(seconds, reading.clock, asked_in)
            case CommandCheck():
                problem = _command(check, numbers[check], reading)
        if problem:
            yield problem


def _memory_used(reading: Reading) -> float | None:
    """Percent of the memory in use; of the cgroup's limit where that is less than the memory.

    lxcfs makes ``/proc/meminfo`` a container's own, its limit the total. Where it does not, that
    file is about the whole host, and only the cgroup knows better.
    """
    total, available = (reading.memory.get(key, 0) for key in ("total", "available"))
    limit, used = (reading.memory.get(key, 0) for key in ("limit", "used"))
    if 0 < limit < total:
        return 100 * used / limit
    return 100 * (1 - available / total) if total and "available" in reading.memory else None


def _memory(percent: int, reading: Reading) -> str:
    used = _memory_used(reading)
    if used is None:
        return "memory: not known"
    if used <= percent:
        return ""
    total, limit = reading.memory["total"], reading.memory.get("limit", 0)
    limited = 0 < limit <= total
    size = f"{(limit if limited else total) // 1024} MiB"
    of = f"the {size} that its cgroup allows" if limited else size
    return f"memory: {used:.1f} % of {of} is in use, more than {percent} %"


def _clock(seconds: float, clock: Sequence[float], asked_in: Interval) -> str:
    """Its clock is ahead by no less than from the end to our later time, and by no more than from
    our earlier time to the beginning: what is between the two is latency, and no difference."""
    if len(clock) != 2:
        return "clock: not known"
    least, most = clock[1] - asked_in.after, clock[0] - asked_in.before
    drift, where = (least, "ahead of") if least > -most else (-most, "behind")
    if drift <= seconds:
        return ""
    return f"clock: {drift:.1f} s {where} the controller's, more than {seconds:g} s"


def _command(check: CommandCheck, number: int, reading: Reading) -> str:
    text = " ".join(check.run.split())
    name = f"command `{text if len(text) <= 60 else text[:57] + '...'}`"
    ended = reading.commands.get(number)
    if ended is None:
        return f"{name} left something running that keeps its output open"
    if ended.status == 0:
        return ""
    what = f"ended with exit status {ended.status}, expected 0"
    if ended.status in TIMED_OUT and ended.seconds >= check.seconds:
        what = f"did not end within {check.seconds} s"
    lines = [
        "".join(c if c.isprintable() else " " for c in line).strip()
        for line in reading.said.get(number, [])[-TAIL_LINES:]
    ]
    said = " / ".join(line for line in lines if line)
    return f"{name} {what}: {said}" if said else f"{name} {what}"
