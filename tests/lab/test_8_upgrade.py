"""Upgrades with students at work: of the engine on a node, of the image, and of classhub itself."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import journey
from tests.lab.conftest import FRESH
from tests.support import lab
from tests.support.client import Kernel, Student

REPO = "/srv/newer"  # an archive with a newer docker.io, on the node itself
NEWER = f"""
set -e
apt-get install -qq -y dpkg-dev >/dev/null
rm -rf {REPO}; mkdir -p {REPO}; cd {REPO}
apt-get download -qq docker.io
dpkg-deb -R docker.io_*.deb unpacked; rm docker.io_*.deb
sed -i 's/^Version: .*/&+classhub1/' unpacked/DEBIAN/control
dpkg-deb -b -Znone unpacked docker.io.deb >/dev/null; rm -rf unpacked
dpkg-scanpackages -m . 2>/dev/null > Packages
echo 'deb [trusted=yes] file:{REPO} ./' > /etc/apt/sources.list.d/newer.list
"""
BEFORE = os.environ.get("CLASSHUB_PREVIOUS", "HEAD~1")  # the version to upgrade from
PREVIOUS = lab.ROOT / ".cache" / "previous"
# runs on while nobody looks; what it has counted tells whether it was ever interrupted
COUNTER = """
import threading, time
counted, began = 0, time.monotonic()
def count():
    global counted
    while True:
        counted += 1
        time.sleep(0.1)
threading.Thread(target=count, daemon=True).start()
"""


# -- the engine


def version(host: str) -> str:
    return lab.on(host, "dpkg-query", "--show", "--showformat=${Version}", "docker.io")


def since(host: str) -> str:
    """When the engine that runs there was started."""
    return lab.on(host, "systemctl", "show", "docker", "--property=ActiveEnterTimestamp", "--value")


def held(host: str) -> set[str]:
    return set(lab.on(host, "apt-mark", "showhold").split())


@pytest.fixture
def newer(quiet) -> Iterator[str]:
    """The node with ada's server, whose archive has a newer docker.io."""
    node = "node2"
    lab.shell(node, NEWER, timeout=600)
    yield node
    lab.shell(
        node, f"rm -rf {REPO} /etc/apt/sources.list.d/newer.list; apt-get update -qq", timeout=300
    )


@pytest.mark.long
def test_an_engine_is_upgraded_when_its_students_have_gone(newer, student, quiet):
    other = next(node for node in lab.NODES if node != newer)
    lab.salt_run("classhub.drain", other)
    ada = student("ada")
    assert journey.start(ada) == newer
    lab.salt_run("classhub.resume", other)
    kernel = ada.kernel()
    kernel.run("kept = 23")
    before, engine = version(newer), since(newer)
    assert {"docker.io", "containerd", "runc"} <= held(newer)
    # as Debian's own upgrades would
    lab.shell(newer, "apt-get update -qq; apt-get upgrade -qq -y", timeout=600)
    assert (version(newer), since(newer)) == (before, engine)
    told = lab.salt_run("classhub.upgrade_engines", newer)
    assert "servers of ada run there" in told["table"][newer]
    assert kernel.value("kept") == 23
    lab.stop_everyone(quiet)
    told = lab.salt_run("classhub.upgrade_engines", newer)
    assert told["table"][newer].startswith("done"), told
    assert version(newer) == f"{before}+classhub1"
    assert since(newer) != engine
    assert {"docker.io", "containerd", "runc"} <= held(newer)
    assert lab.salt_run("classhub.upgrade_engines", newer)["table"] == {
        newer: "skipped: has the newest"
    }
    assert not lab.lines(lab.apply(newer), "changed")
    lab.salt_run("classhub.drain", other)
    try:
        assert journey.start(ada) == newer
    finally:
        lab.salt_run("classhub.resume", other)


# -- the image


@pytest.mark.long
def test_an_image_rolls_out_and_back_and_stops_nobody(quiet, student):
    """Who is at work keeps the image; who starts next gets the new one, and after it was put back the old one."""
    before = lab.student_image()
    ada, bob, cleo = student("ada"), student("bob"), student("cleo")
    journey.start(ada)
    kernel = ada.kernel()
    kernel.run(COUNTER)
    begun = kernel.value("counted")
    try:
        with lab.settings({"image": {"packages": ["git", "nano", "less", "procps", "tree"]}}):
            lab.salt_run("classhub.deploy", timeout=3600)
            newer = lab.student_image()
            assert newer != before
            journey.start(bob)
            assert image_of("bob") == newer
            assert "/usr/bin/tree" in bob.terminal().run("command -v tree")
    finally:
        began = time.monotonic()
        lab.salt_run("classhub.deploy", timeout=3600)
    print(f"rolled back in {time.monotonic() - began:.0f} s")
    assert lab.student_image() == before
    journey.start(cleo)
    assert [image_of(name) for name in ("ada", "bob", "cleo")] == [before, newer, before]
    assert goes_on(kernel, begun)


def image_of(user: str) -> str:
    """The image of a user's server, as the class names it."""
    told = lab.docker("hub", "service", "inspect", f"jupyter-{user}")
    return json.loads(told)[0]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]


# -- classhub


@pytest.fixture
def previous() -> Iterator[Path]:
    """A checkout of the version before this one."""
    if not FRESH:
        pytest.skip("remakes the lab: set CLASSHUB_LAB_FRESH=1")
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{BEFORE}^{{commit}}"],
        cwd=lab.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"this checkout has no commit {BEFORE}: it is a shallow one")
    remove = ["git", "worktree", "remove", "--force", str(PREVIOUS)]
    subprocess.run(remove, cwd=lab.ROOT, capture_output=True, check=False)
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    lab.run("git", "worktree", "add", "--detach", str(PREVIOUS), found.stdout.strip())
    yield PREVIOUS
    lab.run(*remove)


@pytest.mark.long
def test_the_class_is_upgraded_and_no_kernel_is_interrupted(previous):
    lab.lab("down")
    lab.lab("up", CLASSHUB_LAB_TREE=str(previous))
    where = lab.site()
    lab.wait_for_hub(where)
    at_work: dict[str, Kernel] = {}
    for name in ("ada", "bob", "cleo"):
        student = Student(name, where).sign_in()
        journey.start(student)
        at_work[name] = student.kernel()
        at_work[name].run(COUNTER)
    begun = {name: kernel.value("counted") for name, kernel in at_work.items()}
    lab.lab("hosts")  # the master serves this version
    lab.wait_for_minions()
    started = time.monotonic()
    deployed = lab.salt_run("classhub.deploy")
    seconds = time.monotonic() - started
    assert sum(deployed["hosts"].values()) > 0, "both versions are the same"
    lab.wait_for_hub(where)
    interrupted = [name for name, kernel in at_work.items() if not goes_on(kernel, begun[name])]
    print(f"upgraded in {seconds:.0f} s; interrupted kernels: {len(interrupted)} of {len(at_work)}")
    assert interrupted == []
    assert not lab.lines(lab.apply(), "changed")
    assert lab.salt_run("classhub.doctor")["summary"]["failed"] == 0


def goes_on(kernel: Kernel, begun: int) -> bool:
    """Whether a kernel has counted all the time: ten times a second, less what a busy machine takes."""
    counted, seconds = kernel.value("[counted, time.monotonic() - began]")
    return counted > begun and counted > seconds * 5
