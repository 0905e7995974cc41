"""Applying changes that do not depend on each other: one that fails leaves the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tasks.errors import FleetError, LxdError, UnreachableError


def apply_all(changes: Iterable[tuple[str, Callable[[], None]]]) -> None:
    """Make every change in order, and raise at the end what went wrong.

    Arguments:
        changes: the name of what is changed ("profile demo"), for errors, and the change.

    One error is raised as it is, several as one :class:`LxdError` that holds them all. A host that
    cannot be reached ends it at once.
    """
    errors: list[FleetError] = []
    for name, change in changes:
        try:
            change()
        except UnreachableError:
            raise
        except FleetError as error:
            error.what = f"{name}: {error.what}"
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise LxdError("; ".join(str(error) for error in errors))
