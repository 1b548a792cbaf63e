"""What breaks in a class, and what students notice of it: restarts, dead nodes, a full class."""

import contextlib
import subprocess
import threading
import time

import pytest
import requests

from tests.lab import journey
from tests.support import lab
from tests.support.client import Kernel, KernelDied, Student
from tests.support.waiting import wait_until

NOT_YET = (requests.RequestException, KernelDied, TimeoutError, OSError, AssertionError)


# -- the hub and its proxy ------------------------------------------------------------------------
def _at_work(student: Student) -> tuple[str, Kernel, list[str]]:
    """Start a student's server; its node, a kernel in which 41 is kept, and its container."""
    node = journey.start(student)
    kernel = student.kernel()
    kernel.run("kept = 41")
    return node, kernel, lab.containers_of(student.name, node)


def test_a_restarted_hub_keeps_the_kernels(quiet, student):
    ada = student("ada")
    node, kernel, container = _at_work(ada)

    lab.on("hub", "systemctl", "restart", "jupyterhub")
    lab.wait_for_hub(quiet)

    assert lab.operator(quiet).server("ada")["ready"]
    assert kernel.value("kept + 1") == 42
    assert lab.containers_of("ada", node) == container
    ada.stop()  # the hub knows the server well enough to stop it
    assert lab.servers() == []


@pytest.mark.long
def test_a_restarted_hub_waits_for_a_server_that_it_does_not_reach(quiet, student):
    """JupyterHub's own patience is half a minute; then it stops the server, and the kernels with it."""
    node, kernel, container = _at_work(student("ada"))
    address = lab.ADDRESSES[node]
    rule = f"ip daddr {address} tcp dport 32768-60999 ct state new drop"
    chain = f"chain output {{ type filter hook output priority 0; {rule}; }}"
    lab.on("hub", "nft", f"table ip cut {{ {chain}; }}")
    try:
        lab.on("hub", "systemctl", "restart", "jupyterhub")
        time.sleep(75)
    finally:
        lab.on("hub", "nft", "delete table ip cut")

    wait_until(
        "the hub has found the server",
        lambda: lab.operator(quiet).server("ada").get("ready"),
        60,
        ignoring=NOT_YET,
    )
    assert kernel.value("kept + 1") == 42
    assert lab.containers_of("ada", node) == container


def test_a_restarted_proxy_has_its_routes_put_back(quiet, student):
    ada = student("ada")
    journey.start(ada)
    restart = subprocess.Popen(
        ["docker", "exec", f"{lab.CONTAINER}hub", "systemctl", "restart", "jupyterhub-proxy"]
    )
    good: list[float] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ended = restart.poll() is not None
        if ada.answers():
            good.append(time.monotonic())
            if ended:
                break
        time.sleep(0.02)
    assert restart.wait() == 0
    # systemd's stamp and time.monotonic() are the same clock: the hosts share one kernel
    stamp = lab.on(
        *["hub", "systemctl", "show", "jupyterhub-proxy", "--value"],
        *["-p", "ExecMainStartTimestampMonotonic"],
    )
    began = int(stamp) / 1e6
    back = min((moment for moment in good if moment > began), default=deadline) - began
    print(f"the proxy's routes were back {back:.2f} s after its process started")
    assert back < 60, "the hub itself would look after them every five minutes"


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_start_interrupted_by_the_hub_leaves_nothing(quiet, student, how):
    cleo = student("cleo")
    for _ in range(4):
        if _interrupt_start(cleo, how):
            break
        cleo.stop()
    else:
        pytest.fail("the hub could not be stopped in the middle of a start")
    wait_until("the half-started server is gone", lambda: not lab.servers(), 60)
    for node in lab.NODES:
        wait_until(
            f"no container is left on {node}",
            lambda node=node: not lab.containers_of("cleo", node),
            30,
        )
    assert not lab.operator(quiet).server("cleo")
    assert cleo.start().ready


