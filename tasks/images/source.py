"""From which server an image came, and as what.

LXD tells it of those that it keeps fresh, by the first name that it was fetched under; a server may
have an image under several. So the alias of what we bring says what was asked for. LXD keeps that
where it brings a newer version itself.
"""

from __future__ import annotations

from tasks.actual import Json, LxdFacts
from tasks.images.targets import targets_of
from tasks.intent.model import Image
from tasks.ownership import MARK_ENDS, alias_mark

_FROM, _AS = f"{MARK_ENDS}from ", " as "


def source_mark(host: str, image: Image, *, ours: bool) -> str:
    """The description of an image's alias on an LXD host: our mark where we brought it, and where
    it came from; "" for one that comes from no server."""
    if not image.server:
        return ""
    server, name = _declared(image)
    return f"{alias_mark(host) if ours else 'image'}{_FROM}{server}{_AS}{name}"


def is_from_elsewhere(image: Image, facts: LxdFacts) -> bool:
    """Whether an LXD host has, under an image's alias, what is known to come from another server,
    or to have another name there, than is declared."""
    target = targets_of(facts).get(image.name)
    known = _known(image.name, facts.images[target]) if target else None
    return known is not None and known != _declared(image)


def kept_fresh(document: Json) -> bool:
    """Whether LXD knows the server that it comes from, and looks there for a newer one."""
    return bool(document.get("auto_update") and document.get("update_source"))


def _declared(image: Image) -> tuple[str, str]:
    return str(image.server).rstrip("/"), image.alias or image.name


def _known(alias: str, document: Json) -> tuple[str, str] | None:
    for found in document.get("aliases") or []:
        _, separator, said = str(found.get("description", "")).partition(_FROM)
        server, _, name = said.rpartition(_AS)
        if found["name"] == alias and separator and server:
            return server, name
    if not kept_fresh(document):
        return None
    source = document["update_source"]
    return str(source.get("server", "")).rstrip("/"), str(source.get("alias", ""))
