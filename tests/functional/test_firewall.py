"""The firewall's rules in force, in real network namespaces: who reaches whom, each pair tried with real sockets.

The LAN of the lab's class: proxy, hub, two nodes with students' containers, the Salt master, a stranger, and the world.
Every try that the rules refuse is first made without them, and must succeed: what is refused is there.
"""

import os
import shutil
import socket
import subprocess

import pytest
import yaml

from tests.support import firewall
from tests.support.loading import ROOT
from tests.support.masterless import caller
from tests.support.netspace import BRIDGE, Lan, Try, inside, v6

pytestmark = pytest.mark.slow

HOSTS = {
    "world": "10.77.0.254",
    "master": "10.77.0.2",
    "proxy": "10.77.0.10",
    "hub": "10.77.0.11",
    "node1": "10.77.0.21",
    "node2": "10.77.0.22",
    "stranger": "10.77.0.99",
}
CLASS = ("proxy", "hub", "node1", "node2")
OTHER = "10.88.0.11"  # the hub is in a second network, too
SITE, ELSEWHERE, RESOLVER = "198.51.100.9", "198.51.100.10", "203.0.113.53"
METADATA = ("169.254.169.254", "168.63.129.16", "100.100.100.200")
METADATA6 = "fd00:ec2::254"
LINK_LOCAL = "169.254.7.7"
TCP = (22, 80, 443, 2049, 2377, 4505, 4506, 7946, 8000, 8081, 8443, 9100)
UDP = (53, 4789, 7946, 9100)
LISTED = {"egress": "allow-list", "egress_allow": [f"{SITE}:443", "10.0.0.0/8"]}


def test_this_machine_has_what_the_tests_need():
    assert os.geteuid() == 0
    assert shutil.which("nft"), "lab/setup.sh installs nftables"


@pytest.fixture(scope="module")
def lan():
    lan = Lan(HOSTS)
    try:
        lan.everywhere([SITE, ELSEWHERE, RESOLVER, LINK_LOCAL, *METADATA, METADATA6])
        lan.containers("node1", ["ada", "bob"], "fd30:1")
        lan.containers("node2", ["cleo"], "fd30:2")
        lan.ip("hub", f"addr add {OTHER} dev lo")
        for name in ("node1", "stranger", "world"):
            lan.ip(name, f"route add {OTHER} via {HOSTS['hub']}")
        for name in (*CLASS, "master"):
            addresses = [HOSTS[name], v6(HOSTS[name])]
            addresses += {"hub": [OTHER], "node1": [BRIDGE, "fd30:1::1"]}.get(name, [])
            lan.listen(name, addresses, TCP, UDP)
        everywhere = [SITE, ELSEWHERE, RESOLVER, LINK_LOCAL, *METADATA, METADATA6]
        lan.listen("world", everywhere, [53, 80, 443], [53])
        for name, addresses in {
            "ada": [inside(0), "fd30:1::2"],
            "bob": [inside(1), "fd30:1::3"],
            "cleo": [inside(0), "fd30:2::2"],
        }.items():
            lan.listen(name, addresses, [8888])
        yield lan
    finally:
        lan.close()


def load(lan, **hosts):
    """The class's rules on each host, or others on some."""
    for name in CLASS:
        lan.nft(name, hosts.get(name) or values(name))


def values(name, changes=None, **context):
    known = firewall.context("lab", name, changes, master=HOSTS["master"])
    return firewall.rendered(known | {"resolvers": [RESOLVER], "nfs": True} | context)


def unload(lan):
    for name in CLASS:
        lan.nft(name, "table inet classhub\ndelete table inet classhub")


# -- the rules of every example


EXAMPLES = [
    (path.name, minion)
    for path in sorted((ROOT / "pillar/example").iterdir())
    for minion in yaml.safe_load((path / "hosts.yaml").read_text())
]


@pytest.mark.parametrize(("example", "minion"), EXAMPLES)
def test_nft_takes_the_rules(example, minion):
    argv = ["nft", "--check", "--file", "-"]
    text = firewall.rules(example, minion, master=HOSTS["master"])
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


def test_what_would_be_done_is_told(tmp_path):
    states = caller("lab", "node1", tmp_path).cmd("state.apply", "firewall", test=True)
    assert [state["comment"] for state in states.values() if state["result"] is False] == []
    predicted = [state["__id__"] for state in states.values() if state["result"] is None]
    assert "Firewall rules are written" in predicted
    assert "Firewall is in force" in predicted


# -- who reaches the hosts


def to(source, target, port, kind="tcp"):
    return Try(source, HOSTS[target], port, kind)


