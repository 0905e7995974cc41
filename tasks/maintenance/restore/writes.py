"""Carrying out the steps of a restore on an LXD host, but for the proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir.core.inventory import Host

from tasks.containers.remembered import RESTORED
from tasks.containers.step import ContainerWrite
from tasks.containers.writes import (
    INSTANCE_PUT,
    START_DEADLINE,
    change_state,
    retire,
    stop,
    update,
)
from tasks.intent.model import Container
from tasks.maintenance.backups.store import Store
from tasks.maintenance.backups.stored import INSTANCE_ID, Part, StoredBackup
from tasks.maintenance.disks import custom_volumes
from tasks.maintenance.restore.marks import (
    mark_words,
    restored_mark,
    volume_mark,
    with_own_volumes,
)
from tasks.maintenance.restore.plan import RestoreWrite

if TYPE_CHECKING:
    from tasks.lxd_api.api import LxdApi


class RestoreWriter:
    """One container and its volumes, brought from a backup to an LXD host."""

    def __init__(
        self, api: LxdApi, store: Store, backup: StoredBackup, container: Container, target: Host
    ) -> None:
        self.api = api
        self.store = store
        self.backup = backup
        self.container = container
        self.target = target

    def carry_out(self, write: RestoreWrite) -> None:
        """One step. Raises what ``LxdApi`` and :class:`Store` raise."""
        part = write.part
        if write.action == "delete":
            self._delete(write)
        elif write.action == "retire":
            stop(self.api, write.name, force=True)
            retire(self.api, write.name, write.rename)
        elif write.action == "keep" and part:
            _mark_volume(self.api, _volume(part, write.name), "")
            self._rename(_volume(part, write.name), write.rename)
        elif write.action == "import" and part:
            self._import(part, write.half)
            if not write.wait:
                self._place(part, write)
        elif write.action == "place" and part:
            self._place(part, write)
        elif write.action == "start" or not self.container.running:
            self._start(write)

    def let_go(self) -> None:
        """It is whole: it and the volumes that came with it remember where they are from."""
        name = self.container.name
        now, _ = self.api.get(f"/1.0/instances/{name}")
        moment = mark_words(now)[1]
        for pool, volume in custom_volumes(now):
            at = f"/1.0/storage-pools/{pool}/volumes/custom/{volume}"
            _mark_volume(self.api, at, "done", of=name)
        mark = restored_mark(name, moment, done=True)
        update(self.api, ContainerWrite("update", name, {RESTORED: mark}))

    def _delete(self, write: RestoreWrite) -> None:
        if write.part:
            path = _volume(write.part, write.name)
        else:
            path = f"/1.0/instances/{write.name}"
            stop(self.api, write.name, force=True)  # its host may have started it with itself
        self.api.delete(path, deadline=START_DEADLINE)

    def _import(self, part: Part, half: str) -> None:
        """Import under a name of its own, and mark it once it is whole."""
        self.store.hand_out(self.backup, part, self.target, half)
        name = self.container.name
        if part.volume:
            _mark_volume(self.api, _volume(part, half), volume_mark(name, self.backup))
        else:
            mark = restored_mark(name, self.backup.moment)
            update(self.api, ContainerWrite("update", half, {RESTORED: mark}))

    def _place(self, part: Part, write: RestoreWrite) -> None:
        if part.volume:
            self._rename(_volume(part, write.half), write.name)
            return
        path = f"/1.0/instances/{write.half}"
        if self.backup.volumes:
            self.api.update(path, self._with_own_volumes, deadline=START_DEADLINE)
        self._rename(path, write.name)

    def _with_own_volumes(self, now: dict[str, Any]) -> dict[str, Any]:
        body = {key: now[key] for key in INSTANCE_PUT if key in now}
        return {**body, "devices": with_own_volumes(now["devices"], self.backup)}

    def _rename(self, path: str, new: str) -> None:
        self.api.post(path, {"name": new}, deadline=START_DEADLINE)

    def _start(self, write: RestoreWrite) -> None:
        name = self.container.name
        if self.backup.instance_id:
            known = {INSTANCE_ID: self.backup.instance_id}
            update(self.api, ContainerWrite("update", name, known))
        if write.action == "start":
            change_state(self.api, name, "start")


def _volume(part: Part, name: str) -> str:
    return f"/1.0/storage-pools/{part.pool}/volumes/custom/{name}"


def _mark_volume(api: LxdApi, path: str, mark: str, *, of: str = "") -> None:
    """Set the mark of a volume; "" takes it off. With ``of``, ``mark`` follows that which the
    restore of this container has set, and no other volume is touched."""

    def change(now: dict[str, Any]) -> dict[str, Any]:
        config = dict(now["config"])
        words = mark_words(now)
        if not of:
            config.pop(RESTORED, None)
            if mark:
                config[RESTORED] = mark
        elif words[:1] == [of] and words[-1] != mark:
            config[RESTORED] = " ".join((*words, mark))
        return {**now, "config": config}

    api.update(path, change, deadline=START_DEADLINE)
