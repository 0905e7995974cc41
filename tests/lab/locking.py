"""One change of the lab at a time, and of the cache that all labs of this machine share."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.errors import LabError
from tests.lab.places import CACHE, LOCK


@contextmanager
def locked(seconds: float = 300) -> Iterator[None]:
    """Hold the lab's lock; the kernel lets go of it when this process ends.

    Raises:
        LabError: another process changes the lab, and still does after that many seconds
    """
    deadline = time.monotonic() + seconds
    handle = _try()
    while handle is None:
        if time.monotonic() > deadline:
            holder = LOCK.read_text().strip() or "unknown"
            raise LabError(f"the lab is being changed by process {holder} ({LOCK})")
        time.sleep(0.1)
        handle = _try()
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def cache_locked(seconds: float = 1200) -> Iterator[None]:
    """Hold the lock on the cache, and on what is installed on this machine.

    Raises:
        LabError: another process builds something, and still does after that many seconds
    """
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + seconds
    with (CACHE / "lock").open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(f"another process still builds in {CACHE}") from None
                time.sleep(0.1)
        yield


def _try() -> int | None:
    try:
        handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise LabError("the lab needs root") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # `down` removes the file: a lock on a removed file locks nobody else out.
        if os.fstat(handle).st_ino == LOCK.stat().st_ino:
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
