"""The wheels of this project and of all that it needs, for a controller of the fleet."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.demo import ROOT
from tests.lab.places import CACHE


def make_wheels(folder: Path) -> Path:
    """A folder with them: this project's is built anew, the others' are kept in the lab's cache."""
    needs = (ROOT / "pyproject.toml").read_bytes() + sys.version.encode()
    cache = CACHE / "wheels" / hashlib.sha256(needs).hexdigest()[:16]
    if not cache.is_dir():
        half = cache.with_name(f"{cache.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        _wheel("-w", str(half), str(ROOT))
        next(half.glob("nornir_lxd_fleet-*.whl")).unlink()
        half.rename(cache)
    shutil.copytree(cache, folder)
    _wheel("--no-deps", "-w", str(folder), str(ROOT))
    return folder


def _wheel(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", *arguments],
        check=True, timeout=300,
    )  # fmt: skip
