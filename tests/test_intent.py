"""The inventories of this repository, a thoroughly mistaken one, and nonsense in every place."""

from __future__ import annotations

import copy
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nornir import InitNornir
from nornir.plugins.inventory import SimpleInventory

from tasks.errors import InventoryError
from tasks.intent.documents import read_document
from tasks.intent.health import SipCheck
from tasks.load import load_intent
from tasks.mistakes import Mistakes
from tests.lab_files import PUBLIC_KEY
from tests.test_intent_mistakes import mistakes_of, write

INVENTORY = Path(__file__).parents[1] / "inventory"


def test_demo(lab_files: Path) -> None:
    intent = load_intent(INVENTORY / "demo")

    assert {h.name: h.ssh.hostname for h in intent.lxd_hosts.values()} == {
        "sidn-demo-01": "192.168.56.150",
        "sidn-demo-02": "192.168.56.151",
    }
    assert {c.name: (c.on, c.image, c.profiles) for c in intent.containers.values()} == {
        "control": ("sidn-demo-01", "cloud-init", ()),
        "web-01": ("sidn-demo-01", "minimal", ("demo",)),
        "web-02": ("sidn-demo-01", "cloud-init", ("demo",)),
        "web-03": ("sidn-demo-02", "minimal", ("demo",)),
        "web-04": ("sidn-demo-02", "cloud-init", ("demo",)),
    }
    control = intent.containers["control"]
    assert control.devices["if-demo"]["hwaddr"] == "00:16:3e:00:00:a0"
    assert "address: 192.168.56.160" in control.config["user.network-config"]
    user_data = intent.profiles["demo"].config["cloud-init.user-data"]
    assert user_data.splitlines()[0] == "#cloud-config"
    assert yaml.safe_load(user_data)["timezone"] == "Europe/Amsterdam"
    assert intent.lxd_hosts["sidn-demo-01"].ssh.host_key == PUBLIC_KEY.removesuffix(" example\n")
    motd = intent.containers["web-03"].configure.files[0]
    assert motd.path == "/etc/motd"
    assert "web-03 (container on sidn-demo-02)\n  demo: 192.168.56.163/24\n" in motd.content


def test_demo_without_the_lab_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InventoryError) as caught:
        load_intent(INVENTORY / "demo")
    missing = [line for line in caught.value.mistakes if ".cache/nornir-lxd-fleet-lab" in line]
    assert len(missing) == len(caught.value.mistakes) == 9


@pytest.mark.parametrize(
    ("left", "what"),
    [
        (None, "there is no such file, and hosts name groups"),
        ("# nothing yet\n", "declares no group, and hosts name groups"),
    ],
)
def test_without_its_groups_an_inventory_has_one_mistake(
    lab_files: Path, tmp_path: Path, left: str | None, what: str
) -> None:
    folder = tmp_path / "demo"
    shutil.copytree(INVENTORY / "demo", folder)
    (folder / "groups.yaml").unlink()
    if left is not None:
        (folder / "groups.yaml").write_text(left)
    assert mistakes_of(folder) == [
        f"{folder}/groups.yaml: {what}; declare there: demo, lxd-host, web"
    ]


def test_without_groups_that_nobody_names_nothing_is_wrong(tmp_path: Path) -> None:
    hosts = {"sbc-01": {"hostname": "192.0.2.1", "data": {"machine": True}}}
    assert mistakes_of(write(tmp_path / "fleet", {"hosts": hosts})) == []


def test_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # nothing outside the repository is needed
    intent = load_intent(INVENTORY / "voice")

    assert {h.site for h in intent.lxd_hosts.values()} == {"ams", "utr", "ein"}
    assert len({nic for h in intent.lxd_hosts.values() for nic in h.nics.values()}) == 9
    assert {b.network: b.vlan for b in intent.bridges.values()} == {
        "mgmt": None,
        "public": None,
        "sipcore": 6,
        "sipapp": 9,
        "local": None,
    }
    assert set(intent.profiles) == {
        "default",
        "sipproxy",
        "voicemail",
        "voiceservices",
        "ansible-acc",
    }
    for host in intent.lxd_hosts.values():
        assert host.lxd.listen == f"{host.attachments['mgmt'].address.ip}:8443"  # type: ignore[union-attr]
        assert set(host.profiles) == set(intent.profiles)
        assert host.default_route is host.attachments["public"]
    pairs: dict[str, set[str]] = {}
    for container in intent.containers.values():
        if container.apart:
            pairs.setdefault(container.apart, set()).add(container.on)
    assert pairs
    assert {len(hosts) for hosts in pairs.values()} == {2}
    assert intent.containers["voicemail-01"].config.keys() == {"user.network-config"}
    for name, address in (("proxy-01", "10.160.64.21"), ("proxy-02", "10.160.64.22")):
        assert SipCheck(address, transport="tcp") in intent.containers[name].health
    assert intent.machines["sbc-01"].kind == "machine"
    assert intent.machines["sbc-01"].maintenance.batch == 1