def _interrupt_start(student: Student, how: str) -> bool:
    """Stop the hub while it starts a server; False where the server was quicker."""

    def ask() -> None:
        with contextlib.suppress(requests.RequestException):  # the hub goes away meanwhile
            student.start()

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until("Swarm was asked", lambda: student.name in lab.servers(), 30, pause=0.05)
    if how == "kill":
        lab.on("hub", "systemctl", "kill", "--signal=KILL", "jupyterhub")
        time.sleep(0.2)  # systemd has to see the death, or its restart is a stop first
    lab.on("hub", "systemctl", "restart", "jupyterhub")
    lab.wait_for_hub(student.site)
    asking.join()
    return not lab.operator(student.site).server(student.name).get("ready")


# -- servers and nodes ----------------------------------------------------------------------------
def test_a_killed_server_stays_dead_until_its_student_starts_it(quiet, student):
    ada = student("ada")
    node = journey.start(ada)
    (container,) = lab.containers_of("ada", node)
    lab.docker(node, "kill", container)
    wait_until("the hub notices", lambda: not lab.operator(quiet).server("ada"), 45)
    for host in lab.NODES:
        assert lab.containers_of("ada", host) == [], f"Swarm started it again on {host}"
    assert journey.start(ada) in lab.NODES
    assert ada.kernel().value("6 * 7") == 42


def test_a_dead_node_costs_a_start_and_no_file(quiet, student):
    victim = "node2"
    ada = _student_on(victim, [student(name) for name in ("ada", "bob", "cleo")])
    ada.save("kept.txt", "written before the node died")
    lab.run("docker", "kill", f"{lab.CONTAINER}{victim}")
    try:
        wait_until(
            "a new start succeeds",
            lambda: ada.start().ready and lab.node_of(ada.name) != victim,
            120,
            pause=2,
            ignoring=NOT_YET,
        )
        assert lab.node_of(ada.name) == "node1"
        assert ada.kernel().value("open('kept.txt').read()") == "written before the node died"
        journey.file_on_hub(ada, "kept.txt")
    finally:
        lab.run("docker", "start", f"{lab.CONTAINER}{victim}")
    wait_until(f"{victim} is back", lambda: victim in lab.ready_nodes(), 180, ignoring=NOT_YET)
    wait_until(
        "nothing of the old server runs there",
        lambda: lab.containers_of(ada.name, victim) == [],
        60,
        ignoring=(lab.CommandFailed,),
    )
    wait_until(
        f"the minion of {victim} answers",
        lambda: lab.salt(victim, "test.ping"),
        180,
        ignoring=(AssertionError, lab.CommandFailed),
    )
    assert ada.answers(), "the return of the dead node must not disturb the new server"


def _student_on(node: str, students: list[Student]) -> Student:
    """Start servers until one lands on the node; its student."""
    for student in students:
        if journey.start(student) == node:
            return student
    raise AssertionError(f"none of {len(students)} servers landed on {node}")


def test_a_drained_node_gets_no_server_until_it_is_resumed(quiet, student):
    students = [student(name) for name in ("ada", "bob", "cleo", "dan")]
    lab.salt_run("classhub.drain", "node1")
    try:
        assert {journey.start(one) for one in students[:3]} == {"node2"}
    finally:
        lab.salt_run("classhub.resume", "node1")
    assert journey.start(students[3]) == "node1"  # Swarm fills the emptier node


def test_a_full_class_says_so_and_has_room_again(quiet, student):
    ada, bob = student("ada"), student("bob")
    with lab.seats_left(1):
        assert ada.start().ready
        refused = bob.start()
        assert not refused.ready
        assert "full" in refused.message.lower(), refused.message
        print(f"told after {refused.seconds:.0f} s: {refused.message}")
        page = bob.page("/hub/spawn-pending/bob")
        assert "full" in page.text.lower(), "the page does not say it"
        assert lab.servers() == ["ada"]
        assert ada.answers()

        ada.stop()
        assert bob.start().ready
