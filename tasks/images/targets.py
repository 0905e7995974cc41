"""The aliases of an LXD host's images."""

from __future__ import annotations

from tasks.actual import LxdFacts


def targets_of(facts: LxdFacts) -> dict[str, str]:
    """Alias -> fingerprint, of every image on a host."""
    return {
        str(alias["name"]): fingerprint
        for fingerprint, image in facts.images.items()
        for alias in image.get("aliases") or []
    }
