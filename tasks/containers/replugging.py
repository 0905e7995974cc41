"""What becomes of a running container's addresses when LXD plugs a NIC of it in anew.

networkd gives them again by itself, also where cloud-init has set it up. ifupdown does not, nor
does a network-config of somebody's own that names the former MAC.
"""

from __future__ import annotations

from collections.abc import Collection

from tasks.intent.model import Attachment, Container
from tasks.onhost import on_host
from tasks.run import Run
from tasks.transport import exec_shell_of

#: Seconds for an interface to get its addresses again by itself, and for asking about it.
PATIENCE = 10
DEADLINE = 60.0


def not_there_again(run: Run, container: Container, plugged: Collection[str]) -> list[str]:
    """The addresses that interfaces have not got again by themselves, as "ADDRESS on INTERFACE".

    Those that have are announced to their network. Raises what the shell inside raises.
    """
    words = [
        word
        for attachment in container.attachments.values()
        if attachment.interface in plugged
        for address in attachment.addresses
        for word in (attachment.interface, str(address), _someone_in(attachment))
    ]
    if not words:
        return []
    shell = exec_shell_of(run.hosts[container.name])
    done = shell.run(on_host("await_addresses", str(PATIENCE), *words), deadline=DEADLINE)
    done.check(container.name, "looking for its addresses")
    lines = (line.split() for line in done.text.splitlines())
    return [f"{words[2]} on {words[1]}" for words in lines if words[:1] == ["missing"]]


def _someone_in(attachment: Attachment) -> str:
    """The gateway, or whoever may be there: it need not answer."""
    if attachment.gateway:
        return str(attachment.gateway)
    assert attachment.address is not None  # it is asked about its addresses
    return str(attachment.address.network.network_address + 1)
