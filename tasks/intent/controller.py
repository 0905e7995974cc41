"""A machine of the fleet that manages the fleet, and where it has what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: What making its certificate takes; ssh-keygen is there with its SSH server.
TOOLS = ("openssl",)
#: config.yaml, a folder for each environment, and ``files`` that lay elsewhere before.
SETTINGS = "/etc/nornir-lxd-fleet"
#: This project, in a folder for each set of wheels; ``current`` points to the one in use.
PROGRAM = "/opt/nornir-lxd-fleet"
CURRENT = f"{PROGRAM}/current"
WHEELS = f"{CURRENT}/wheels"
#: Written last, with the fingerprint of the wheels and the Python that they were installed for:
#: without it an installation is not whole.
COMPLETE = f"{CURRENT}/complete"
#: Beside it the public half, with ``.pub``.
KEY = "/root/.ssh/nornir-lxd-fleet"
#: A folder for each environment, as :class:`tasks.state.StateFolder` has it.
STATES = "/var/lib/nornir-lxd-fleet/controller"


@dataclass(frozen=True)
class Controller:
    """What makes a machine a controller of the environment.

    ``wheels`` is a folder here with this project's wheel and those of all that it needs. The
    inventory, the settings and the cron entry are among the machine's configuration.
    """

    environment: str
    wheels: Path

    @property
    def inventory(self) -> str:
        """The inventory's folder there."""
        return f"{SETTINGS}/{self.environment}"

    @property
    def public_key(self) -> str:
        """The public half of its key there."""
        return f"{KEY}.pub"

    @property
    def certificate(self) -> str:
        """Its client certificate for LXD there."""
        return f"{STATES}/{self.environment}/client.crt"

    @property
    def certificate_key(self) -> str:
        """That certificate's private key there."""
        return f"{STATES}/{self.environment}/client.key"

    @property
    def known_hosts(self) -> str:
        """The SSH host keys that it knows."""
        return f"{STATES}/{self.environment}/known_hosts"
