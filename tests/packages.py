"""Debian packages built on a machine, and a source of files that offers nothing else."""

from __future__ import annotations

_BUILD = r"""
set -eu
mkdir -p /srv/rep /tmp/rep/DEBIAN
cat >/tmp/rep/DEBIAN/control <<END
Package: NAME
Version: VERSION
Architecture: all
Maintainer: Tests <tests@example.net>
Description: a package for the tests
END
printf '#!/bin/sh\nSCRIPT\n' >/tmp/rep/DEBIAN/postinst
chmod 755 /tmp/rep/DEBIAN/postinst
dpkg-deb --build /tmp/rep /srv/rep/NAME_VERSION_all.deb >/dev/null
rm -r /tmp/rep
cd /srv/rep
for deb in *.deb; do
    dpkg-deb -f "$deb"
    echo "Filename: ./$deb"
    echo "Size: $(stat -c %s "$deb")"
    echo "SHA256: $(sha256sum "$deb" | cut -d' ' -f1)"
    echo
done >Packages
echo 'deb [trusted=yes] copy:/srv/rep ./' >/etc/apt/sources.list
rm -rf /etc/apt/sources.list.d
"""


def package(name: str, version: str, script: str = "true") -> str:
    """Shell text that builds a package and makes its folder the machine's one source of packages.

    ``script`` is one line of shell, run by dpkg when it configures the package.
    """
    return _BUILD.replace("NAME", name).replace("VERSION", version).replace("SCRIPT", script)
