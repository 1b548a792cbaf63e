"""Quotas and full homes in the class. The lab's homes are a volume of this machine, which keeps no quotas by user."""

import json

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long
RELEASED = "/var/lib/classhub/course/release/room"
STATE = "/run/classhub/disk.json"


def test_a_filesystem_without_quotas_is_told_in_one_sentence_and_the_class_goes_on(site):
    with (
        lab.settings({"storage": {"quota": {"roles": {"student": "5G"}}}}),
        pytest.raises(
            lab.CommandFailed, match="nobody has a quota: /home .* keeps no quotas by user"
        ),
    ):
        lab.salt_run("classhub.roster")
    assert lab.salt_run("classhub.roster")["table"] == {}


def test_how_full_the_disk_is(site):
    told = lab.salt_run("classhub.disk")
    assert told["quotas"].startswith("none: ")
    assert told["size"].endswith("iB")
    assert (told["over"], told["largest"]) == ({}, {})


def test_the_hub_can_read_what_is_written_down_once_a_minute(site):
    lab.on("hub", "systemctl", "start", "classhub-disk.service")
    first = json.loads(lab.on("hub", "cat", STATE))
    assert first["size"] > first["free"] > 0
    assert lab.on("hub", "stat", "-c", "%U %G %a", STATE) == "root jupyterhub 640"
    assert json.loads(lab.on("hub", "setpriv", "--reuid=jupyterhub", "--regid=jupyterhub", "--clear-groups", "cat", STATE)) == first  # fmt: skip
    wait_until(
        "the timer looks again",
        lambda: json.loads(lab.on("hub", "cat", STATE))["at"] > first["at"],
        150,
    )


@pytest.fixture
def small_home():
    """bob's home, on the hub, is as small as 64 KiB."""
    uid = lab.on("hub", "id", "-u", "bob")
    options = f"size=64k,mode=700,uid={uid},gid={uid}"
    lab.on("hub", "mount", "-t", "tmpfs", "-o", options, "small", "/home/bob")
    yield
    lab.on("hub", "umount", "/home/bob")


def test_a_release_goes_to_whom_there_is_room_for(site, small_home):
    lab.shell("hub", f"mkdir -p {RELEASED} && head -c 100000 /dev/zero >{RELEASED}/large.bin")
    words = ("room", "generate=False", "students=ada,bob")
    table = lab.salt("hub", "classhub.release", *words)["hub"]["table"]
    assert table["ada"].startswith(("done", "skipped: has it"))
    assert table["bob"] == "failed: the disk is full"
    assert lab.shell("hub", "ls /home/bob") == ""
    lab.on("hub", "umount", "/home/bob")
    try:
        assert lab.salt_run("classhub.release", *words)["table"]["bob"] == "done: given"
    finally:
        lab.on("hub", "mount", "-t", "tmpfs", "none", "/home/bob")  # the fixture takes it off


def test_a_server_puts_nothing_into_the_home_that_it_needs_for_itself(quiet, student):
    ada = student("ada")
    journey.start(ada)
    kernel = journey.work(ada)
    assert kernel.run("get_ipython().ipython_dir").text.strip() == "'/tmp/ipython'"
    ada.stop()
