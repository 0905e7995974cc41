"""A renewal of certificates in a process of its own, which dies by SIGKILL between two steps.

``python -m tests.killed_renewal STAGE ARGUMENT...``: the arguments are those of maintain.py.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tasks.command import maintain_command
from tasks.maintenance.certificates import task, writes
from tasks.state import StateFolder

#: The product's own functions, and at the end of which of their calls the process dies.
STAGES: dict[str, tuple[Any, str, int]] = {
    "made": (task, "make_successors", 1),
    "trusted by one": (task, "trust", 1),
    "trusted by all": (task, "trust", 3),
    "used on the host": (writes, "_use_on_host", 1),
    "used here": (StateFolder, "use_next_certificate", 1),
    "proven": (task, "use_successors", 1),
    "let go by one": (task, "let_go", 1),
}


def die_at(stage: str) -> None:
    """Have this process die when it gets there."""
    place, name, number = STAGES[stage]
    function = getattr(place, name)
    calls = []

    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, wrapped)


if __name__ == "__main__":
    die_at(sys.argv[1])
    sys.exit(maintain_command(sys.argv[2:]))
