"""The keys of an inventory: which there are, what they hold, and where each may stand."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.intent.health_schema import HEALTH
from tasks.intent.maintenance_schema import JOBS, MAINTENANCE
from tasks.intent.scalars import (
    ABSOLUTE,
    ADDRESS,
    ANY_TEXT,
    ANYTHING,
    APT_URL,
    ARMOURED,
    BOOLEAN,
    BRIDGE_NAME,
    CONFIG_KEY,
    CRON_SCHEDULE,
    DEVICE_NAME,
    FILE_NAME,
    FILE_PATH,
    FOREIGN,
    GROUP_NAME,
    HOST_NAME,
    INSTANCE_KEY,
    INTERFACE,
    INTERFACE_NAME,
    LINE,
    LOCALE,
    MAC,
    MODE,
    NETPLAN_FILE,
    NETWORK,
    PUBLIC_KEY,
    SECONDS,
    SETTING,
    SNAP_CHANNEL,
    SNAP_TIMER,
    SUBNET,
    SYSCTL_KEY,
    SYSCTL_VALUE,
    TEXT,
    TIME_ZONE,
    URL,
    USER_NAME,
    WORD,
    choice,
    integer,
    matching,
)
from tasks.intent.values import (
    Either,
    ListOf,
    MapOf,
    Never,
    OneOrMore,
    OrNull,
    Reference,
    Scalar,
    Table,
    Value,
)

PUBLIC = Reference(PUBLIC_KEY, kinds=("file",))
CONFIG = MapOf(INSTANCE_KEY, SETTING)
DEVICES = MapOf(DEVICE_NAME, MapOf(CONFIG_KEY, SETTING))
USER_DATA = Either(mapping=MapOf(ANY_TEXT, ANYTHING), other=TEXT)
AUTHORIZED_KEYS = ListOf(PUBLIC)
WORDS = ListOf(WORD)


def _or_absent(keys: Mapping[str, Value]) -> Value:
    """What a machine has, or shall not have."""
    return Either(
        mapping=Table(keys), other=Scalar(lambda v: v == "absent", "a mapping, or absent")
    )


_CONFIGURE = Table(
    {
        "hostname": HOST_NAME,
        "timezone": TIME_ZONE,
        "locale": LOCALE,
        "repositories": MapOf(
            FILE_NAME,
            _or_absent(
                {
                    "url": APT_URL,
                    "suite": matching(r"[A-Za-z0-9._/-]+", "a suite", "write one such as bookworm"),
                    "components": WORDS,
                    "architectures": WORDS,
                    "key": Reference(ARMOURED, kinds=("file",)),
                }
            ),
        ),
        "packages": MapOf(
            WORD,
            matching(r"present|absent|[0-9][A-Za-z0-9.+:~-]*", "present, absent or a version"),
        ),
        "groups": MapOf(
            USER_NAME,
            _or_absent({"gid": integer(1, 2**32 - 2, "a group's number"), "system": BOOLEAN}),
        ),
        "users": MapOf(
            USER_NAME,
            _or_absent(
                {
                    "groups": ListOf(USER_NAME),
                    "shell": ABSOLUTE,
                    "keys": AUTHORIZED_KEYS,
                    "only_keys": BOOLEAN,
                    "sudo": BOOLEAN,
                    "sudo_commands": ListOf(
                        matching(r"/[^\n]+", "a command of sudoers(5)", "write its path from / on")
                    ),
                    "uid": integer(1, 2**32 - 2, "a user's number"),
                    "home": ABSOLUTE,
                    "system": BOOLEAN,
                }
            ),
        ),
        "files": MapOf(
            ABSOLUTE,
            _or_absent(
                {
                    "content": ANY_TEXT,
                    "template": FILE_PATH,
                    "owner": USER_NAME,
                    "group": USER_NAME,
                    "mode": MODE,
                    "validate": LINE,
                    "restarts": WORDS,
                }
            ),
        ),
        "sysctl": MapOf(SYSCTL_KEY, SYSCTL_VALUE),
        "cron": MapOf(
            FILE_NAME, _or_absent({"schedule": CRON_SCHEDULE, "command": LINE, "user": USER_NAME})
        ),
        "services": MapOf(WORD, Table({"enabled": BOOLEAN, "running": BOOLEAN})),
    }
)

COMMON: Mapping[str, Value] = {
    "site": WORD,
    "management": OrNull(NETWORK),
    "addresses": MapOf(NETWORK, OneOrMore(INTERFACE)),
    "gateways": MapOf(NETWORK, OrNull(ADDRESS)),
    "macs": MapOf(NETWORK, MAC),
    "ssh_host_key": PUBLIC,
    "ssh_key": FILE_PATH,
    "foreign": ListOf(FOREIGN),
    "bootstrap": Table(
        {
            "upgrade": BOOLEAN,
            "packages": WORDS,
            "authorized_keys": AUTHORIZED_KEYS,
            "deadline": SECONDS,
        }
    ),
    "configure": _CONFIGURE,
    "health": HEALTH,
    "maintenance": MAINTENANCE,
    "apart": WORD,
    "controller": Table(
        {
            "wheels": FILE_PATH,
            "maintain": Either(
                mapping=MapOf(
                    matching(r"[A-Za-z0-9_-]+", "the name of a schedule"),
                    Table(
                        {
                            "schedule": CRON_SCHEDULE,
                            "jobs": ListOf(choice(*JOBS)),
                            "time_limit": integer(1, 10000, "a number of minutes"),
                        },
                    ),
                ),
                other=CRON_SCHEDULE,
            ),
            "jobs": ListOf(choice(*JOBS)),
        }
    ),
    "images": MapOf(
        WORD,
        Table(
            {
                "metadata": FILE_PATH,
                "rootfs": FILE_PATH,
                "server": URL,
                "alias": matching(r"[^\s]+", "an alias"),
                "local": matching(r"[^\s]+", "an alias or a fingerprint"),
                "prepare": Either(
                    mapping=Table({"days": integer(1, 3650, "a number of days")}), other=BOOLEAN
                ),
                "network_config": choice("cloud-init", "user", "none"),
            }
        ),
    ),
}

_SECRET = Reference()
LXD_HOST: Mapping[str, Value] = {
    "lxd": Table(
        {
            "package": choice("deb", "snap"),
            "channel": SNAP_CHANNEL,
            "refresh": SNAP_TIMER,
            "listen": matching(
                r"[^\s]+", "a network's name, all, or an address with or without :port"
            ),
            "pools": MapOf(
                WORD,
                Table(
                    {"driver": choice("dir", "zfs", "btrfs", "lvm", "ceph")},
                    others=MapOf(CONFIG_KEY, SETTING),
                ),
            ),
            "config": Table(
                {
                    "cluster.https_address": Never(
                        "makes LXD listen as a member of a cluster",
                        "leave it out: hosts are linked by remotes instead",
                    ),
                    "core.https_address": Never("is set by lxd.listen", "write the address there"),
                    "core.trust_password": _SECRET,
                    "loki.auth.password": _SECRET,
                    "maas.api.key": _SECRET,
                    "oidc.client.secret": _SECRET,
                    "rbac.agent.private_key": _SECRET,
                    "rbac.api.key": _SECRET,
                },
                others=MapOf(CONFIG_KEY, Reference(SETTING)),
            ),
            "kernel": Table({"production": BOOLEAN}, others=MapOf(SYSCTL_KEY, SYSCTL_VALUE)),
            "users": ListOf(USER_NAME),
        }
    ),
    "nics": MapOf(WORD, INTERFACE_NAME),
    "routes": MapOf(
        NETWORK,
        ListOf(Table({"to": SUBNET, "via": ADDRESS, "metric": integer(1, 2**31 - 1, "a metric")})),
    ),
    "netplan": Table(
        {
            "replaces": ListOf(NETPLAN_FILE),
            "confirm_seconds": SECONDS,
            "canary": BOOLEAN,
            "batch": integer(1, 1000, "a number of hosts"),
        }
    ),
}

CONTAINER: Mapping[str, Value] = {
    "on": HOST_NAME,
    "image": WORD,
    "bridges": ListOf(BRIDGE_NAME),
    "root": WORD,
    "config": CONFIG,
    "devices": DEVICES,
    "state": choice("running", "stopped"),
    "user_data": USER_DATA,
}

MACHINE: Mapping[str, Value] = {
    "machine": Either(mapping=Table({}), other=Scalar(lambda v: v is True, "true")),
}

BRIDGE = Table(
    {
        "nic": WORD,
        "vlan": integer(1, 4094, "a vlan id"),
        "subnet": SUBNET,
        "gateway": ADDRESS,
        "nameservers": ListOf(ADDRESS),
        "search": WORDS,
        "mtu": integer(68, 65535, "an MTU"),
        "stp": BOOLEAN,
        "forward_delay": integer(2, 30, "a number of seconds"),
        "dhcp4": BOOLEAN,
        "dhcp6": BOOLEAN,
        "accept_ra": BOOLEAN,
    }
)

PROFILE = Table(
    {
        "bridges": ListOf(BRIDGE_NAME),
        "root": WORD,
        "description": ANY_TEXT,
        "config": CONFIG,
        "devices": DEVICES,
        "user_data": USER_DATA,
        "user_data_key": choice("cloud-init.user-data", "user.user-data"),
    }
)

#: The keys of each kind of host's data.
KINDS: Mapping[str, Mapping[str, Value]] = {
    "lxd": {**COMMON, **LXD_HOST},
    "container": {**COMMON, **CONTAINER},
    "machine": {**COMMON, **MACHINE},
}
#: The data key that gives a host its kind, and what such a host is called.
KIND_KEYS: Mapping[str, str] = {"lxd": "lxd", "on": "container", "machine": "machine"}
KIND_NAMES: Mapping[str, str] = {
    "lxd": "an LXD host",
    "container": "a container",
    "machine": "a plain machine",
}

_ALL = {**COMMON, **LXD_HOST, **CONTAINER, **MACHINE}
_OWN = {key: f"`{key}` is a group's own: write it in groups.yaml" for key in ("bridge", "profile")}


def data_of_host(kind: str | None) -> Table:
    """The data keys of a host; all that there are where its kind is not known."""
    if kind is None:
        return Table(_ALL, hints=_OWN)
    elsewhere = {
        key: f"it is a key of {KIND_NAMES[other]}, and this is {KIND_NAMES[kind]}"
        for other, keys in KINDS.items()
        for key in keys
        if key not in KINDS[kind]
    }
    return Table(KINDS[kind], hints={**elsewhere, **_OWN})


DATA_OF_DEFAULTS = Table(_ALL, hints=_OWN)
DATA_OF_GROUP = Table({**_ALL, "bridge": BRIDGE, "profile": PROFILE})

_PASSWORD = Never("a password never stands in the inventory", "log in with a key (ssh_key)")
_NORNIR: Mapping[str, Value] = {
    "hostname": matching(r"[A-Za-z0-9_.:%-]+", "a host name or an address"),
    "port": integer(1, 65535, "a TCP port"),
    "username": USER_NAME,
    "password": _PASSWORD,
    "platform": WORD,
}
_CONNECTION = Table(
    {
        **_NORNIR,
        "extras": Table(
            {"password": _PASSWORD, "passphrase": _PASSWORD, "secret": _PASSWORD},
            others=MapOf(WORD, ANYTHING),
        ),
    }
)
_BODY: Mapping[str, Value] = {**_NORNIR, "connection_options": MapOf(WORD, _CONNECTION)}


def body(data: Table, groups: bool = True) -> Table:
    """The keys of a host, a group or the defaults, which are Nornir's own."""
    keys: dict[str, Value] = {**_BODY, "data": data}
    if groups:
        keys["groups"] = ListOf(GROUP_NAME)
    misplaced = {key: "write it beneath `data`" for key in data.keys if key not in keys}
    return Table(keys, hints=misplaced)
