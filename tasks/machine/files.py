"""Files on a machine: what differs, and the call that mends it."""

from __future__ import annotations

import hashlib

from tasks.actual import FileFacts
from tasks.intent.system import File
from tasks.machine.change import Call, Calls
from tasks.plan import Step, mapping_diff, text_diff

ABSENT = FileFacts()


def absent_step(file: File, actual: FileFacts = ABSENT) -> Step[Calls] | None:
    """The step that removes a file; None where there is none. A folder is not removed."""
    if not actual.kind:
        return None
    empty = File(file.path, mode=actual.mode or "0644")
    shown = _content_diff(empty, actual) if actual.kind == "file" else ""
    return Step(
        "remove",
        f"file {file.path}",
        (Call("remove_file", (file.path,)),),
        "" if actual.kind == "file" else f"a {actual.kind}",
        shown or mapping_diff({file.path: actual.kind}, {file.path: "absent"}, "files"),
    )


def file_step(
    file: File, actual: FileFacts = ABSENT, *, more: Calls = (), before: Calls = ()
) -> Step[Calls] | None:
    """The step that makes a file as declared; None where it is.

    Arguments:
        actual: what is there now.
        more: calls that belong to the same step, after the file is written.
        before: the same, before it is written.

    What not everyone on the machine may read is not shown in the diff.
    """
    differs = _differs(file, actual)
    if not differs:
        return None
    write = Call(
        "put_file",
        (file.path, file.owner, file.group, file.mode.zfill(4), file.validate or ""),
        file.content.encode(),
    )
    return Step(
        "update" if actual.kind else "create",
        f"file {file.path}",
        write=(*before, write, *more),
        detail=", ".join(differs) if actual.kind else "",
        diff=_diff(file, actual),
    )


def _differs(file: File, actual: FileFacts) -> list[str]:
    if not actual.kind:
        return ["missing"]
    if actual.kind != "file":
        return [f"is a {actual.kind}"]
    differs = []
    if not _same_content(file, actual):
        differs.append("content")
    for key, (is_now, wanted) in _attributes(file, actual).items():
        if is_now != wanted:
            differs.append(key)
    if actual.unproven:
        differs.append("not validated yet")
    return differs


def _same_content(file: File, actual: FileFacts) -> bool:
    if actual.content is not None:
        return actual.content == file.content.encode()
    return actual.sha256 == hashlib.sha256(file.content.encode()).hexdigest()


def _attributes(file: File, actual: FileFacts) -> dict[str, tuple[str, str]]:
    return {
        "owner": (actual.owner, file.owner),
        "group": (actual.group, file.group),
        "mode": (actual.mode, file.mode.zfill(4)),
    }


def _diff(file: File, actual: FileFacts) -> str:
    changed = {k: v for k, v in _attributes(file, actual).items() if actual.kind and v[0] != v[1]}
    attributes = mapping_diff(
        {key: value[0] for key, value in changed.items()},
        {key: value[1] for key, value in changed.items()},
        file.path,
    )
    return "\n".join(part for part in (_content_diff(file, actual), attributes) if part)


def _content_diff(file: File, actual: FileFacts) -> str:
    if actual.kind == "file" and _same_content(file, actual):
        return ""
    if not (_anyone_reads(file.mode) and _anyone_reads(actual.mode or "0644")):
        return f"{file.path}: its content is not shown, since not everyone may read it there"
    if actual.kind not in ("", "file"):
        return f"{file.path}: a {actual.kind} becomes a file\n" + text_diff(
            "", file.content, file.path
        )
    if actual.kind and actual.content is None:
        return f"{file.path}: content differs (too large to be shown)"
    try:
        now = (actual.content or b"").decode()
    except UnicodeDecodeError:
        return f"{file.path}: content differs (what is there is no text)"
    return text_diff(now, file.content, file.path)


def _anyone_reads(mode: str) -> bool:
    return bool(int(mode, 8) & 0o004)