OPEN = [
    *(to(source, "proxy", port) for source in HOSTS if source != "proxy" for port in (80, 443)),
    *(to("stranger", name, 22) for name in CLASS),
    Try("stranger", v6(HOSTS["proxy"]), 443),
    Try("stranger", v6(HOSTS["hub"]), 22),
    *(to("proxy", "hub", port) for port in (8000, 8443)),
    *(to(node, "hub", port) for node in ("node1", "node2") for port in (8081, 2377, 2049, 7946)),
    *(
        to(source, target, 7946, kind)
        for source, target in [("hub", "node1"), ("node1", "node2"), ("node2", "hub")]
        for kind in ("tcp", "udp")
    ),
    *(to(source, "node1", 4789, "udp") for source in ("hub", "node2")),
    *(to("hub", "node1", 32768 + number) for number in (0, 1)),
    to("hub", "node2", 32768),
    *(to(name, "master", port) for name in CLASS for port in (4505, 4506)),
    *(Try(name, SITE, 443) for name in CLASS),
    Try("node1", METADATA[0], 80),
]
CLOSED = [
    *(to("stranger", "proxy", port) for port in (2049, 2377, 4505, 7946, 8000, 8081, 9100)),
    *(to("stranger", "hub", port) for port in (80, *TCP[2:])),
    *(to("stranger", "node1", port) for port in (80, 2049, 2377, 7946, 8000, 8081, 9100)),
    *(to("stranger", name, port, "udp") for name in ("hub", "node1") for port in (4789, 7946)),
    *(Try("stranger", v6(HOSTS[name]), port) for name in CLASS for port in (2377, 7946, 8000)),
    *(Try("stranger", v6(HOSTS[name]), 7946, "udp") for name in CLASS),
    *(to("master", "hub", port) for port in (8000, 8081, 2377)),
    # servers, by their published ports and by routing to the bridge
    *(to(source, "node1", 32768) for source in ("stranger", "proxy", "node2", "master", "world")),
    # within the class
    *(to("proxy", "hub", port) for port in (2049, 2377, 4505, 7946, 8081)),
    *(to("node1", "hub", port) for port in (8000, 8443)),
    *(to("hub", "node1", port) for port in (2049, 2377, 8081, 9100)),
    *(to("node2", "node1", port) for port in (2049, 2377, 8000, 8081)),
    to("proxy", "node1", 7946),
    *(to("hub", "proxy", port) for port in (7946, 8000, 9100)),
    # at its address in a second network the hub is no hub
    *(Try("node1", OTHER, port) for port in (2049, 2377, 4505, 7946, 8081)),
    Try("node1", v6(HOSTS["hub"]), 2377),
]

# -- what students' servers reach

REACHED = [to(name, "hub", 8081) for name in ("ada", "bob", "cleo")]
WORLD = [Try("ada", SITE, 443), Try("ada", SITE, 80), Try("ada", ELSEWHERE, 443)]
NAMES = [Try("ada", RESOLVER, 53), Try("ada", RESOLVER, 53, "udp")]
NEVER = [
    *(to("ada", "hub", port) for port in TCP if port != 8081),
    *(to("ada", "hub", port, "udp") for port in UDP),
    *(to("ada", name, port) for name in ("proxy", "master", "node1", "node2") for port in TCP),
    *(to("ada", name, port, "udp") for name in ("master", "node1", "node2") for port in UDP),
    *(Try("ada", BRIDGE, port) for port in TCP),
    *(Try("ada", BRIDGE, port, "udp") for port in UDP),
    *(Try("ada", OTHER, port) for port in (2049, 2377, 4505, 7946, 8000, 8081)),
    *(Try("ada", address, 80) for address in (*METADATA, LINK_LOCAL)),
    # the others: by the bridge, by published ports of the own node and of another
    Try("ada", inside(1), 8888),
    Try("bob", inside(0), 8888),
    to("ada", "node1", 32769),
    to("ada", "node2", 32768),
    to("cleo", "node1", 32768),
    # IPv6
    Try("ada", METADATA6, 80),
    Try("ada", "fd30:1::3", 8888),
    Try("ada", "fd30:1::1", 22),
    Try("ada", "fd30:2::2", 8888),
    *(
        Try("ada", v6(HOSTS[name]), port)
        for name in ("hub", "node1", "node2", "master")
        for port in TCP
    ),
    Try("hub", "fd30:1::2", 8888),
    Try("stranger", "fd30:1::2", 8888),
]


def others_than(outcomes, wanted, tries=None):
    """What ended otherwise, in words."""
    return [
        f"{each} is {outcomes[each]}"
        for each in tries or outcomes
        if (outcomes[each] == "open") != (wanted == "open")
    ]


