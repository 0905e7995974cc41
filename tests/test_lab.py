"""The lab itself, on a third host, so that the fleet on the first two goes on undisturbed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import CLIENT_KEY, HOST_ADDRESSES, NICS, Lab, LabError, host_key, image, why_not

pytestmark = pytest.mark.lab

HOST = "sidn-demo-03"


@pytest.fixture(scope="module")
def spare(lab: Lab) -> Iterator[Lab]:
    was_there = HOST in lab.names()
    lab.up(hosts=3)
    lab.reset(HOST)
    yield lab
    if not was_there:
        lab.remove(HOST)


def pid(lab: Lab) -> int | None:
    return next(host.pid for host in lab.status() if host.name == HOST)


def output(lab: Lab, command: str | list[str], timeout: float = 60) -> str:
    done = lab.exec(HOST, command, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ssh(command: str, known_hosts: Path) -> subprocess.CompletedProcess[str]:
    address = HOST_ADDRESSES[HOST]
    known_hosts.write_text(f"{address} {host_key(HOST).with_suffix('.pub').read_text()}")
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return subprocess.run(
        ["ssh", "-F", "none", "-i", str(CLIENT_KEY), *words, f"root@{address}", command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_up_again_changes_nothing(spare: Lab) -> None:
    before = spare.status()
    spare.up(hosts=2)
    assert spare.status() == before


def test_a_fresh_host_is_as_an_installer_leaves_it(spare: Lab, tmp_path: Path) -> None:
    assert output(spare, ["hostname"]) == HOST
    links = output(spare, "ls /sys/class/net").split()
    assert set(links) == {"lo", *NICS}
    installers = Path("/etc/netplan/00-installer-config.yaml")
    assert output(spare, "ls /etc/netplan") == installers.name
    assert (spare.root(HOST) / installers.relative_to("/")).stat().st_mode & 0o777 == 0o600
    assert output(spare, "lxc query /1.0/storage-pools 2>/dev/null") == "[]"
    assert output(spare, "systemctl is-system-running --wait") == "running"
    assert ssh("hostname", tmp_path / "known").stdout.strip() == HOST


def test_a_folder_never_has_the_inode_number_of_a_file(spare: Lab) -> None:
    # LXD tells hard links by these numbers alone, when it gives a container's files their owners
    output(spare, "mkdir /root/folder; echo >/root/file; ln /root/file /root/link")
    listed = output(spare, r"find / -xdev -links +1 -printf '%i %y\n' | sort -u")
    numbers = [line.split()[0] for line in listed.splitlines()]
    assert len(numbers) > 500
    assert len(numbers) == len(set(numbers))


def test_names_resolve_and_packages_can_be_had(spare: Lab) -> None:
    assert "192.168.56.150" in output(spare, "getent ahostsv4 sidn-demo-01.lab")
    output(spare, "apt-get -q update", timeout=120)


def test_exec_gives_input_output_and_status(spare: Lab) -> None:
    done = spare.exec(HOST, "cat; pwd; echo oops >&2; exit 7", input=b"given ")
    assert (done.returncode, done.stdout, done.stderr) == (7, "given /root\n", "oops\n")


def test_exec_ends_what_takes_too_long(spare: Lab) -> None:
    with pytest.raises(LabError, match="no end after"):
        spare.exec(HOST, ["sleep", "4321"], timeout=0.5)
    assert spare.exec(HOST, ["pgrep", "-f", "sleep 4321"]).stdout == ""


def test_the_bridge_takes_the_address_over_while_ssh_survives(spare: Lab, tmp_path: Path) -> None:
    address = HOST_ADDRESSES[HOST]
    netplan = f"""\
network:
  version: 2
  ethernets: {{enp1s0: {{accept-ra: false}}}}
  bridges:
    br-demo:
      interfaces: [enp1s0]
      accept-ra: false
      addresses: [{address}/24]
      nameservers: {{addresses: [192.168.56.1]}}
      routes: [{{to: 0.0.0.0/0, via: 192.168.56.1}}]
"""
    file = "/etc/netplan/00-installer-config.yaml"
    script = f"cat > {file} <<'END'\n{netplan}END\nnetplan apply\nsleep 2\nip -br -4 address"
    done = ssh(script, tmp_path / "known")
    assert done.returncode == 0, done.stderr
    addresses = {line.split()[0]: line.split()[2:] for line in done.stdout.splitlines()}
    assert addresses["br-demo"] == [f"{address}/24"]
    assert "192.168.56.1" in output(spare, "ip route show default")
    assert output(spare, "getent ahostsv4 sidn-demo-01.lab")


def test_a_static_address_comes_up_in_a_minimal_container(spare: Lab) -> None:
    for file in image("minimal"):
        (spare.root(HOST) / "root" / file.name).write_bytes(file.read_bytes())
    output(
        spare,
        """set -e
        lxc storage create default dir
        lxc profile device add default root disk path=/ pool=default
        lxc profile device add default if-demo nic name=if-demo nictype=bridged parent=br-demo
        lxc image import /root/metadata.tar.xz /root/rootfs.squashfs --alias minimal
        lxc launch minimal ct""",
    )
    script = b"""set -e
    for n in $(seq 100); do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.1; done
    systemctl is-system-running --wait >/dev/null || true
    cat > /etc/systemd/network/if-demo.network <<'END'
