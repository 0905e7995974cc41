from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tasks.maintenance.reboot import Boot, parse_boot, plan_reboot
from tasks.onhost import on_host

BOOT = "6d1ad9f1-9cc2-4fa4-9d2a-2a2a4c5e0f11"


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        ([], ""),
        (["needed libc6 linux-image-6.1.0-22 "], "libc6 linux-image-6.1.0-22"),
        (
            ["needed /run/reboot-required is there", "needed kernel 6.1.0-23, running is 6.1.0-22"],
            "/run/reboot-required is there; kernel 6.1.0-23, running is 6.1.0-22",
        ),
    ],
)
def test_what_a_machine_says(lines: list[str], needed: str) -> None:
    boot = parse_boot("\n".join((f"boot {BOOT}", *lines)))
    assert boot == Boot(BOOT, needed)
    plan = plan_reboot("web", boot, notes=("through lxc exec",))
    assert plan.changed == bool(needed)
    assert [(s.action, s.object, s.detail) for s in plan.steps] == [
        ("reboot", "machine web", needed)
    ] * bool(needed)
    assert plan.notes == ("through lxc exec",)


def test_the_script_reads_this_machine() -> None:
    done = subprocess.run(
        ["sh", "-c", on_host("reboot_needed")], capture_output=True, text=True, check=True
    )
    here = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert parse_boot(done.stdout).id == here
