"""How a remote is shown in a diff."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tasks.certificate import fingerprint_of

TO_BE_MADE = "(certificate to be made)"
#: What ``lxc`` takes where an entry of config.yml does not say (its shared/cliconfig).
ENTRY_DEFAULTS = {"protocol": "lxd", "auth_type": "tls", "project": "default", "public": False}


def shown_entry(entry: Mapping[str, Any] | None, certificate: str | None) -> str:
    """An entry of config.yml with its pinned certificate's fingerprint; "" where there is none."""
    if entry is None:
        return ""
    shown = {**ENTRY_DEFAULTS, **entry, "server certificate": _fingerprint(certificate)}
    return yaml.safe_dump(shown, sort_keys=True)


def _fingerprint(certificate: str | None) -> str:
    if not certificate or certificate == TO_BE_MADE:
        return certificate or "none"
    try:
        return fingerprint_of(certificate)
    except ValueError:
        return "(no certificate)"
