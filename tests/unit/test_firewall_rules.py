"""The firewall's template: what each role opens, and what it does not."""

import pytest

from tests.support.firewall import rendered

CONTEXT = {
    "roles": ["node"],
    "address": "192.0.2.21",
    "hosts": ["192.0.2.10", "192.0.2.11", "192.0.2.21", "192.0.2.22"],
    "nodes": ["192.0.2.21", "192.0.2.22"],
    "hub": "192.0.2.11",
    "proxy": "192.0.2.10",
    "master": "192.0.2.2",
    "is_master": False,
    "hub_ports": [8000, 8443],
    "api_port": 8081,
    "nfs": True,
    "inbound": [
        {"network": "0.0.0.0/0", "port": 22, "protocol": "tcp"},
        {"network": "::/0", "port": 22, "protocol": "tcp"},
    ],
    "egress": "open",
    "outbound": [],
    "resolvers": ["203.0.113.53"],
}
SWARM = [
    "ip saddr { 192.0.2.11, 192.0.2.21, 192.0.2.22 } tcp dport 7946 accept",
    "ip saddr { 192.0.2.11, 192.0.2.21, 192.0.2.22 } udp dport { 4789, 7946 } accept",
]
HUB = [
    "ip saddr 192.0.2.10 tcp dport { 8000, 8443 } accept",
    "ip saddr { 192.0.2.21, 192.0.2.22 } tcp dport { 8081, 2377, 2049 } accept",
]


def lines(chain, **changes):
    """The rules of a chain, without comments."""
    _, _, rest = rendered(CONTEXT | changes).partition(f"chain {chain} {{\n")
    assert rest, chain
    found = [line.strip() for line in rest.partition("  }\n")[0].splitlines()]
    return [line for line in found if line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("roles", "opened"),
    [
        (["proxy"], []),
        (["hub"], HUB + SWARM),
        (["node"], SWARM),
        (["proxy", "hub", "node"], HUB + SWARM),
    ],
)
def test_each_role_opens_its_own_ports_to_the_class(roles, opened):
    assert lines("from_class", roles=roles) == opened


@pytest.mark.parametrize("roles", [["hub"], ["node"], ["proxy"]])
def test_all_is_refused_but_what_is_said(roles):
    rules = lines("input", roles=roles)
    assert rules[0].endswith("policy drop;")
    assert ("tcp dport { 80, 443 } accept" in rules) == (roles == ["proxy"])
    assert "ip saddr 0.0.0.0/0 tcp dport 22 accept" in rules
    assert "ip6 saddr ::/0 tcp dport 22 accept" in rules
    everybody = [rule for rule in rules if " dport " in rule and " saddr " not in rule]
    assert everybody == ["udp sport 67 udp dport 68 accept"] + ["tcp dport { 80, 443 } accept"] * (
        roles == ["proxy"]
    )


def test_what_the_host_itself_begins_is_never_refused():
    assert "hook output" not in rendered(CONTEXT)


def test_the_master_is_there_for_the_class():
    assert "tcp dport { 4505, 4506 } accept" in lines("from_class", is_master=True)
    assert "tcp dport { 4505, 4506 } accept" not in lines("from_class")


def test_nfs_is_open_where_it_is_used():
    (_, rule, *_) = lines("from_class", roles=["hub"], nfs=False)
    assert rule == "ip saddr { 192.0.2.21, 192.0.2.22 } tcp dport { 8081, 2377 } accept"


def test_servers_in_each_mode():
    outbound = [
        {"network": "198.51.100.0/24", "port": 0},
        {"network": "198.51.100.9/32", "port": 443},
    ]
    always = "ip daddr 192.0.2.11 tcp dport 8081 accept"
    names = "ip daddr { 203.0.113.53 } meta l4proto { tcp, udp } th dport 53 accept"
    open_, none = lines("from_servers"), lines("from_servers", egress="none")
    listed = lines("from_servers", egress="allow-list", outbound=outbound)
    assert all(always in rules for rules in (open_, none, listed))
    assert (names in open_, names in listed, names in none) == (True, True, False)
    assert listed[-3:] == [
        "ip daddr 198.51.100.0/24 accept",
        "ip daddr 198.51.100.9/32 tcp dport 443 accept",
        "goto refused",
    ]
    assert (open_[-1], none[-1]) == (listed[-4], "goto refused")


def test_an_allowed_network_opens_nothing_of_the_class():
    """It comes after what is never reached."""
    rules = lines(
        "from_servers", egress="allow-list", outbound=[{"network": "0.0.0.0/0", "port": 0}]
    )
    last = rules.index("ip daddr 0.0.0.0/0 accept")
    assert last > rules.index("ip daddr 192.0.2.2 goto refused")
    assert last > max(number for number, rule in enumerate(rules) if "169.254.0.0/16" in rule)


def test_table_is_replaced_whole_and_no_other_is_touched():
    text = rendered(CONTEXT)
    assert [line for line in text.splitlines() if "table" in line and "#" not in line] == [
        "table inet classhub",
        "delete table inet classhub",
        "table inet classhub {",
    ]
    assert "flush" not in text