def expect(lan, opened, closed):
    """The former all connect, and the latter do not."""
    assert others_than(lan.outcomes(opened, patience=30), "open") == []
    assert others_than(lan.outcomes(closed), "closed") == []


@pytest.fixture(scope="module")
def without_rules(lan):
    unload(lan)
    return lan.outcomes([*OPEN, *CLOSED, *REACHED, *WORLD, *NAMES, *NEVER], patience=30)


@pytest.fixture(scope="module")
def with_rules(lan, without_rules):
    load(lan)
    opened = lan.outcomes([*OPEN, *REACHED, *WORLD, *NAMES], patience=30)
    return opened | lan.outcomes([*CLOSED, *NEVER])


def test_all_is_open_without_the_rules(without_rules):
    assert others_than(without_rules, "open") == []


@pytest.mark.parametrize(
    "tries", [OPEN, REACHED, WORLD, NAMES], ids=["hosts", "hub", "world", "names"]
)
def test_what_the_class_needs_is_open(with_rules, tries):
    assert others_than(with_rules, "open", tries) == []


@pytest.mark.parametrize("tries", [CLOSED, NEVER], ids=["hosts", "servers"])
def test_all_else_is_closed(with_rules, tries):
    assert others_than(with_rules, "closed", tries) == []


def test_metadata_is_refused_at_once_rather_than_left_to_time_out(with_rules):
    assert {with_rules[Try("ada", address, 80)] for address in METADATA} == {"refused"}


def test_a_pings_answer_tells_that_a_host_is_there(lan):
    load(lan)
    with lan.inside("stranger"):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with raw:
        raw.settimeout(10)
        raw.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", (HOSTS["hub"], 0))
        kinds = {raw.recv(99)[20] for _ in range(1)}
    assert kinds == {0}, "no echo reply"


# -- egress

EGRESS = {
    "open": (None, [*WORLD, *NAMES]),
    "allow-list": (LISTED, [Try("ada", SITE, 443), *NAMES]),
    "none": ({"egress": "none"}, []),
}


@pytest.mark.parametrize("mode", EGRESS)
def test_egress(lan, mode):
    changes, reached = EGRESS[mode]
    load(lan, node1=values("node1", changes))
    server = to("hub", "node1", 32768)
    rest = [each for each in (*WORLD, *NAMES, *NEVER) if each not in reached]
    expect(lan, [*REACHED, server, *reached], rest)


def test_a_node_itself_reaches_the_world_whatever_its_servers_may(lan):
    load(lan, node1=values("node1", {"egress": "none"}))
    expect(lan, [Try("node1", SITE, 443)], [])


@pytest.mark.parametrize("resolver", [METADATA[0], HOSTS["master"]])
def test_names_are_resolved_where_else_nothing_is_reached(lan, resolver):
    """In some clouds at the metadata address; on some campuses by the master's machine."""
    load(lan, node1=values("node1", resolvers=[resolver]))
    asked, other = Try("ada", resolver, 53, "udp"), Try("ada", resolver, 80)
    expect(lan, [asked], [other])
    load(lan, node1=values("node1", {"egress": "none"}, resolvers=[resolver]))
    expect(lan, [], [asked])


def connected(lan, source, target, address, port):
    """Both ends of a connection; `target` listens there."""
    listener = lan.socket(target, address)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    near = lan.socket(source, address)
    near.connect((address, port))
    far, _ = listener.accept()
    listener.close()
    for end in (near, far):
        end.settimeout(20)
    return near, far


def test_an_open_connection_is_judged_again(lan):
    """A class that is closed for an exam is closed for what is open already."""
    load(lan)
    near, far = connected(lan, "ada", "world", SITE, 4443)
    near.sendall(b"before")
    assert far.recv(99) == b"before"
    load(lan, node1=values("node1", {"egress": "none"}))
    near.sendall(b"after")
    with pytest.raises(ConnectionResetError):
        near.recv(99)
    far.settimeout(2)
    with pytest.raises(TimeoutError):
        far.recv(99)


# -- applying the rules


@pytest.mark.parametrize("old", ["", "before"], ids=["first rules", "rules again"])
def test_the_connection_to_the_master_outlives_the_rules(lan, old):
    """The master speaks first: a minion that waits for jobs sends nothing for minutes."""
    unload(lan)
    if old:
        load(lan)
    near, far = connected(lan, "proxy", "stranger", HOSTS["stranger"], 4505)
    lan.nft("proxy", values("proxy", master=HOSTS["stranger"]))
    far.sendall(b"a job")
    assert near.recv(99) == b"a job"


