"""The disk of virtual machines: Debian as debootstrap makes it, with its stock cloud kernel, systemd and Salt.

Made once and kept in .cache/vm, under the hash of what it is made from. It has the packages that the states install,
for downloads take long in a machine that is emulated; nothing in it is configured, and no server of NFS is enabled.
"""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import images
from lab.common import CACHE, LOGS

FOLDER = CACHE / "vm"
SIZE = "4G"  # of the disk, which is sparse
TOOLS = ("qemu-system-x86_64", "qemu-img", "debootstrap", "mkfs.ext4")

# what a plain Debian server has; what lets it be driven from outside; what the states would download
SYSTEM = ["systemd", "systemd-sysv", "dbus", "udev", "kmod", "iproute2", "tzdata", "python3-venv"]
SYSTEM += ["initramfs-tools", "linux-image-cloud-amd64", "qemu-guest-agent"]
DOWNLOADED = ["curl", "nftables", "procps", "nfs-common", "nfs-kernel-server"]

RECIPE = f"""
set -eu
export DEBIAN_FRONTEND=noninteractive
# the disk is all that the initrd has to find
mkdir -p /etc/initramfs-tools/conf.d
echo MODULES=list >/etc/initramfs-tools/conf.d/vm
printf '%s\\n' virtio_pci virtio_blk >>/etc/initramfs-tools/modules
apt-get update -q
apt-get install -q -y --no-install-recommends {" ".join(SYSTEM + DOWNLOADED)}
cd /usr/local/src/classhub
if [ -s ca-bundle.pem ]; then ./bootstrap.sh install --ca-bundle ca-bundle.pem; else ./bootstrap.sh install; fi
# addresses and name come from the kernel's command line
systemctl enable systemd-networkd systemd-network-generator
# its own limit of two minutes is too short where a machine gets a tenth of a processor
mkdir -p /etc/systemd/system/systemd-networkd-wait-online.service.d
printf '[Service]\\nExecStart=\\nExecStart=/lib/systemd/systemd-networkd-wait-online --timeout=900\\n' \
    >/etc/systemd/system/systemd-networkd-wait-online.service.d/patient.conf
# it tells the journal of every question
mkdir -p /etc/systemd/system/qemu-guest-agent.service.d
printf '[Service]\\nStandardOutput=null\\nStandardError=null\\n' \
    >/etc/systemd/system/qemu-guest-agent.service.d/quiet.conf
systemctl disable nfs-server
systemctl mask apt-daily.timer apt-daily-upgrade.timer getty.target
printf '/dev/vda / ext4 defaults 0 1\\n' >/etc/fstab
printf '127.0.0.1 localhost\\n' >/etc/hosts
: >/etc/machine-id
rm -rf /var/cache/apt /var/lib/apt/lists /etc/resolv.conf /usr/sbin/policy-rc.d
"""
# in namespaces of its own: nothing stays mounted or running, whatever happens
CHROOT = """
set -eu
mount --bind /dev "$0/dev"
mount -t proc proc "$0/proc"
mount -t sysfs sysfs "$0/sys"
exec chroot "$0" /bin/sh /recipe
"""


class NoMachine(Exception):
    """No virtual machine can be made here; the text says what to do."""


@dataclass(frozen=True)
class Image:
    """What a machine is started from."""

    kernel: Path
    initrd: Path
    disk: Path


def image() -> Image:
    """The image; made, which takes some minutes, when it is not there."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise NoMachine(f"no {', '.join(missing)} here: run `make setup`")
    FOLDER.mkdir(parents=True, exist_ok=True)
    images.make_base()
    target = FOLDER / _key()
    if not target.exists():
        _make(target)
        for old in FOLDER.iterdir():
            if old != target:
                shutil.rmtree(old)
    return Image(target / "kernel", target / "initrd", target / "disk")


def _key() -> str:
    """The hash of all that an image is made from."""
    base = images.BASE_TAR.stat()
    files = [(images.REPO / name).read_bytes() for name in images.BOOTSTRAP_FILES]
    made_from = [f"{base.st_mtime_ns} {base.st_size} {SIZE}", RECIPE, images.site_ca_bundle()]
    return images.digest(*(text.encode() for text in made_from), *files)


def _make(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="new-") as work:
        root, ready = Path(work) / "root", Path(work) / "ready"
        ready.mkdir()
        root.mkdir()
        _command(["tar", "-C", root, "-xf", images.BASE_TAR])
        images.copy_bootstrap(root / "usr/local/src/classhub", images.site_ca_bundle())
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        (root / "recipe").write_text(RECIPE)
        # services of packages are not to start here
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (root / "usr/sbin/policy-rc.d").chmod(0o755)
        argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CHROOT, root]
        _command(argv)
        (root / "recipe").unlink()
        for name, pattern in (("kernel", "vmlinuz-*"), ("initrd", "initrd.img-*")):
            (found,) = (root / "boot").glob(pattern)
            shutil.move(found, ready / name)
        made = ["-E", "lazy_itable_init=0", "-d", root, ready / "disk", SIZE]
        _command(["mkfs.ext4", "-q", *made])
        ready.rename(target)


def _command(argv: list[str | Path]) -> None:
    """Run a command; its words are kept in the lab's logs."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / "vm-image.log"
    with path.open("ab") as log:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
        )
    if done.returncode:
        said = path.read_text(errors="replace")[-3000:]
        raise NoMachine(f"the disk of the virtual machines could not be made:\n{said}")


def _environment() -> dict[str, str]:
    """What a new Debian machine has."""
    kept = {name: os.environ[name] for name in ("http_proxy", "https_proxy") if name in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"} | kept
