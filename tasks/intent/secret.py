"""Secrets stand in the inventory as a reference, never as a value."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import SecretError


@dataclass(frozen=True)
class Secret:
    """A reference to a secret: an environment variable, or a file read whole without its last
    newline. Shown, it shows the reference."""

    kind: Literal["env", "file"]
    source: str

    def read(self) -> str:
        """The secret itself. Raises :class:`SecretError` naming variable or file."""
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