def test_the_master_as_such_opens_nothing(lan):
    """What lets its old connections live does not let it begin one from the port that it has."""
    load(lan, hub=values("hub", master=HOSTS["stranger"]))
    one = lan.socket("stranger", HOSTS["hub"])
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((HOSTS["stranger"], 4506))
    one.settimeout(2)
    with pytest.raises(OSError, match="timed out"):
        one.connect((HOSTS["hub"], 8000))


def test_rules_with_a_fault_leave_those_in_force(lan):
    load(lan)
    with pytest.raises(AssertionError, match="syntax error"):
        lan.nft("hub", values("hub") + "table inet classhub { chain input { nonsense } }\n")
    expect(lan, [to("proxy", "hub", 8000)], [to("stranger", "hub", 8000)])


def test_dockers_own_rules_are_left_alone(lan):
    def dockers():
        command = [
            "ip",
            "netns",
            "exec",
            f"{lan.prefix}node1",
            "nft",
            "list",
            "table",
            "ip",
            "docker",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before = dockers()
    load(lan)
    unload(lan)
    load(lan)
    assert "dnat to" in before
    assert dockers() == before


# -- other classes


def test_admin_networks_and_openings_of_the_site(lan):
    changes = {
        "admin": [f"{HOSTS['master']}/32"],
        "allow": [
            {"port": 9100, "from": [f"{HOSTS['stranger']}/32"], "roles": ["node"]},
            {"port": 9100, "from": ["fd77::/64"], "protocol": "udp"},
        ],
    }
    load(lan, **{name: values(name, changes) for name in ("hub", "node1")})
    opened = [
        to("master", "hub", 22),
        to("stranger", "node1", 9100),
        Try("stranger", v6(HOSTS["hub"]), 9100, "udp"),
    ]
    shut = [
        *(to("stranger", name, 22) for name in ("hub", "node1")),
        Try("stranger", v6(HOSTS["hub"]), 22),
        to("stranger", "hub", 9100),
        to("master", "node1", 9100),
        to("stranger", "node1", 9100, "udp"),
        to("ada", "node1", 9100),
        Try("ada", BRIDGE, 9100),
    ]
    expect(lan, opened, shut)


def test_without_nfs_its_port_is_closed(lan):
    load(lan, hub=values("hub", nfs=False))
    expect(lan, [to("node1", "hub", 2377)], [to("node1", "hub", 2049)])


def test_a_hub_that_is_the_master_serves_the_class_alone(lan):
    load(lan, hub=values("hub", master=HOSTS["hub"], is_master=True))
    opened = [
        to(name, "hub", port) for name in ("proxy", "node1", "node2") for port in (4505, 4506)
    ]
    shut = [to(name, "hub", port) for name in ("stranger", "world", "ada") for port in (4505, 4506)]
    shut += [Try("node1", OTHER, 4506), Try("ada", OTHER, 4506)]
    expect(lan, opened, shut)


@pytest.fixture(scope="module")
def small():
    """The small class: one host that is all, with its students' containers."""
    lan = Lan({"world": "10.77.0.254", "hub": "10.77.0.11", "stranger": "10.77.0.99"})
    try:
        lan.everywhere([SITE, METADATA[0]])
        lan.containers("hub", ["ada", "bob"], "fd30:1")
        lan.listen("hub", ["10.77.0.11", "127.0.0.1", BRIDGE], TCP, UDP)
        lan.listen("world", [SITE, METADATA[0]], [80, 443])
        lan.listen("ada", [inside(0)], [8888])
        lan.listen("bob", [inside(1)], [8888])
        yield lan
    finally:
        lan.close()


def test_the_small_class(small):
    opened = [
        *(Try("stranger", HOSTS["hub"], port) for port in (22, 80, 443)),
        *(Try("hub", HOSTS["hub"], port) for port in (4506, 8000, 8081, 32768)),
        Try("hub", "127.0.0.1", 8000),
        *(Try(name, HOSTS["hub"], 8081) for name in ("ada", "bob")),
        Try("ada", SITE, 443),
    ]
    shut = [
        *(Try("stranger", HOSTS["hub"], port) for port in (2049, 4506, 7946, 8000, 8081, 32768)),
        *(Try("ada", HOSTS["hub"], port) for port in TCP if port != 8081),
        *(Try("ada", BRIDGE, port) for port in TCP),
        Try("ada", HOSTS["hub"], 32769),
        Try("ada", inside(1), 8888),
        Try("ada", METADATA[0], 80),
    ]
    expect(small, opened + shut, [])
    small.nft("hub", firewall.rules("lab-one", "hub", master="127.0.0.1"))
    expect(small, opened, shut)