[Match]
Name=if-demo
[Network]
Address=192.168.56.199/24
Gateway=192.168.56.1
END
    echo nameserver 192.168.56.1 > /etc/resolv.conf
    systemctl restart systemd-networkd
    for n in $(seq 100); do ip route | grep -q ^default && break; sleep 0.1; done
    ping -c 1 -W 2 192.168.56.1 >/dev/null
    ping -c 1 -W 2 192.168.56.150 >/dev/null
    getent hosts sidn-demo-01 >/dev/null
    ! command -v python3 sshd cloud-init
    systemctl is-system-running"""
    done = spare.exec(HOST, ["lxc", "exec", "ct", "--", "sh", "-s"], input=script)
    assert (done.returncode, done.stdout.strip()) == (0, "running"), done.stderr
    output(spare, "lxc restart --force ct")
    again = (
        b"for n in $(seq 100); do ping -c 1 -W 1 192.168.56.1 && exit 0; sleep 0.1; done; exit 1"
    )
    assert spare.exec(HOST, ["lxc", "exec", "ct", "--", "sh", "-s"], input=again).returncode == 0


def test_a_small_disk_runs_full(spare: Lab) -> None:
    listing = output(spare, "ls -l /etc/netplan")
    with spare.small_disk(HOST, "/etc/netplan", 1):
        assert output(spare, "ls /etc/netplan") == "00-installer-config.yaml"
        full = spare.exec(HOST, "dd if=/dev/zero of=/etc/netplan/big bs=1M count=2")
        assert "No space left on device" in full.stderr
    assert output(spare, "ls -l /etc/netplan") == listing


@pytest.mark.parametrize("command", ["systemctl reboot", "reboot"])
def test_a_reboot_comes_back_with_the_disk_and_the_nics(spare: Lab, command: str) -> None:
    output(spare, f"echo {command} > /root/kept; ip link add br-lost type bridge")
    # LXD does not stop what it is still starting: let the boot end before the next one.
    output(spare, "systemctl is-system-running --wait")
    before = pid(spare)
    output(spare, command)
    spare.wait_ready(HOST, after=before)
    assert pid(spare) != before
    assert output(spare, "cat /root/kept") == command
    links = output(spare, "ls /sys/class/net").split()
    assert set(NICS) <= set(links)
    assert "br-lost" not in links


def test_poweroff_stays_off_until_it_is_switched_on(spare: Lab) -> None:
    output(spare, "echo before > /root/kept")
    last = pid(spare)
    output(spare, "systemctl poweroff")
    with pytest.raises(LabError, match="is off"):
        spare.wait_ready(HOST, after=last)
    assert not spare.is_up(HOST)
    with pytest.raises(LabError, match="is off"):
        spare.exec(HOST, "true")
    spare.power_on(HOST)
    assert output(spare, "cat /root/kept") == "before"


def test_a_pulled_plug_keeps_the_disk(spare: Lab) -> None:
    output(spare, "echo plug > /root/kept")
    spare.power_off(HOST)
    assert not spare.is_up(HOST)
    spare.up(hosts=2)
    assert output(spare, "cat /root/kept") == "plug"


def test_reset_makes_one_host_fresh_and_leaves_the_others(spare: Lab) -> None:
    others = [host for host in spare.status() if host.name != HOST]
    key = output(spare, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    output(spare, "touch /root/written /var/lib/written")
    spare.reset(HOST)
    assert output(spare, "ls /root /var/lib | grep -c written || true") == "0"
    assert output(spare, "cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    assert [host for host in spare.status() if host.name != HOST] == others


def test_unknown_hosts_are_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="no such host: voice-01"):
        lab.exec("voice-01", "true")
    with pytest.raises(LabError, match="1 to 6 hosts"):
        lab.up(hosts=7)


def test_the_command_line_passes_status_and_output_on(spare: Lab) -> None:
    repository = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "exec", HOST, "--", "sh", "-c", "hostname; exit 3"],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, f"{HOST}\n")


def test_without_root_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert why_not() == "the lab needs root"