OPTIONS = ("host_file", "group_file", "defaults_file")


@pytest.mark.parametrize("environment", ["demo", "voice"])
def test_nornir_reads_the_same_files(environment: str) -> None:
    files = [str(INVENTORY / environment / f"{n}.yaml") for n in ("hosts", "groups", "defaults")]
    nornir = InitNornir(
        config_file=str(INVENTORY / "config.yaml"),
        inventory={"options": dict(zip(OPTIONS, files, strict=True))},
    )
    assert nornir.config.logging.enabled is False
    assert nornir.config.user_defined == {}
    hosts = nornir.inventory.hosts
    containers = [name for name, host in hosts.items() if "on" in host.data]
    assert len(containers) == {"demo": 5, "voice": 7}[environment]


def test_loading_is_fast() -> None:
    load_intent(INVENTORY / "voice")
    best = min(_seconds_to_load() for _ in range(10))
    assert best < 0.05, f"{best * 1000:.0f} ms of processor time"


def _seconds_to_load() -> float:
    # Processor time: how busy the machine is otherwise does not count.
    started = time.process_time()
    load_intent(INVENTORY / "voice")
    return time.process_time() - started


def test_many_mistakes_come_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = read_document(
        Path(__file__).parent / "cases" / "intent_all_at_once.yaml", "defaults", Mistakes()
    ).content
    Path("fleet").mkdir()
    for name in ("defaults", "groups", "hosts"):
        Path("fleet", f"{name}.yaml").write_text(cases[name])

    with pytest.raises(InventoryError) as caught:
        load_intent(Path("fleet"))

    assert list(caught.value.mistakes) == cases["mistakes"]


def test_mistakes_in_the_files_themselves(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load_intent(tmp_path / "voise")
    (tmp_path / "voice").mkdir()
    with pytest.raises(InventoryError) as nearby:
        load_intent(tmp_path / "voise")
    assert str(nearby.value).endswith("there is no such inventory folder; did you mean voice?")
    assert "there is no such inventory folder" in str(caught.value)
    with pytest.raises(InventoryError, match="declares no host"):
        load_intent(tmp_path / "voice")
    write(tmp_path / "voice", {"hosts": {"web": {"data": {"onn": "x"}}}, "groups": None})
    (tmp_path / "voice" / "groups.yaml").write_text("a: [\n")
    with pytest.raises(InventoryError) as broken:
        load_intent(tmp_path / "voice")
    assert len(broken.value.mistakes) == 2  # what can still be seen beside the broken file
    assert "groups.yaml:2: is not YAML" in broken.value.mistakes[0]
    assert "data.onn: unknown key; did you mean on?" in broken.value.mistakes[1]


VOICE: dict[str, Any] = {
    name: read_document(INVENTORY / "voice" / f"{name}.yaml", "defaults", Mistakes()).content
    for name in ("defaults", "groups", "hosts")
}


def walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else []
    )
    for key in keys:
        yield (*path, key)
        yield from walk(value[key], (*path, key))


PLACES = list(walk(VOICE))
WORDS = st.sampled_from(
    [
        "",
        " ",
        "x",
        "br-mgmt",
        "mgmt",
        "voice-01",
        "on",
        "0",
        "::1",
        "10.0.0.1/33",
        "[::1]:x",
        "a\nb",
        "~/nowhere",
        "../..",
        "{{ x }}",
        "é",
        "#cloud-config",
    ]
)
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=3,
)


@given(st.lists(st.tuples(st.sampled_from(PLACES), NONSENSE), min_size=1, max_size=3))
@settings(
    max_examples=int(os.environ.get("NONSENSE_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nonsense_anywhere_is_a_mistake_or_fine_with_nornir_and_never_an_exception(
    tmp_path: Path, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    files = copy.deepcopy(VOICE)
    for path, value in changes:
        inside: Any = files
        for key in path[:-1]:
            inside = inside[key] if isinstance(inside, dict) and key in inside else None
        if isinstance(inside, dict):
            inside[path[-1]] = value
    folder = write(tmp_path / "voice", files)
    try:
        load_intent(folder)
    except InventoryError as error:
        assert all("\n" not in line and line.startswith(str(tmp_path)) for line in error.mistakes)
    else:  # what we take, Nornir takes
        names = ("hosts", "groups", "defaults")
        SimpleInventory(*(str(folder / f"{name}.yaml") for name in names)).load()
