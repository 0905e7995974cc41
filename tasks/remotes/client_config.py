"""An LXD client's ``config.yml``: what a Unix user has in it."""

from __future__ import annotations

from typing import Any

import yaml

from tasks.actual import ClientFolder
from tasks.errors import FleetError


def config_of(folder: ClientFolder, where: str) -> dict[str, Any]:
    """The whole of a user's config.yml, empty where there is none.

    Raises :class:`FleetError` naming the host ``where`` if it is no such file.
    """
    try:
        document = dict(yaml.safe_load(folder.config) or {})
        for entry in dict(document.get("remotes") or {}).values():
            dict(entry or {})
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise FleetError(
            f"{folder.path}/config.yml is no LXD client configuration ({type(error).__name__})",
            where=where,
            remedy="mend or remove it; lxc makes a new one",
        ) from error
    return document


def remotes_of(folder: ClientFolder, where: str) -> dict[str, Any]:
    """The user's remotes by name. Raises :class:`FleetError` as :func:`config_of` does."""
    return dict(config_of(folder, where).get("remotes") or {})


def default_remote_of(folder: ClientFolder, where: str) -> str:
    """The user's default remote. Raises :class:`FleetError` as :func:`config_of` does."""
    return str(config_of(folder, where).get("default-remote") or "local")
