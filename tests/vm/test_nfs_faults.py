"""Kernel NFS when something goes wrong: its server restarts, the hub is reset or says nothing, a node boots without it."""

import time

import pytest

from tests.support import vm
from tests.support.nfs import Writer, as_student, end, ended, in_background
from tests.support.vm_class import changes, failures
from tests.support.waiting import wait_until


# -- the hub goes away
def test_a_restart_of_the_server_loses_and_doubles_nothing(class_, homes):
    with Writer(class_.nodes[0], "ada") as writer:
        for _ in range(2):
            class_.hub.run("systemctl", "restart", "nfs-server")
            writer.wait(50)
        assert writer.lines(class_.hub) > 100


def test_a_stopped_server_holds_the_writer_up_and_nothing_else(class_, homes):
    with Writer(class_.nodes[0], "ada") as writer:
        class_.hub.run("systemctl", "stop", "nfs-server")
        before = writer.promised()
        time.sleep(10)
        during = writer.promised()
        class_.hub.run("systemctl", "start", "nfs-server")
        writer.wait(50)
        writer.lines(class_.hub)
    assert during - before <= 1  # what was on its way


def test_a_reset_of_the_hub_loses_nothing_that_was_promised(class_, homes):
    """The reset button, while a program on the node writes: what it had fsynced is there, and it goes on."""
    booted = class_.hub.boot()
    with Writer(class_.nodes[0], "ada") as writer:
        class_.hub.reset()
        class_.hub.wait()
        writer.wait(50, 600)
        assert class_.hub.boot() != booted
        writer.lines(class_.hub)


def test_the_hub_comes_back_by_itself_as_the_states_left_it(class_, homes):
    class_.hub.reset()
    class_.hub.wait()
    assert changes(class_.apply(["hub"], test=True)["hub"]) == {}
    wait_until(
        "the other node reads",
        lambda: class_.nodes[1].done("timeout", "60", "ls", "/home/ada").code == 2,
        300,
    )


# -- stale handles
def test_a_directory_made_anew_on_the_hub_is_found_by_its_path(class_, homes):
    """Who stands in the old one gets `Stale file handle`; whoever comes by the path gets the new one."""
    node, hub = class_.nodes[0], class_.hub
    as_student(node, "ada", "sh", "-c", "mkdir /home/ada/work && echo old >/home/ada/work/file")
    script = "cd /home/ada/work; exec 3<file; touch /home/ada/ready; until [ -e /run/go ]; do sleep 0.2; done; "
    script += "cat <&3; ls .; cat /home/ada/work/file"
    as_student(node, "ada", "cat", "/home/ada/work/file")
    node.run("rm", "-f", "/run/go")
    in_background(node, "stander", "ada", "sh", "-c", script)
    try:
        wait_until(
            "it stands there", lambda: hub.done("test", "-e", "/home/ada/ready").code == 0, 300
        )
        hub.sh("rm -rf /home/ada/work && mkdir /home/ada/work && echo new >/home/ada/work/file")
        hub.sh("chown -R 20001:20001 /home/ada/work")
        node.run("touch", "/run/go")
        wait_until("it has ended", lambda: ended(node, "stander"), 300)
        said = node.run("journalctl", "--unit=stander", "--output=cat")
    finally:
        end(node, "stander")
        node.run("rm", "-f", "/run/go")
    assert "Stale file handle" in said
    assert "new" in said.splitlines()
    assert as_student(node, "ada", "cat", "/home/ada/work/file") == "new"


# -- the hub says nothing any more
@pytest.fixture
def silent_hub(class_, homes):
    """A student's writer on node1, and a hub that has stopped in the middle of it; the hub goes on at the end."""
    with Writer(class_.nodes[0], "ada") as writer:
        class_.hub.pause()
        try:
            yield writer
        finally:
            class_.hub.go_on()
        writer.wait(50, 600)
        writer.lines(class_.hub)


def test_a_node_goes_on_without_its_hub(class_, silent_hub):
    """What does not touch homes works; what does waits, and can be killed; the hub's return is all that is needed."""
    node = class_.nodes[0]
    assert node.done("timeout", "-s", "KILL", "5", "touch", "/home/ada/x").code == -9
    node.run(
        "dd", "if=/dev/zero", "of=/var/tmp/zeros", "bs=1M", "count=4", "conv=fsync", timeout=300
    )
    assert "/dev/vda" in node.run("df", "-l", timeout=300)
    node.run("systemd-run", "--quiet", "--wait", "--collect", "true", timeout=300)
    assert class_.ask(["node1"], "test.ping") == {"node1": True}
    assert class_.ask(["node1"], "grains.get", "id") == {"node1": "node1"}


def test_salt_tells_that_the_hub_is_silent_rather_than_hang(class_, silent_hub):
    sentence = "/home does not answer (waited 10 s). Is the hub up"
    for function in ("marker", "silence"):
        (said,) = class_.ask(["node1"], f"classhub_filesystem.{function}").values()
        assert said.removeprefix("ERROR: ").startswith(sentence)
    for test in (True, False):
        states = class_.apply(["node1"], ["storage"], test=test)["node1"]
        failed = failures(states)
        assert failed[0].startswith(f"Storage answers where it is mounted: {sentence}"), failed
        assert changes(states) == {}


@pytest.fixture
def node_with_an_engine(class_):
    """node2 with a unit of the engine's name, which the states tie to the homes; there is no engine."""
    node = class_.machines["node2"]
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    node.write(
        "/etc/systemd/system/docker.service", f"{unit}[Install]\nWantedBy=multi-user.target\n"
    )
    node.sh("systemctl daemon-reload && systemctl enable --quiet --now docker && sync")
    yield node
    node.sh(
        "systemctl disable --quiet --now docker && rm /etc/systemd/system/docker.service && sync"
    )


def test_a_node_that_boots_without_the_hub_does_not_look_ready(class_, node_with_an_engine):
    """It comes up and answers; its engine waits for the homes, and starts by itself when the hub is back."""
    node, before = node_with_an_engine, node_with_an_engine.boot()

    def state(unit):
        return node.run("systemctl", "is-active", unit, check=False)

    def waits():
        return node.boot() != before and state("home.mount") == "activating"

    assert state("docker") == "active"
    class_.hub.pause()
    try:
        node.reset()
        wait_until("node2 tries to mount the homes", waits, vm.BOOT, ignoring=vm.AWAY)
        wait_until("node2's minion answers", lambda: class_.answers("node2"), vm.BOOT)
        assert (state("home.mount"), state("docker")) == ("activating", "inactive")
    finally:
        class_.hub.go_on()
    wait_until("the engine of node2 runs", lambda: state("docker") == "active", vm.BOOT)
    assert node.done("mountpoint", "-q", "/home").code == 0
    assert changes(class_.apply(["node2"], test=True)["node2"]) == {}
