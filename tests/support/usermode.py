"""A kernel that keeps quotas: User Mode Linux, a process that has this machine's files.

The kernel of a machine that runs tests, such as that of a small virtual one, may be built without them.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.loading import ROOT

NEEDS = ("linux.uml", "insmod", "setquota", "mkfs.xfs")
MODULES = Path("/usr/lib/uml/modules")
DISKS = 2
SIZE = 400 << 20  # XFS takes no less than 300 MB
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devpts devpts /dev/pts 2>/dev/null || {{ mkdir -p /dev/pts; mount -t devpts devpts /dev/pts; }}
mount -t tmpfs tmpfs /run
ip link set lo up
for module in quota_tree quota_v2; do
    insmod {modules}/$(uname -r)/kernel/fs/quota/$module.ko
done
cd {root}
{command} >{top}/told 2>&1
echo $? >{top}/code
poweroff -f
"""


def within(top: Path, command: str, seconds: int = 900) -> str:
    """Run a command as root in the other kernel; it has empty disks, /dev/ubda and so on. What it printed.

    Skips where User Mode Linux, or what is used in it, is not installed.
    """
    if missing := [name for name in NEEDS if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}")
    init = top / "init"
    init.write_text(INIT.format(modules=MODULES, root=ROOT, top=top, command=command))
    init.chmod(0o755)
    disks = []
    for number in range(DISKS):
        disk = top / f"disk{number}"
        with disk.open("wb") as file:
            file.truncate(SIZE)
        disks.append(f"ubd{chr(ord('a') + number)}={disk}")
    words = [
        "linux.uml",
        "quiet",
        "mem=1G",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={init}",
    ]
    done = subprocess.run(
        [*words, *disks, "con=null", "con0=null,fd:1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    told = (top / "told").read_text(errors="replace") if (top / "told").exists() else ""
    code = (top / "code").read_text().strip() if (top / "code").exists() else "none"
    assert code == "0", f"ended with {code}\n{told}\n{done.stdout[-2000:]}"
    return told
