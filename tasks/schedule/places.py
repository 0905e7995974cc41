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

    @property
    def cron_d(self) -> Path:
        """Where root's entries are; cron(8) has nobody else's there."""
        return self.root / "etc/cron.d"

    def cron_file(self, name: str) -> Path:
        """The file of its own that an entry of root's has."""
        return self.cron_d / f"nornir-lxd-fleet-{file_name(name)}"

    def controller_files(self) -> list[Path]:
        """The entries that this machine has as a controller, of whatever environment."""
        return sorted(self.cron_d.glob("nornir-lxd-fleet-maintain-*"))

    def unit(self, name: str, kind: str) -> Path:
        """The unit of this kind (service or timer), see systemd.unit(5), UNIT FILE LOAD PATH."""
        folder = (
            self.root / "etc/systemd/system" if self.system else self.home / ".config/systemd/user"
        )
        return folder / f"nornir-lxd-fleet-{file_name(name)}.{kind}"

    @property
    def linger(self) -> Path:
        """What is there when this user's timers run also while it is not logged in."""
        return self.root / "var/lib/systemd/linger" / self.user


def places_of_this_user() -> Places:
    """Those of the user that runs this."""
    user = pwd.getpwuid(os.geteuid())
    return Places(user.pw_name, os.geteuid() == 0, Path(user.pw_dir))
