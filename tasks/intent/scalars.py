"""Single values in an inventory: addresses, names, paths, keys, and how each is to be written."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network

from tasks.intent.values import Free, Scalar
from tasks.intent.windows import freeze_of, window_of


def matching(pattern: str, a: str, write: str = "") -> Scalar:
    """Text that matches a pattern whole."""
    compiled = re.compile(pattern)
    return Scalar(lambda v: isinstance(v, str) and compiled.fullmatch(v) is not None, a, write)


def choice(*words: str) -> Scalar:
    """One of some words."""
    return Scalar(lambda v: v in words, f"one of {', '.join(words)}")


def integer(low: int, high: int, a: str) -> Scalar:
    """A whole number from low to high."""
    return Scalar(
        lambda v: type(v) is int and low <= v <= high, a, f"write a number from {low} to {high}"
    )


def parsed(parse: Callable[[str], object], a: str, write: str) -> Scalar:
    """Text that a function reads without ValueError."""

    def accept(value: object) -> bool:
        try:
            return isinstance(value, str) and parse(value) is not None
        except ValueError:
            return False

    return Scalar(accept, a, write)


def public_key(line: str) -> str:
    """A public key line, its key data looked at. Raises ValueError."""
    kind, _, rest = line.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error as error:
        raise ValueError(line) from error
    # RFC 4253, 6.6: the key data begin with the length and the name of the key's type.
    if "\n" in line.strip() or blob[4 : 4 + int.from_bytes(blob[:4], "big")] != kind.encode():
        raise ValueError(line)
    return line


def is_armoured_key(text: str) -> bool:
    """Whether a text is one armoured OpenPGP public key block (RFC 9580, 6.2)."""
    lines = text.strip().splitlines()
    begin, end = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    return len(lines) > 2 and lines[0] == begin and lines[-1] == end and lines.count(begin) == 1


TEXT = Scalar(lambda v: isinstance(v, str) and v != "", "text")
LINE = matching(r"[^\n]+", "a line of text")
ANY_TEXT = Scalar(lambda v: isinstance(v, str), "text")
BOOLEAN = Scalar(lambda v: isinstance(v, bool), "a boolean", "write true or false")
SECONDS = Scalar(
    lambda v: type(v) in (int, float) and 1 <= v <= 86400,  # type: ignore[operator]
    "a number of seconds",
    "write a number from 1 to 86400",
)
SETTING = Scalar(
    lambda v: isinstance(v, str | int | float),
    "a single value",
    "write text, a number or a boolean",
)


def address(text: str) -> object:
    """An IP address without a zone (``%eth0``), which netplan refuses. Raises ValueError."""
    if "%" in text:
        raise ValueError(text)
    return ip_address(text)


def interface(text: str) -> object:
    """An IP address, with a prefix length of at least 1 or none. Raises ValueError."""
    if "%" in text or ip_interface(text).network.prefixlen == 0:
        raise ValueError(text)
    return ip_interface(text)


ADDRESS = parsed(address, "an IP address", "write one such as 192.0.2.10")
INTERFACE = parsed(interface, "an IP address", "write one such as 192.0.2.10 or 192.0.2.10/24")
SUBNET = parsed(ip_network, "a subnet", "write its first address and length: 192.0.2.0/24")
PUBLIC_KEY = parsed(
    public_key,
    "a public SSH key",
    "write its one line whole (ssh-ed25519 AAAA...), or {file: PATH}",
)
MAC = matching(
    r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}",
    "the MAC address of one machine",
    "write six pairs such as 00:16:3e:00:00:a0",
)
FILE_PATH = matching(r"(~/|/|[A-Za-z0-9_.])[^\n]*", "a path")
ABSOLUTE = matching(r"(/(?!\.\.?(/|$))[^/\s]+)+", "a file's absolute path", "write it from / on")
ANYTHING = Free()

# A network's name follows br- and if- in interface names, of which Linux takes 15 characters.
NETWORK = matching(
    r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?",
    "a network's name",
    "at most 12 small letters, digits and hyphens, so that br-NAME fits in 15",
)
BRIDGE_NAME = matching(
    r"br-[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?",
    "a bridge's name",
    "br- and at most 12 small letters, digits and hyphens",
)
INTERFACE_NAME = matching(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}",
    "an interface's name",
    "Linux takes at most 15 letters, digits, dots, hyphens",
)
INSTANCE_NAME = matching(
    r"[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
    "a name that LXD takes",
    "at most 63 letters, digits and hyphens, first a letter, last no hyphen",
)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
HOST_NAME = matching(
    rf"(?=.{{1,63}}$){_LABEL}(\.{_LABEL})*",
    "a host's name",
    "at most 63 letters, digits, dots and hyphens",
)
GROUP_NAME = matching(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    "a group's name",
    "letters, digits, hyphens, dots and underscores",
)
WORD = matching(
    r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*", "one word", "letters, digits and hyphens, without spaces"
)
CONFIG_KEY = matching(r"[A-Za-z][A-Za-z0-9_.-]*", "a configuration key")
# LXD's own documentation of instance options names these; anything else it refuses.
INSTANCE_KEY = matching(
    r"(agent|boot|cloud-init|environment|image|limits|linux|migration|nvidia|raw|security"
    r"|snapshots|ubuntu_pro|user)\.[A-Za-z0-9_.:/-]+|cluster\.evacuate",
    "a configuration key of an instance",
    "they begin with boot., cloud-init., limits., raw., security., user., ...",
)
# sysctl.d(5). The interface names in some of them are those without a dot.
SYSCTL_KEY = matching(
    r"[a-z0-9_]+(\.[A-Za-z0-9_-]+)+", "a kernel setting", "write one such as vm.max_map_count"
)
# The kernel has 0 and 1 for no and yes.
_SYSCTL_TEXT = re.compile(r"(?!(?i:true|false)$)\S+( \S+)*")
SYSCTL_VALUE = Scalar(
    lambda v: type(v) is int or (isinstance(v, str) and _SYSCTL_TEXT.fullmatch(v) is not None),
    "the value of a kernel setting",
    "write a number, or text as the kernel shows it",
)
SNAP_CHANNEL = matching(
    r"(latest|\d+(\.\d+)?)/(stable|candidate|beta|edge)",
    "a snap's channel",
    "write track and risk, such as 5.0/stable",
)
# https://snapcraft.io/docs/timer-string-format
_DAY = r"(mon|tue|wed|thu|fri|sat|sun)[1-5]?"
_DAYS = rf"{_DAY}(-{_DAY})?(,{_DAY}(-{_DAY})?)*"
_TIME = r"([01]?\d|2[0-4]):[0-5]\d"
_TIMES = rf"{_TIME}([-~]{_TIME}(/\d+)?)?(,{_TIME}([-~]{_TIME}(/\d+)?)?)*"
_EVENTS = rf"({_DAYS}(,{_TIMES})?|{_TIMES})"
SNAP_TIMER = matching(
    rf"{_EVENTS}(,,{_EVENTS})*", "a timer of snapd", "write days and times, such as sat,02:00-04:00"
)
LOCALE = matching(
    r"C|POSIX|C\.UTF-8|[A-Za-z]{2,3}_[A-Z]{2}\.UTF-8",
    "a locale",
    "write one such as nl_NL.UTF-8",
)
# cron.d ignores file names with a dot, apt those with anything but letters, digits, - and _.
FILE_NAME = matching(
    r"[A-Za-z0-9][A-Za-z0-9_-]*", "a short name", "letters, digits, hyphens and underscores"
)
APT_URL = matching(
    r"(https?|file|copy):/[^\s]+", "the address of an apt repository", "write https://..."
)
ARMOURED = Scalar(
    lambda v: isinstance(v, str) and is_armoured_key(v),
    "an armoured OpenPGP public key",
    "write it whole (-----BEGIN PGP PUBLIC KEY BLOCK-----), or {file: PATH}",
)
# crontab(5): five fields, or a word.
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_CRON_FIELDS: tuple[tuple[int, int, list[str]], ...] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 7, _WEEKDAYS),
)
_CRON_WORDS = "reboot|yearly|annually|monthly|weekly|daily|midnight|hourly"
_CRON_ITEM = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d?))?")


def cron_schedule(text: str) -> object:
    """A schedule as cron takes it. Raises ValueError."""
    if re.fullmatch(f"@({_CRON_WORDS})", text):
        return text
    fields = text.split(" ")
    for field, (low, high, names) in zip(fields, _CRON_FIELDS, strict=True):
        for item in field.split(","):
            found = _CRON_ITEM.fullmatch(item.lower())
            if found is None:
                raise ValueError(text)
            bounds = [
                names.index(word) + low if word in names else int(word)
                for word in found.group(1, 2)
                if word
            ]
            if bounds != sorted(bounds) or any(not low <= bound <= high for bound in bounds):
                raise ValueError(text)
    return text


CRON_SCHEDULE = parsed(
    cron_schedule,
    "a schedule of cron",
    'write minute, hour, day, month and weekday: "5 3 * * *"',
)
WINDOW = parsed(
    window_of,
    "a maintenance window",
    'write days and times, or times alone for each day: "mon-fri 02:00-05:00"',
)
FREEZE = parsed(
    freeze_of,
    "a day, or days from the first to the last",
    'write the earlier one first: "2026-12-18..2027-01-04"',
)
TIME_ZONE = matching(
    r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "a time zone", "write one such as Europe/Amsterdam"
)
USER_NAME = matching(
    r"[a-z_][a-z0-9_-]{0,31}",
    "the name of a user or group",
    "at most 32 small letters, digits, hyphens and underscores, first a letter",
)
DEVICE_NAME = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a device's name")
MODE = matching(r"0?[0-7]{3}|[1-7][0-7]{3}", "a file mode", 'write it in quotes: "0644"')
FOREIGN = matching(r"/[^\s]*", "a path", "write a file's path, or a folder's for all in it")
NETPLAN_FILE = matching(r"/etc/netplan/[^/\s]+\.yaml", "a netplan file", "write its path whole")
URL = matching(r"https://[^\s]+", "a URL", "write https://...")
