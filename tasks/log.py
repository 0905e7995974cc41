"""Logging: a rotating file in the state folder, and quiet libraries everywhere else."""

from __future__ import annotations

import logging
import logging.handlers
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.intent.secret import hide

#: What is logged of whom. Nornir logs its tasks' arguments at INFO, paramiko each exchange.
LEVELS = {
    "tasks": logging.INFO,
    "nornir": logging.ERROR,
    "paramiko": logging.WARNING,
    "netmiko": logging.WARNING,
    "urllib3": logging.WARNING,
    "pylxd": logging.WARNING,
}
MAX_BYTES = 5_000_000
KEPT = 5


def quiet_libraries() -> None:
    """Keep the loggers of ours and of the libraries from writing to the terminal.

    Without any handler Python prints warnings and tracebacks to standard error; the root logger
    is the program's own and stays as it is.
    """
    for name in LEVELS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            logger.addHandler(logging.NullHandler())


@contextmanager
def log_to(folder: Path, name: str) -> Iterator[Path]:
    """Log to ``folder``/``name``.log for as long as the context lasts; gives the file's path.

    Both are made where missing, readable for this user only.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    handler = _PrivateFile(path, maxBytes=MAX_BYTES, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(
        _WithoutSecrets("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s")
    )
    before = {logger: logging.getLogger(logger).level for logger in LEVELS}
    for logger, level in LEVELS.items():
        logging.getLogger(logger).setLevel(level)
        logging.getLogger(logger).addHandler(handler)
    try:
        yield path
    finally:
        for logger in LEVELS:
            logging.getLogger(logger).removeHandler(handler)
            logging.getLogger(logger).setLevel(before[logger])
        handler.close()


class _WithoutSecrets(logging.Formatter):
    """Tracebacks hold what others have written, in which a secret may be quoted."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating log file, 0600 whatever the umask."""

    def _open(self):  # type: ignore[no-untyped-def]  # the type is private to typeshed
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        return super()._open()
