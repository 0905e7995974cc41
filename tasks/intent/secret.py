"""Secrets stand in the inventory as a reference, never as a value."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import SecretError

#: What stands in place of a secret where one is shown.
HIDDEN = "(secret)"
#: A shorter one is none, and would hide half of every text.
SHORTEST = 4
#: The secrets that this process has read.
_read: set[str] = set()


def hide_from_now(secret: str) -> None:
    """Have :func:`hide` know a secret that does not come from the inventory."""
    if len(secret) >= SHORTEST:
        _read.add(secret)


def hide(text: str) -> str:
    """A text without the secrets that this process has read.

    For what others have written: LXD, for one, quotes the value of a key that it refuses.
    """
    for value in sorted(_read, key=len, reverse=True):
        for form in _forms(value):
            text = text.replace(form, HIDDEN)
    return text


def _forms(value: str) -> tuple[str, ...]:
    """A value as it is, and as Python, JSON and Go write it between quotes."""
    quoted = (json.dumps(value, ensure_ascii=escaped)[1:-1] for escaped in (False, True))
    return (value, repr(value)[1:-1], *quoted)


@dataclass(frozen=True)
class Secret:
    """A reference to a secret: an environment variable, or a file read whole without its last
    newline. Shown, it shows the reference."""

    kind: Literal["env", "file"]
    source: str

    def read(self) -> str:
        """The secret itself, which :func:`hide` knows from then on.

        Raises :class:`SecretError` naming variable or file, where it is empty too.
        """
        value = self._value()
        if not value:
            raise SecretError(f"the secret in {self.source} is empty", remedy="give it a value")
        hide_from_now(value)
        return value

    def _value(self) -> str:
        if self.kind == "env":
            value = os.environ.get(self.source)
            if value is None:
                raise SecretError(
                    f"environment variable {self.source} is not set",
                    remedy=f"export {self.source} before the run",
                )
            return value
        try:
            return Path(self.source).expanduser().read_text().removesuffix("\n")
        except OSError as error:
            raise SecretError(
                f"secret file {self.source} cannot be read ({error.strerror})",
                remedy="create it, readable for this user only",
            ) from None
