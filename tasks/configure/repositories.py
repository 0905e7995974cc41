"""Apt repositories: the key and the source change together, or neither does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tasks.actual import MachineFacts
from tasks.configure.files import plan_file
from tasks.intent.system import Repository
from tasks.machine.change import Calls
from tasks.machine.files import ABSENT
from tasks.machine.managed import repository_files
from tasks.plan import Step


def plan_repository(repository: Repository, actual: MachineFacts) -> Iterator[Step[Calls]]:
    """One step for what differs of a repository.

    The source's validation fetches its lists, which proves the key too: where it fails, both files
    go back to what they were.
    """
    source, *keys = repository_files(repository)
    planned = [step for key in keys if (step := plan_file(key, actual))]
    held = actual.files.get(source.path, ABSENT)
    if planned and held.kind and not repository.absent:
        # what is there is to be validated anew, with the other key
        files = {**actual.files, source.path: replace(held, unproven=True)}
        actual = replace(actual, files=files)
    if step := plan_file(source, actual):
        planned.append(step)
    if not planned:
        return
    calls = [call for step in planned for call in step.write]
    if not repository.absent:
        calls = [
            replace(call, function="put_with_next")
            if call.function == "put_file" and call.arguments[0] != source.path
            else call
            for call in calls
        ]
    action = "remove" if repository.absent else "update" if held.kind else "create"
    yield Step(
        action,
        f"repository {repository.name}",
        tuple(calls),
        repository.url,
        "\n".join(step.diff for step in planned if step.diff),
    )
