"""A container that tests configure over SSH, and what they have done inside it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.bootstrap.task import bootstrap_container
from tasks.configure.task import configure_system
from tasks.intent.system import Configure
from tasks.onhost import on_host, script_of
from tests.machines import LabContainer, container_of, execs, fleet_of, run_on

#: A repository with one package, signed by a key whose public half is printed; another key beside.
REPOSITORY = r"""
set -eu
mkdir -p /srv/rep/build/DEBIAN /root/other
chmod 700 /root/other
cd /srv/rep
printf '%s\n' 'Package: mach-hello' 'Version: 1' 'Architecture: all' \
    'Maintainer: Tests <tests@example.net>' 'Description: of the tests' >build/DEBIAN/control
dpkg-deb --build build hello.deb >/dev/null
{ dpkg-deb -f hello.deb; echo "Filename: ./hello.deb"; echo "Size: $(stat -c %s hello.deb)"
  echo "SHA256: $(sha256sum hello.deb | cut -d' ' -f1)"; } >Packages
{ echo "Date: $(date -Ru | sed 's/+0000/UTC/')"; echo SHA256:
  echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"; } >Release
for home in /root/.gnupg /root/other; do
    gpg --homedir $home -q --batch --passphrase '' --quick-gen-key of@tests ed25519 2>/dev/null
done
gpg -q --batch --yes --clearsign -o InRelease Release
gpg --armor --export
"""


class Configured:
    """A container with SSH, and the state folder that knows its host key."""

    address = "192.168.56.235"

    def __init__(self, container: LabContainer, state: Path) -> None:
        self.container = container
        self.state = state
        self.execs = 0

    def bootstrap(self, *more_keys: str) -> None:
        container = container_of(self.container.name, self.address)
        keys = (*container.bootstrap.authorized_keys, *more_keys)
        bootstrap = replace(container.bootstrap, authorized_keys=keys)
        nr = fleet_of(self.state, replace(container, bootstrap=bootstrap))
        entry = run_on(nr, self.container.name, bootstrap_container)
        nr.close_connections()
        assert entry["status"] == "changed", entry["message"]

    def converge(
        self, wanted: Configure, *, dry_run: bool = False, prune: bool = False
    ) -> dict[str, Any]:
        name = self.container.name
        container = container_of(name, self.address, configure=wanted)
        nr = fleet_of(self.state, container, dry_run=dry_run)
        entry = run_on(nr, name, configure_system, prune=prune)
        self.execs = execs(nr, name)
        nr.close_connections()
        return entry

    def inside(self, script: str) -> str:
        return self.container.inside(script)

    def started(self, service: str) -> str:
        """When a service was started last: another value after a restart."""
        return self.inside(f"systemctl show -P ActiveEnterTimestampMonotonic {service}").strip()


def killed_take_back(path: str, after: int) -> str:
    """Shell text that takes a file back and is killed after that many of the function's lines."""
    text = script_of("configure")
    shared = script_of("change_machine")
    body = shared[shared.index("take_back() {\n") :].partition("\n}\n")[0].splitlines()[1:]
    commands: list[str] = []
    depth = 0
    for line in body:
        opens, closes = line.strip().startswith("if "), line.strip() == "fi"
        if depth == 0 or (opens and depth == 0):
            commands.append(line)
        else:
            commands[-1] += f"\n{line}"
        depth += opens - closes
    killed = "\n".join([*commands[:after], "kill -9 $$"])
    change = script_of("apt_locks") + on_host("change_machine", "60")
    script = f"{change}\n{text}\nset -- {path}\n{killed}\n"
    return f"tar -cf - -T /dev/null >/run/empty.tar; sh -c {shlex.quote(script)} </run/empty.tar; :"
