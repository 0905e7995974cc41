"""What a controller runs: the wheels here, and the installation of them there."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.actual import MachineFacts
from tasks.errors import FleetError
from tasks.intent.controller import COMPLETE, PROGRAM
from tasks.machine.change import Call, Calls
from tasks.machine.files import ABSENT
from tasks.plan import Step, mapping_diff

DISTRIBUTION = "nornir-lxd-fleet"


@dataclass(frozen=True)
class Wheels:
    """A folder's wheels; ``fingerprint`` tells two sets of them apart, ``version`` is ours."""

    files: tuple[Path, ...]
    version: str
    fingerprint: str

    def to_tar(self) -> bytes:
        """All of them as a tar."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in self.files:
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                entry.mode = 0o644
                with file.open("rb") as content:
                    archive.addfile(entry, content)
        return packed.getvalue()


def wheels_in(folder: Path, where: str) -> Wheels:
    """The wheels in a folder here, for the controller ``where``.

    Raises :class:`FleetError` where they cannot be read, or this project's own is not one of them.
    """
    try:
        files = tuple(sorted(folder.glob("*.whl")))
        own = [f for f in files if f.name.startswith(DISTRIBUTION.replace("-", "_") + "-")]
        if len(own) != 1:
            there = f"{len(own)} wheels" if own else "no wheel"
            raise FleetError(
                f"there is {there} of {DISTRIBUTION} in {folder}",
                where=where,
                remedy="make them anew: make wheels",
            )
        sums = (f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)
        fingerprint = hashlib.sha256("".join(sums).encode()).hexdigest()[:16]
    except OSError as error:
        raise FleetError(
            f"{error.filename} cannot be read ({error.strerror})",
            where=where,
            remedy="make the wheels anew: make wheels",
        ) from None
    return Wheels(files, own[0].name.split("-")[1], fingerprint)


def plan_program(wheels: Wheels, actual: MachineFacts) -> Iterator[Step[Calls]]:
    """The step to install these wheels; none where they are installed, whole."""
    now, _, python = actual.files.get(COMPLETE, ABSENT).text.strip().partition(" ")
    there = _python(actual)
    if now == wheels.fingerprint and python == there:
        return
    why = f"{there} is not the Python {python} that it was installed for"
    arguments = (PROGRAM, wheels.fingerprint, DISTRIBUTION)
    yield Step(
        "update" if now else "install",
        f"{DISTRIBUTION} {wheels.version}",
        (Call("install_program", arguments, wheels.to_tar()),),
        why if now == wheels.fingerprint else f"from {len(wheels.files)} wheels",
        mapping_diff(
            {"wheels": now, "python": python} if now else {},
            {"wheels": wheels.fingerprint, "python": there or "as it has it"},
            PROGRAM,
        ),
    )


def _python(actual: MachineFacts) -> str:
    """The Python of the machine, ``3.11``: a virtual environment is good for one of them only."""
    return ".".join(actual.packages.get("python3-venv", "").split(".")[:2])
