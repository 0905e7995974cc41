"""Open a fleet: an inventory folder, checked, as a Nornir object whose tasks share one run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from nornir import InitNornir
from nornir.core import Nornir
from nornir.core.inventory import Host
from nornir.core.plugins.connections import ConnectionPluginRegister

from tasks.errors import UsageError
from tasks.intent.merge import merge
from tasks.intent.model import Intent
from tasks.load import load_intent
from tasks.log import quiet_libraries
from tasks.lxd_api.connection import LxdConnection
from tasks.mistakes import nearest
from tasks.run import RUN_KEY, Run
from tasks.selection import excluded, select
from tasks.settings import read_settings
from tasks.ssh.connection import ShellConnection
from tasks.state import StateFolder, default_state_folder

#: The inventory's files, by the option of Nornir's SimpleInventory that names them.
FILES = {
    "host_file": "hosts.yaml",
    "group_file": "groups.yaml",
    "defaults_file": "defaults.yaml",
}
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")


def open_fleet(
    inventory: str | Path = "inventory/demo",
    *,
    limit: Sequence[str] = (),
    dry_run: bool = False,
    workers: int | None = None,
    host_keys: Mapping[str, str] = {},
) -> Nornir:
    """Load and check an inventory and open it with Nornir; nothing is contacted or written.

    All hosts stay in the Nornir object, so that its own ``filter`` works; what ``limit`` selects
    is in ``run_of(nr).selected``.

    Arguments:
        inventory: the folder with hosts.yaml, groups.yaml and defaults.yaml; Nornir's own
            settings are in config.yaml next to the folder.
        limit: selectors (see :func:`tasks.selection.select`); all machines without any.
        dry_run: Nornir's dry run, which all tasks follow.
        workers: hosts worked on at once; as many as config.yaml says without it.
        host_keys: fingerprints (``SHA256:...``) under which unknown SSH host keys are learned, by
            machine.

    Raises :class:`UsageError` for a wrong argument and :class:`InventoryError` with all mistakes
    of the inventory, or of config.yaml.
    """
    if isinstance(limit, str):
        raise UsageError("limit is a text", remedy=f"give a list of selectors: [{limit!r}]")
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers do nothing", remedy="give 1 or more, or none")
    folder = _folder(Path(inventory))
    config_file = folder.parent / "config.yaml"
    settings = read_settings(config_file)
    kept = settings.state_dir / folder.name if settings.state_dir else None
    state = StateFolder(kept or default_state_folder(folder.name))
    intent = load_intent(folder, settings.here)
    _check_host_keys(intent, host_keys)
    selected = select(intent, limit)
    quiet_libraries()
    nr = InitNornir(
        config_file=str(config_file) if config_file.is_file() else "",
        dry_run=dry_run,
        inventory={
            "plugin": "SimpleInventory",
            "options": {option: str(folder / file) for option, file in FILES.items()},
            "transform_function": "",  # what it derives, the intent has derived
        },
        runner={"plugin": "threaded", "options": {"num_workers": workers or settings.workers}},
        logging={"enabled": False},
    )
    _register_connections()
    for name, host in nr.inventory.hosts.items():
        ssh = intent.machine(name).ssh
        host.hostname, host.port, host.username = ssh.hostname, ssh.port, ssh.username
    nr.inventory.defaults.data[RUN_KEY] = Run(
        intent=intent,
        state=state,
        hosts=nr.inventory.hosts,
        selected=selected,
        excluded=excluded(intent, limit),
        host_keys=dict(host_keys),
        dry_run=dry_run,
    )
    return nr


def derive_hostname(host: Host, **_: Any) -> None:
    """Set a host's hostname, port and username where they are not written out.

    Nornir's transform function ``fleet``, for an inventory opened without :func:`open_fleet`: the
    hostname is the address on the network that ``management`` names.
    """
    data: dict[str, Any] = dict(host.defaults.data)
    for layer in (*reversed(host.extended_groups()), host):
        data = merge(data, layer.data)
    address = (data.get("addresses") or {}).get(data.get("management"))
    address = address[0] if isinstance(address, list) else address
    if host.hostname is None and address:
        host.hostname = str(ip_interface(address).ip)
    host.port = host.port or 22
    host.username = host.username or "root"


def _folder(inventory: Path) -> Path:
    """The inventory's folder, whole, so that nothing depends on the working directory."""
    folder = inventory.expanduser().resolve()
    if not folder.is_dir():
        there = _inventories(folder.parent)
        raise UsageError(
            f"there is no inventory folder {inventory}",
            remedy=f"in {folder.parent} are: {', '.join(there)}" if there
            else "give the folder that holds hosts.yaml",
        )  # fmt: skip
    if not (folder / FILES["host_file"]).is_file():
        inside = _inventories(folder)
        raise UsageError(
            f"there is no {FILES['host_file']} in {inventory}",
            remedy=f"give one of its folders: {', '.join(inside)}" if inside
            else "give the folder that holds it",
        )  # fmt: skip
    return folder


def _inventories(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{FILES['host_file']}"))


def _check_host_keys(intent: Intent, host_keys: Mapping[str, str]) -> None:
    for name, fingerprint in host_keys.items():
        if name not in intent.names():
            raise UsageError(
                f"a host key is given for {name}, which is not in the inventory",
                remedy=nearest(name, intent.names()),
            )
        if not FINGERPRINT.fullmatch(fingerprint):
            raise UsageError(
                f"the host key given for {name} is no fingerprint",
                remedy="write it as ssh-keygen -lf shows it: SHA256:...",
            )


def _register_connections() -> None:
    """Nornir registers our plugins by their entry points, but not where we are not installed."""
    for name, plugin in (("shell", ShellConnection), ("lxd", LxdConnection)):
        if name not in ConnectionPluginRegister.available:
            ConnectionPluginRegister.register(name, plugin)
