"""An entry as cron and systemd have it; pure functions.

Sources: crontab(5), systemd.service(5) (COMMAND LINES), systemd.timer(5), systemd.exec(5).
"""

from __future__ import annotations

import re
import shlex

from tasks.machine.managed import HEADER, cron_command
from tasks.schedule.entry import Entry


def header_of(entry: Entry) -> str:
    """How each file of this schedule begins, and no other file does."""
    return f"{HEADER}# It maintains the fleet {entry.title}.\n"


def cron_text(entry: Entry, user: str) -> str:
    """The file in cron.d."""
    command = cron_command(_shell(entry))
    return f"{header_of(entry)}{entry.schedule} {user} {command}\n"


def crontab_line(entry: Entry) -> str:
    """The line in a user's own crontab, which names no user."""
    return f"{entry.schedule} {cron_command(_shell(entry))}"


def service_text(entry: Entry, user: str, *, system: bool) -> str:
    """The service that a timer starts. A failed run is a failed unit."""
    variables = [f"{name}={value}" for name, value in entry.variables.items()]
    online = ["Wants=network-online.target", "After=network-online.target"]
    lines = [
        "[Unit]",
        f"Description=Maintain the fleet {_literal(entry.title)}",
        *(online if system else ()),  # a user's systemd does not have that target
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={user}"] if system else ()),  # without it a service has no HOME
        *(f"Environment={_word(variable)}" for variable in variables),
        f"ExecStart={' '.join(_word(word).replace('$', '$$') for word in entry.words)}",
    ]
    return header_of(entry) + "\n".join(lines) + "\n"


def timer_text(entry: Entry) -> str:
    """The timer. What was missed while the machine was down is made up for."""
    lines = [
        "[Unit]",
        f"Description=Maintain the fleet {_literal(entry.title)} regularly",
        "",
        "[Timer]",
        f"OnCalendar={entry.schedule}",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return header_of(entry) + "\n".join(lines) + "\n"


def _shell(entry: Entry) -> str:
    variables = [f"{name}={shlex.quote(value)}" for name, value in entry.variables.items()]
    return " ".join([*variables, shlex.join(entry.words)])


def _literal(text: str) -> str:
    """A percent sign would begin a specifier."""
    return text.replace("%", "%%")


def _word(word: str) -> str:
    """One word of a unit's line."""
    if re.fullmatch(r"[\w@%+=:,./$-]+", word):
        return _literal(word)
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_literal(quoted)}"'
