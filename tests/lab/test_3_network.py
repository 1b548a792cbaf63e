"""What a student's container reaches, tried from a cell: the hub's API, and nothing else of the class."""

import pytest

from tests.lab import journey
from tests.support import lab

GATEWAY = "10.77.0.1"  # the machine of the Salt master
TRY = """
import socket
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return "open"
    except OSError as error:
        return type(error).__name__
"""
FORBIDDEN = {
    "the Salt master's publisher": (GATEWAY, 4505),
    "the Salt master's requests": (GATEWAY, 4506),
    "the swarm's manager": ("10.77.0.11", 2377),
    "the hub's proxy": ("10.77.0.11", 8000),
    "the class's front door": ("10.77.0.10", 443),
    "its own node's swarm port": ("own node", 7946),
    "the other node's swarm port": ("other node", 7946),
    "its own node by the bridge": ("172.30.0.1", 7946),
}


@pytest.fixture(scope="module")
def two(site, student):
    """Ada and Bob with a kernel each, Bob's container on whichever node; stopped at the end."""
    lab.stop_everyone(site)
    people = {name: student(name) for name in ("ada", "bob")}
    nodes = {name: journey.start(person) for name, person in people.items()}
    kernel = people["ada"].kernel()
    kernel.run(TRY)
    yield kernel, nodes
    lab.stop_everyone(site)


def test_the_hubs_api_is_reached(two):
    kernel, _ = two
    assert kernel.value("reach('10.77.0.11', 8081)") == "open"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_class_is_out_of_reach(two, what):
    kernel, nodes = two
    host, port = FORBIDDEN[what]
    own = nodes["ada"]
    named = {"own node": own, "other node": next(node for node in lab.NODES if node != own)}
    host = lab.ADDRESSES.get(named.get(host, ""), host)
    # what is tried must be there: the same port answers to its own host
    listener = {address: name for name, address in lab.ADDRESSES.items()}.get(host)
    if listener:
        assert f":{port} " in lab.on(listener, "ss", "-Hltn"), f"nothing listens on {host}:{port}"
    assert kernel.value(f"reach({host!r}, {port})") != "open"


def test_another_students_server_is_out_of_reach(two):
    """Neither by its published port on the node nor by its address on the bridge."""
    kernel, nodes = two
    (container,) = lab.containers_of("bob", nodes["bob"])
    inspected = lab.docker(
        nodes["bob"],
        "inspect",
        "--format",
        '{{.NetworkSettings.IPAddress}} {{(index (index .NetworkSettings.Ports "8888/tcp") 0).HostPort}}',
        container,
    )
    inside, port = inspected.split()
    assert lab.on("hub", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                  f"http://{lab.ADDRESSES[nodes['bob']]}:{port}/user/bob/api") == "200"  # fmt: skip
    assert kernel.value(f"reach({lab.ADDRESSES[nodes['bob']]!r}, {port})") != "open"
    if nodes["bob"] == nodes["ada"]:
        assert kernel.value(f"reach({inside!r}, 8888)") != "open"


def test_two_servers_of_one_node_are_apart(site, student):
    lab.stop_everyone(site)
    lab.salt_run("classhub.drain", "node2")
    try:
        ada, bob = student("ada"), student("bob")
        assert journey.start(ada) == journey.start(bob) == "node1"
        (container,) = lab.containers_of("bob", "node1")
        inside = lab.docker(
            "node1", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", container
        )
        kernel = ada.kernel()
        kernel.run(TRY)
        assert kernel.value(f"reach({inside.strip()!r}, 8888)") != "open"
    finally:
        lab.salt_run("classhub.resume", "node2")
        lab.stop_everyone(site)
