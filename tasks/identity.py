"""Who a controller is to others: the public halves of a key and a certificate made there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Identity:
    """A controller of the fleet.

    ``trust_name`` is the name under which LXD servers trust its client ``certificate`` (PEM),
    ``public_key`` a line for authorized_keys; None where they are still to be made.
    """

    name: str
    trust_name: str
    public_key: str | None = None
    certificate: str | None = None

    @property
    def key_line(self) -> str:
        """Its public key, or in a dry run what stands for one that is still to be made."""
        return self.public_key or f"(the public key of {self.name}, to be made)"

    def to_text(self) -> str:
        """It as text, to be remembered."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @staticmethod
    def from_text(text: str) -> Identity:
        """The one in a text of :meth:`to_text`. Raises :class:`ValueError` or TypeError."""
        return Identity(**json.loads(text))
