"""What tests run inside a container of the lab, by LXD's own client on its host."""

from __future__ import annotations


def exec_inside(container: str, script: str) -> list[str]:
    """The command that runs a shell script in a container.

    LXD 5.0.2 loses the output of an exec now and then, where that ends as soon as it has written:
    it ends a moment later.
    """
    later = f"(\n{script}\n); status=$?; sleep 0.1; exit $status"
    return ["lxc", "exec", container, "--", "sh", "-c", later]
