"""The images of the lab: a plain Debian from debootstrap, and on it a host, which is Debian with systemd and Salt."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.common import CACHE, LOGS, REPO, LabError, run, say, succeeds

BASE_TAR = CACHE / "base.tar"
BASE_SUITE = "bookworm"
REPOSITORY = "classhub-lab"
# What a host needs of the checkout; a real one gets the same by scp.
BOOTSTRAP_FILES = ["bootstrap.sh", "requirements/build.txt", "requirements/salt.txt"]
SLIM_AWAY = ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"]

DPKG_SLIM = "".join(f"path-exclude=/{path}/*\n" for path in SLIM_AWAY)

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def site_ca_bundle() -> str:
    """The certificates this machine trusts and Debian does not bring: what the hosts must trust too."""
    trusted = Path("/etc/ssl/certs/ca-certificates.crt")
    if not trusted.exists():
        return ""
    debian = set()
    for path in Path("/usr/share/ca-certificates").rglob("*.crt"):
        debian |= {"".join(pem.split()) for pem in CERTIFICATE.findall(path.read_text())}
    own = [
        pem
        for pem in CERTIFICATE.findall(trusted.read_text())
        if "".join(pem.split()) not in debian
    ]
    return "".join(f"{pem}\n" for pem in own)


def make_base() -> None:
    """Make .cache/base.tar: the Debian that host, student and nginx images start from."""
    if BASE_TAR.exists():
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="base-") as work:
        root = Path(work) / "root"
        argv = ["debootstrap", "--variant=minbase", "--include=ca-certificates"]
        argv += ["--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"]
        once_more(lambda: run([*argv, BASE_SUITE, str(root)]))
        slim(root)
        part = Path(work) / "base.tar"
        run(["tar", "--numeric-owner", "--exclude=./dev/*", "-C", root, "-cf", part, "."])
        part.rename(BASE_TAR)


def once_more(work: Callable[[], object]) -> None:
    """Do what fetches packages, and do it again where that fails: an index may not answer for a moment."""
    try:
        work()
    except LabError as error:
        say(f"{error}\nlab: once more")
        work()


def slim(root: Path) -> None:
    """Take out of a root directory what containers do not need, for good: dpkg leaves it out later too."""
    for path in [*SLIM_AWAY, "var/cache/apt", "var/lib/apt/lists", "var/log"]:
        shutil.rmtree(root / path, ignore_errors=True)
        (root / path).mkdir(parents=True)
    sources = root / "etc/apt/sources.list"
    mirror = sources.read_text().split()[1]  # as debootstrap chose it
    lines = (
        f"deb {mirror} {BASE_SUITE} main",
        f"deb {mirror} {BASE_SUITE}-updates main",
        f"deb {mirror}-security {BASE_SUITE}-security main",
    )
    sources.write_text("".join(f"{line}\n" for line in lines))
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(DPKG_SLIM)


def digest(*contents: bytes) -> str:
    """A short name for contents."""
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:12]


def base_image() -> str:
    """The base as an image of this machine's engine; imported when it is not there."""
    made = BASE_TAR.stat()
    tag = f"{REPOSITORY}/base:{digest(f'{made.st_mtime_ns} {made.st_size}'.encode())}"
    if not succeeds(["docker", "image", "inspect", tag]):
        run(["docker", "import", BASE_TAR, tag])
    return tag


def host_image() -> str:
    """The image of a lab host: a bare Debian with systemd on which bootstrap.sh has installed Salt."""
    base, bundle = base_image(), site_ca_bundle()
    inputs = [REPO / "lab/host/Dockerfile", *(REPO / name for name in BOOTSTRAP_FILES)]
    name = digest(base.encode(), bundle.encode(), *(path.read_bytes() for path in inputs))
    tag = f"{REPOSITORY}/host:{name}"
    if succeeds(["docker", "image", "inspect", tag]):
        return tag
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="host-") as work:
        copy_bootstrap(Path(work), bundle)
        once_more(lambda: build(Path(work), tag, base))
    remove_old(tag)
    return tag


def copy_bootstrap(target: Path, bundle: str) -> None:
    """Put what a host needs for bootstrap.sh into a directory."""
    for name in BOOTSTRAP_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / name, target / name)
    (target / "ca-bundle.pem").write_text(bundle)


def build(context: Path, tag: str, base: str) -> None:
    """Build the host image with the classic builder, which every Docker has; its log is kept."""
    LOGS.mkdir(parents=True, exist_ok=True)
    argv = ["docker", "build", "--network=host", f"--build-arg=BASE={base}", f"--tag={tag}"]
    argv += [f"--file={REPO / 'lab/host/Dockerfile'}", str(context)]
    log_path = LOGS / "host-image.log"
    with log_path.open("wb") as log:
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(argv, check=False, stdout=log, stderr=log, env=environment)
    if done.returncode:
        raise LabError(f"building the host image failed:\n{log_path.read_text()[-3000:]}")


def remove_old(tag: str) -> None:
    """Remove host images of former inputs; the engine keeps those that a container still uses."""
    listed = run(["docker", "images", f"{REPOSITORY}/host", "--format", "{{json .}}"])
    for line in listed.splitlines():
        image = json.loads(line)
        name = f"{image['Repository']}:{image['Tag']}"
        if name != tag:
            run(["docker", "rmi", name], check=False)
