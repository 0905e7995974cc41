"""Where a user's schedules lie: root's are the system's."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from tasks.intent.cron import file_name


@dataclass(frozen=True)
class Places:
    """The paths for one user; ``system`` is true for root, ``root`` is where / begins."""

    user: str
    system: bool
    home: Path
    root: Path = Path("/")

    def cron_file(self, environment: str) -> Path:
        """The file of its own that root's entry has; cron(8) has nobody else's there."""
        return self.root / "etc/cron.d" / f"nornir-lxd-fleet-{file_name(environment)}"

    def controller_entry(self, environment: str) -> Path:
        """The entry of a machine whose inventory makes it a controller."""
        return self.root / "etc/cron.d" / f"nornir-lxd-fleet-maintain-{file_name(environment)}"

    def unit(self, environment: str, kind: str) -> Path:
        """The unit of this kind (service or timer), see systemd.unit(5), UNIT FILE LOAD PATH."""
        folder = (
            self.root / "etc/systemd/system" if self.system else self.home / ".config/systemd/user"
        )
        return folder / f"nornir-lxd-fleet-{file_name(environment)}.{kind}"

    @property
    def linger(self) -> Path:
        """What is there when this user's timers run also while it is not logged in."""
        return self.root / "var/lib/systemd/linger" / self.user


def places_of_this_user() -> Places:
    """Those of the user that runs this."""
    user = pwd.getpwuid(os.geteuid())
    return Places(user.pw_name, os.geteuid() == 0, Path(user.pw_dir))
