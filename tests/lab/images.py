"""The container images, each split as LXD wants it: metadata and root file system."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.lab import recipes, rootfs
from tests.lab.command import run
from tests.lab.places import IMAGES, image
from tests.lab.rootfs import Recipe

RECIPES = {
    "minimal": recipes.MINIMAL_IMAGE,
    "cloud-init": recipes.CLOUD_INIT_IMAGE,
    "minimal-ssh": recipes.MINIMAL_SSH_IMAGE,
    "cloud-init-ssh": recipes.CLOUD_INIT_SSH_IMAGE,
}

KEY_FILE = "key"
"""Holds the key of the root that the image was made from."""

_TEMPLATES = {
    "hostname.tpl": "{{ container.name }}\n",
    "hosts.tpl": "127.0.0.1 localhost\n127.0.1.1 {{ container.name }}\n"
    "::1 localhost ip6-localhost ip6-loopback\n",
}

_METADATA = """\
architecture: x86_64
creation_date: 1700000000
properties:
  architecture: amd64
  os: Debian
  release: bookworm
  variant: {variant}
  description: Debian bookworm, {variant}, of the lab
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
  /etc/hosts:
    when: [create, copy]
    template: hosts.tpl
"""


def is_built(name: str) -> bool:
    """Whether the image of today's recipe is in the cache."""
    key = IMAGES / name / KEY_FILE
    return (
        all(path.is_file() for path in image(name))
        and key.is_file()
        and key.read_text() == _key(RECIPES[name])
    )


def build(name: str) -> None:
    """Build an image unless it is in the cache, and put it there in one step.

    Raises:
        LabError: a step of the build failed
    """
    if is_built(name):
        return
    recipe = RECIPES[name]
    parent = next((each for each in RECIPES if RECIPES[each] is recipe.parent), None)
    if parent:
        build(parent)
        _unpack(parent)
    root = rootfs.build(recipe)
    IMAGES.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=rootfs.BUILDING, dir=IMAGES))
    half.chmod(0o755)
    _write_metadata(half, name)
    quick = ["-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet"]
    run(["mksquashfs", root, half / "rootfs.squashfs", *quick], timeout=120)
    (half / KEY_FILE).write_text(_key(recipe))
    rootfs.remove_tree(IMAGES / name)
    half.rename(IMAGES / name)
    # The squashfs is all that is needed of it from here on.
    rootfs.remove_tree(root)
    if parent:
        rootfs.remove_tree(RECIPES[parent].path())


def _unpack(name: str) -> None:
    """Have an image's root again, to build another one upon."""
    target = RECIPES[name].path()
    if target.is_dir():
        return
    half = target.with_name(f"{rootfs.BUILDING}{target.name}")
    rootfs.remove_tree(half)
    run(["unsquashfs", "-no-progress", "-quiet", "-d", half, image(name)[1]], timeout=120)
    half.rename(target)


def remove_half_built() -> None:
    """Remove what a build left that was killed."""
    for path in IMAGES.glob(f"{rootfs.BUILDING}*"):
        rootfs.remove_tree(path)


def _key(recipe: Recipe) -> str:
    return f"{recipe.key()}\n{_METADATA}{_TEMPLATES}"


def _write_metadata(folder: Path, variant: str) -> None:
    content = folder / "metadata"
    templates = content / "templates"
    templates.mkdir(parents=True)
    for name, text in _TEMPLATES.items():
        (templates / name).write_text(text)
    (content / "metadata.yaml").write_text(_METADATA.format(variant=variant))
    archive = folder / "metadata.tar.xz"
    run(["tar", "-C", content, "--owner=0", "--group=0", "-cJf", archive, "."])
    shutil.rmtree(content)
