"""Which LXD a host has: the Debian package or the snap, the snap's channel, when it refreshes.

From the package to the snap it is moved with all that it has, by ``lxd.migrate`` out of the snap
itself (https://github.com/canonical/lxd-pkg-snap, branches 4.0 and 5.0). The other way there is
none: LXD never reads the database of a newer one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.actual import HostFacts, LxdFacts
from tasks.answering import answering
from tasks.errors import FleetError
from tasks.intent.model import LxdHost
from tasks.lxd_server.writes import LxdWrite, Move, OnHost
from tasks.plan import Step, text_diff

#: The oldest LXD that is managed. Anything newer is asked for its features (API extensions).
MINIMUM = (4, 0)
#: The first Ubuntu whose package lxd is the snap.
FIRST_WITH_SNAP = (20, 4)
#: The tracks whose snap still has ``lxd.migrate``.
MOVING_TRACKS = ((4, 0), (5, 0))
#: The risks of a snap's channel, the older versions first.
RISKS = ("stable", "candidate", "beta", "edge")


def moves(wanted: LxdHost, actual: HostFacts) -> bool:
    """Whether LXD has to be moved to its snap, or such a move was begun and is not over."""
    lxd = actual.lxd
    return wanted.lxd.package == "snap" and (lxd.package == "deb" or bool(lxd.move))


def unforeseen(wanted: LxdHost, actual: HostFacts) -> bool:
    """Whether LXD is half moved and does not answer: what it still needs is seen afterwards."""
    return moves(wanted, actual) and bool(actual.lxd.move) and not actual.lxd.running


def will_move(wanted: LxdHost, actual: HostFacts) -> bool:
    """Whether LXD has to be moved to its snap and nothing is known that forbids it."""
    try:
        refuse_package(wanted, actual)
    except FleetError:
        return False
    return moves(wanted, actual)


def moves_empty(wanted: LxdHost, actual: HostFacts) -> bool:
    """Whether the LXD to be moved has nothing that ``lxd.migrate`` would carry over, so that the
    snap's starts from nothing, without its config and its trust."""
    lxd = actual.lxd
    return (
        moves(wanted, actual)
        and lxd.package == "deb"
        and not (lxd.instances or lxd.other_instances or lxd.images or lxd.pools)
    )


def refuse_package(wanted: LxdHost, actual: HostFacts) -> None:
    """Raise :class:`FleetError` where the LXD that is there cannot become the declared one, is too
    old or in a cluster, and :class:`LxdError` where it does not answer."""
    lxd = actual.lxd
    if lxd.package == "snap" and wanted.lxd.package == "deb":
        raise FleetError(
            "LXD is installed as snap, the inventory wants deb",
            where=wanted.name,
            remedy="set lxd.package to snap: there is no way back from the snap, whose database "
            "the older LXD of the Debian package cannot read",
        )
    if not lxd.package and wanted.lxd.package == "deb" and _installs_snap(actual):
        raise FleetError(
            f"Ubuntu {actual.os_version} has no LXD of its own: its package lxd installs the snap",
            where=wanted.name,
            remedy="set lxd.package to snap",
        )
    if lxd.move and wanted.lxd.package == "snap":
        return  # half moved it may not answer, and finishing the move mends that
    if lxd.package:
        answering(wanted.name, lxd)
    if lxd.clustered:
        raise FleetError(
            "its LXD is a member of a cluster",
            where=wanted.name,
            remedy="this project links hosts by remotes instead: take it out of the cluster (lxc "
            "cluster remove), or the host out of the inventory",
        )
    if moves(wanted, actual):
        _refuse_move(wanted, actual)
    elif lxd.version and version_of(lxd.version) < MINIMUM:
        raise FleetError(
            f"its LXD is {lxd.version}, older than 4.0, the oldest that is managed",
            where=wanted.name,
            remedy="move it to the snap with lxd.package: snap and lxd.channel: 4.0/stable"
            if lxd.package == "deb"
            else "on that host: snap refresh lxd --channel=4.0/stable",
        )


