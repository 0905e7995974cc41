"""The emulator that the virtual machine runs in."""

from __future__ import annotations

import os

from tests.lab.command import run
from tests.lab.vm_image import Image
from tests.lab.vm_places import CONSOLE, FOLDER, MACS, TAPS

_LAYER = FOLDER / "layer.qcow2"
"""What is written over the disk of the image."""

# A reset by the emulator itself takes it minutes, so a reboot ends it, as switching off does; which
# of the two it was is the kernel's last word.
_KEEP_ON = """
while "$@" && tail -c 200 "$CONSOLE" | grep -q 'reboot: Restarting system'; do
    :
done
"""

_KERNEL_LINE = (
    "console=ttyS0 root=/dev/vda rw quiet loglevel=4 systemd.show_status=1 "
    # Each of these makes an emulated machine slower, and none is what is tested.
    "mitigations=off nokaslr no_timer_check audit=0 selinux=0 apparmor=0 "
    "random.trust_cpu=on tsc=reliable rcupdate.rcu_expedited=1"
)


def prepare(image: Image) -> list[str]:
    """Make what is written over the image's disk, and the command that runs the emulator.

    That goes on over reboots, and ends when the machine switches itself off.
    """
    disk = str(image.disk)
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, _LAYER])
    return ["env", f"CONSOLE={CONSOLE}", "sh", "-c", _KEEP_ON, "sh", *_command(image)]


def _command(image: Image) -> list[str]:
    disk = f"file={_LAYER},format=qcow2,if=none,id=disk,cache=unsafe"
    command = ["qemu-system-x86_64", "-no-user-config", "-nodefaults"]
    command += ["-action", "reboot=shutdown"]
    # Never kvm: where there is one inside another virtual machine, it may hang.
    command += ["-accel", "tcg,thread=multi,tb-size=256", "-machine", "q35", "-cpu", "Nehalem"]
    command += ["-smp", str(min(os.cpu_count() or 1, 2)), "-m", "512", "-display", "none"]
    command += [
        "-chardev",
        f"file,id=console,path={CONSOLE},append=on",
        "-serial",
        "chardev:console",
    ]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
    command += ["-append", _KERNEL_LINE]
    command += ["-drive", disk, "-device", "virtio-blk-pci,drive=disk"]
    for nic, mac in MACS.items():
        tap = f"tap,id={nic},ifname={TAPS[nic]},script=no,downscript=no"
        command += ["-netdev", tap]
        command += ["-device", f"virtio-net-pci,netdev={nic},mac={mac},romfile="]
    return command
