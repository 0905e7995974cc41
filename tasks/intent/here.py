"""Where this machine has what an inventory was written for elsewhere: see ``config.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Here:
    """What ``user_defined`` of ``config.yaml`` says of this machine, and the whole of that file.

    ``ssh_key`` is the private key of whoever runs here, which wins over the inventory's.
    ``files`` are other places of files, by the path that the inventory has; None is one that this
    machine does not need.
    """

    ssh_key: Path | None = None
    files: Mapping[str, Path | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
