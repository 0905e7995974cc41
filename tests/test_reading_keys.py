"""What is read of a user's authorized keys, on a shell of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tasks.onhost import script_of


def read(folder: Path) -> list[str]:
    """The lines of both files in a folder, without the empty ones."""
    text = script_of("read_machine")
    function = text[text.index("read_keys() {") : text.index("read_user() {")]
    script = f"largest=262144\n{function}\nread_keys {folder}"
    done = subprocess.run(
        ["sh", "-uc", script], stdout=subprocess.PIPE, text=True, check=True, timeout=10
    )
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("name", ["authorized_keys", "authorized_keys2"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "large"])
def test_what_a_user_puts_in_place_of_a_file_of_keys(tmp_path: Path, name: str, kind: str) -> None:
    for each in ("authorized_keys", "authorized_keys2"):
        (tmp_path / each).write_text(each)  # its last line has no end
    assert read(tmp_path) == ["authorized_keys", "authorized_keys2"]
    other = "authorized_keys" if name.endswith("2") else "authorized_keys2"
    place, secret = tmp_path / name, tmp_path / "secret"
    secret.write_text("of root")
    place.unlink()
    if kind == "link":
        place.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.write_text("x" * 1_000_000)
    assert read(tmp_path) == [other]
