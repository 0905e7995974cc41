"""``config.yaml`` beside the inventories: Nornir's own settings, and where our state is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from tasks.errors import InventoryError
from tasks.intent.documents import read_document
from tasks.intent.here import Here
from tasks.intent.scalars import ANY_TEXT, ANYTHING, BOOLEAN, FILE_PATH, TEXT, choice, integer
from tasks.intent.values import ListOf, MapOf, OrNull, Scalar, Table, Value
from tasks.mistakes import Mistakes
from tasks.private_key import flaw_of

#: Hosts worked on at once where nothing else is said.
WORKERS = 20

_WORKERS = integer(1, 1000, "a number of workers")
_FREE = MapOf(TEXT, ANYTHING)
#: What is ours; everything else there is the user's own, but a misspelling is not.
_OURS: Mapping[str, Value] = {
    "state_dir": FILE_PATH,
    "ssh_key": FILE_PATH,
    "files_here": MapOf(FILE_PATH, OrNull(FILE_PATH)),
}
_THEIRS = Scalar(
    lambda key: isinstance(key, str) and not get_close_matches(key, _OURS),
    "a key of your own, so close to one of ours",
    f"did you mean {' or '.join(_OURS)}?",
)
_SETTINGS = Table(
    {
        "core": Table({"raise_on_error": BOOLEAN}),
        "inventory": Table(
            {
                # open_fleet says which files; the keys are for those who open it with Nornir alone
                "plugin": choice("SimpleInventory"),
                "options": _FREE,
                "transform_function": ANY_TEXT,
                "transform_function_options": _FREE,
            }
        ),
        "ssh": Table({"config_file": FILE_PATH}),
        "logging": Table(
            {
                "enabled": BOOLEAN,
                "level": choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
                "log_file": ANY_TEXT,
                "format": TEXT,
                "to_console": BOOLEAN,
                "loggers": ListOf(TEXT),
            }
        ),
        "runner": Table(
            {"plugin": choice("threaded"), "options": Table({"num_workers": _WORKERS})}
        ),
        "user_defined": Table(_OURS, others=MapOf(_THEIRS, ANYTHING)),
    }
)


@dataclass(frozen=True)
class Settings:
    """What of ``config.yaml`` is not Nornir's alone: ``state_dir`` is whole, None by default;
    ``here`` is what the inventory's paths mean on this machine."""

    state_dir: Path | None = None
    workers: int = WORKERS
    here: Here = field(default_factory=Here)


def read_settings(file: Path) -> Settings:
    """Read and check a ``config.yaml``; the defaults where there is none.

    Raises :class:`InventoryError` with everything that is wrong in it.
    """
    mistakes = Mistakes()
    document = read_document(file, "config", mistakes)
    if not (document.absent or document.broken or document.content):
        mistakes.add(
            document.place(), "is empty, which Nornir does not take", "write {}, or remove it"
        )
    right = _SETTINGS.clean(document.content, document.place(), mistakes)
    ours = right.get("user_defined", {}) if isinstance(right, dict) else {}

    def path(written: str | None) -> Path | None:
        return file.parent / Path(written).expanduser() if written else None

    key = path(ours.get("ssh_key"))
    flaw, remedy = flaw_of(key) if key else ("", "")
    if flaw:
        mistakes.add(document.place("user_defined", "ssh_key"), flaw, remedy)
    if mistakes:
        raise InventoryError(mistakes.lines())
    files = {written: path(there) for written, there in ours.get("files_here", {}).items()}
    return Settings(
        state_dir=path(ours.get("state_dir")),
        workers=right.get("runner", {}).get("options", {}).get("num_workers", WORKERS),
        here=Here(key, files, right),
    )
