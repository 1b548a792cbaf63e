"""What a student's container reaches, tried from a cell: the hub's API, and nothing else of the class."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.waiting import wait_until

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
# what: address, port, and who reaches it, to show that it is there; the server's own node if nobody is named
FORBIDDEN = {
    "the Salt master's publisher": (GATEWAY, 4505),
    "the Salt master's requests": (GATEWAY, 4506),
    "the swarm's manager": ("10.77.0.11", 2377),
    "the hub's proxy": ("10.77.0.11", 8000, "proxy"),
    "the hub's pages for the proxy host": ("10.77.0.11", 8443, "proxy"),
    "the hub's homes by NFS": ("10.77.0.11", 2049, "hub"),
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


def _opens(host, address, port):
    """Whether a host of the lab gets a connection: what a container is refused must be there at that moment."""
    try:
        lab.on(host, "timeout", "5", "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}")
    except lab.CommandFailed:
        return False
    return True


@pytest.fixture(scope="module")
def nfs(hosts):
    """Something listens where the hub's NFS server would: the lab's kernel may have none."""
    unit = "classhub-test-nfs"
    server = ("/opt/salt/bin/python3", "-m", "http.server", "2049", "--bind", "0.0.0.0")
    own = not _opens("hub", lab.ADDRESSES["hub"], 2049)
    if own:
        lab.on("hub", "systemd-run", "--collect", f"--unit={unit}",
               *server, "--directory", "/usr/share/doc")  # fmt: skip
    try:
        wait_until("the hub listens on 2049", lambda: _opens("hub", lab.ADDRESSES["hub"], 2049), 20)
        yield
    finally:
        if own:
            lab.on("hub", "systemctl", "stop", unit, check=False)


@pytest.mark.usefixtures("nfs")
@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_class_is_out_of_reach(two, what):
    kernel, nodes = two
    host, port, *witness = FORBIDDEN[what]
    own = nodes["ada"]
    named = {"own node": own, "other node": next(node for node in lab.NODES if node != own)}
    host = lab.ADDRESSES.get(named.get(host, ""), host)
    witness = witness[0] if witness else own
    assert _opens(witness, host, port), f"{witness} itself does not reach {host}:{port}"
    assert kernel.value(f"reach({host!r}, {port})") != "open"


def test_a_clouds_metadata_service_is_refused_at_once(two):
    """It would hand out the node's own credentials.

    Without a control: the lab's machine has no such service, and the address cannot be given to a host without changing
    the network that is tested. So the refusal itself is looked at: where no rule says no, the try ends in a TimeoutError
    or an error of routing.
    """
    kernel, _ = two
    kernel.run("import time")
    value = "(time.monotonic(), reach('169.254.169.254', 80), time.monotonic())"
    began, told, ended = kernel.value(value)
    assert told == "ConnectionRefusedError"
    assert ended - began < 1


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
        assert _opens(nodes["bob"], inside, 8888)
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
        assert _opens("node1", inside.strip(), 8888)
        assert kernel.value(f"reach({inside.strip()!r}, 8888)") != "open"
    finally:
        lab.salt_run("classhub.resume", "node2")
        lab.stop_everyone(site)