def plan_package(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """Install LXD or move it to its snap, then the channel that the snap follows."""
    lxd, package, channel = actual.lxd, wanted.lxd.package, wanted.lxd.channel
    if moves(wanted, actual):
        yield Step(
            "move", "LXD to its snap", Move(_moving_channel(wanted, lxd)), _said(wanted, lxd)
        )
    elif not lxd.package:
        argument = f"{package}={channel}" if channel else package
        detail = f"its {package} package" + (f", channel {channel}" if channel else "")
        yield Step("install", "LXD", OnHost("install", argument), detail=detail)
    elif channel and lxd.channel and channel != lxd.channel:
        _refuse_older(wanted, actual)
        yield Step(
            "set",
            "channel of the snap lxd",
            OnHost("channel", channel),
            detail=f"{channel}; LXD is restarted, containers run on",
            diff=text_diff(lxd.channel, channel, "channel of the snap lxd"),
        )


def plan_refresh(wanted: LxdHost, actual: HostFacts) -> Iterable[Step[LxdWrite]]:
    """When snapd refreshes, which is one setting for all snaps of a host."""
    window = wanted.lxd.refresh
    if window and window != actual.lxd.refresh and not _snapd_is_silent(actual.lxd):
        yield Step(
            "set",
            "refresh.timer of snapd",
            OnHost("refresh", window),
            detail=window,
            diff=text_diff(actual.lxd.refresh, window, "refresh.timer"),
        )


def package_notes(wanted: LxdHost, actual: HostFacts) -> Iterable[str]:
    """What is not known of the snap, and so not acted upon."""
    declared = wanted.lxd.channel or wanted.lxd.refresh
    if declared and _snapd_is_silent(actual.lxd) and not moves(wanted, actual):
        yield (
            "snapd does not say what the snap lxd follows: lxd.channel and lxd.refresh are left "
            "for a later run; on that host: snap list lxd"
        )


def version_of(text: str) -> tuple[int, int]:
    """The first two numbers of a version or a track: ``5.0.2`` is (5, 0), ``latest`` is newest."""
    found = re.match(r"(?:\d+:)?(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0)) if found else (10**6, 0)


def _installs_snap(actual: HostFacts) -> bool:
    return actual.os_id == "ubuntu" and version_of(actual.os_version) >= FIRST_WITH_SNAP


def _snapd_is_silent(lxd: LxdFacts) -> bool:
    """A snap always follows a channel: where none was read, snapd did not answer in time."""
    return lxd.package == "snap" and not lxd.channel


def _said(wanted: LxdHost, lxd: LxdFacts) -> str:
    if lxd.move == "moved":
        return "it is moved, the Debian package is removed"
    if lxd.move == "begun":
        return "finish what an earlier run began, then remove the Debian package"
    everybody = [*lxd.instances.values(), *lxd.other_instances]
    running = sorted(i["name"] for i in everybody if i.get("status") == "Running")
    stops = f"stops and starts again: {', '.join(running)}" if running else "no container runs"
    return f"channel {_moving_channel(wanted, lxd)}; {stops}"


def _moving_channel(wanted: LxdHost, lxd: LxdFacts) -> str:
    """The declared channel, or the newest that can take this LXD over."""
    if wanted.lxd.channel:
        return wanted.lxd.channel
    old = version_of(lxd.version or lxd.deb) < MINIMUM
    return "4.0/stable" if old else "5.0/stable"


def _refuse_move(wanted: LxdHost, actual: HostFacts) -> None:
    lxd = actual.lxd
    if actual.os_id != "ubuntu":
        raise FleetError(
            f"LXD is installed as deb, the inventory wants snap, and lxd.migrate moves it on "
            f"Ubuntu only, not on {actual.os_id}",
            where=wanted.name,
            remedy="set lxd.package to deb; or move its containers to another host, purge lxd and "
            "lxd-client there, and run again",
        )
    version, channel = lxd.version or lxd.deb, _moving_channel(wanted, lxd)
    track = version_of(channel)
    right = "4.0/stable" if version_of(version) < MINIMUM else "5.0/stable"
    remedy = f"set lxd.channel to {right} for the move, and to a newer one after it"
    if track not in MOVING_TRACKS or version_of(version) > track:
        raise FleetError(
            f"LXD {version} of the Debian package cannot move to the snap of {channel}",
            where=wanted.name,
            remedy=remedy
            if version_of(version) <= MOVING_TRACKS[-1]
            else "lxd.migrate is in the snaps up to 5.0 only: set lxd.package to deb",
        )
    if version_of(version) < MINIMUM and track != MINIMUM:
        raise FleetError(
            f"LXD {version} cannot move to {channel} at once, only to 4.0",
            where=wanted.name,
            remedy=remedy,
        )
    if lxd.mounted:
        raise FleetError(
            "/var/lib/lxd is a file system of its own: moved to the snap, LXD would have nothing "
            "after the next boot, which mounts it there again",
            where=wanted.name,
            remedy=f"move LXD by hand (snap install lxd --channel={channel}; lxd.migrate), have "
            "/etc/fstab mount it at /var/snap/lxd/common/lxd, then run again; or set lxd.package "
            "to deb",
        )


def _refuse_older(wanted: LxdHost, actual: HostFacts) -> None:
    """Refuse a channel that may have an older LXD: it would not start on the newer database."""
    lxd, channel = actual.lxd, wanted.lxd.channel or ""
    track, _, risk = channel.partition("/")
    now_track, _, now_risk = lxd.channel.partition("/")
    if track == now_track and risk in RISKS and now_risk in RISKS:
        older = RISKS.index(risk) < RISKS.index(now_risk)
    else:  # the track 6 has all of 6.x
        length = 2 if "." in track else 1
        older = version_of(track)[:length] < version_of(lxd.version or now_track)[:length]
    if older:
        raise FleetError(
            f"the snap lxd follows {lxd.channel} (LXD {lxd.version}), the inventory wants "
            f"{channel}, which may be older: LXD never reads a newer one's database",
            where=wanted.name,
            remedy=f"set lxd.channel to {lxd.channel}, or to a newer one",
        )
