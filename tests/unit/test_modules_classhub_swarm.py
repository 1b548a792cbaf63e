"""classhub_swarm functions: what docker is asked, and how its answers are read."""

import hashlib
import json

import pytest
from docker.errors import DockerException
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.loading import load

TOKEN = "SWMTKN-1-fake-token"
ADDRESSES = {"hub": "192.0.2.11", "node1": "192.0.2.21", "node2": "192.0.2.22"}


def entry(ident, host, state="ready", availability="active", node=True):
    """A member, as `docker node inspect` tells it."""
    return {
        "ID": ident,
        "Description": {
            "Hostname": host,
            "Resources": {"MemoryBytes": 8 << 30},
            "Engine": {"Labels": {"classhub.node": "true"} if node else None},
        },
        "Status": {"State": state, "Addr": ADDRESSES.get(host, "")},
        "Spec": {"Availability": availability},
    }


@pytest.fixture
def asked():
    return []


@pytest.fixture
def members():
    return [entry("m1", "hub", node=False), entry("m2", "node1")]


@pytest.fixture
def services():
    return ["s1", "s2"]


@pytest.fixture
def info():
    return {
        "LocalNodeState": "active",
        "ControlAvailable": True,
        "NodeAddr": "192.0.2.11",
        "RemoteManagers": [{"Addr": "192.0.2.12:2377"}, {"Addr": "192.0.2.11:2377"}],
    }


@pytest.fixture
def certificate(tmp_path):
    """The swarm's certificate authority on this host."""
    path = tmp_path / "swarm-root-ca.crt"
    path.write_bytes(b"the authority")
    return path


class Engine:
    """A stand-in for docker's SDK, at the engine's socket."""

    def __init__(self, asked):
        self.asked, self.fault, self.absent, self.closed = asked, None, None, 0
        self.swarm = self.api = self

    def from_env(self):
        if self.absent:
            raise self.absent
        return self

    def join(self, remote_addrs, join_token, **kwargs):
        if self.fault:
            raise self.fault
        self.asked.append(("by the socket", remote_addrs, join_token, kwargs))
        return True

    def services(self, filters):
        assert filters == {"label": "classhub.user"}
        return [
            {
                "CreatedAt": "2030-01-01T00:00:00.123456789Z",
                "Spec": {
                    "Labels": {"classhub.user": user},
                    "Mode": {"Replicated": {"Replicas": replicas}},
                },
            }
            for user, replicas in (("ada", 1), ("bob", 0))
        ]

    def close(self):
        self.closed += 1


@pytest.fixture
def engine(asked):
    return Engine(asked)


@pytest.fixture
def module(asked, members, info, services, engine, certificate, monkeypatch):
    module = load("modules", "classhub_swarm")
    monkeypatch.setattr(module, "docker", engine)
    monkeypatch.setattr(module, "_AUTHORITY", certificate)

    def docker(*args):
        asked.append(args)
        answers = {
            "info": json.dumps(info),
            "node ls": "\n".join(member["ID"] for member in members),
            "node inspect": json.dumps(members),
            "swarm join-token": f"{TOKEN}\n",
            "service ls": "".join(f"{ident}\n" for ident in services),
            "service inspect": '"bob"\n"ada"\n',
        }
        return answers.get(args[0]) or answers.get(" ".join(args[:2]), "")

    hosts = {minion: {"address": address} for minion, address in ADDRESSES.items()}
    monkeypatch.setattr(module, "__salt__", {"classhub_engine.docker": docker}, raising=False)
    monkeypatch.setattr(module, "__pillar__", {"classhub": {"hosts": hosts}}, raising=False)
    return module


def test_status_of_a_manager(module):
    assert module.status() == {
        "state": "active",
        "manager": True,
        "address": "192.0.2.11",
        "managers": ["192.0.2.11:2377", "192.0.2.12:2377"],
    }


def test_status_outside_a_swarm(module, info):
    info |= {"LocalNodeState": "inactive", "ControlAvailable": False, "NodeAddr": ""}
    info["RemoteManagers"] = None
    assert module.status() == {"state": "inactive", "manager": False, "address": "", "managers": []}


def test_who_has_a_server(module, asked):
    assert module.servers() == ["ada", "bob"]
    assert asked[-1][-2:] == ("s1", "s2")


def test_nobody_has_a_server(module, services, asked):
    services.clear()
    assert module.servers() == []
    assert len(asked) == 1


def test_init_leave_and_remove(module, asked):
    module.init("192.0.2.11", "10.213.0.0/16")
    module.leave()
    module.remove("m2")
    assert asked == [
        (
            *("swarm", "init", "--advertise-addr", "192.0.2.11"),
            *("--default-addr-pool", "10.213.0.0/16"),
        ),
        ("swarm", "leave"),
        ("node", "rm", "m2"),
    ]


def test_join_keeps_the_token_out_of_every_command(module, asked, engine):
    """The arguments of a command are for all users of the host to read."""
    module.join("192.0.2.21", "192.0.2.11:2377", TOKEN)
    options = {"advertise_addr": "192.0.2.21"}
    assert asked == [("by the socket", ["192.0.2.11:2377"], TOKEN, options)]
    assert engine.closed == 1


@pytest.mark.parametrize(("where", "closed"), [("absent", 0), ("fault", 1)])
def test_join_that_the_engine_refuses(module, engine, where, closed):
    setattr(engine, where, DockerException("Timeout was reached before node joined"))
    sentence = "^docker swarm join: Timeout was reached before node joined$"
    with pytest.raises(CommandExecutionError, match=sentence) as caught:
        module.join("192.0.2.21", "192.0.2.11:2377", TOKEN)
    assert TOKEN not in str(caught.value)
    assert engine.closed == closed


def test_a_server_that_is_to_stop_is_not_one_that_runs(module, engine):
    assert module.begun() == {"ada": pytest.approx(1893456000.12, abs=0.01)}
    assert engine.closed == 1
    engine.absent = DockerException("Connection refused")
    with pytest.raises(CommandExecutionError, match="docker service ls: Connection refused"):
        module.begun()


def test_join_token_is_for_workers_and_names_the_swarm(module, asked):
    assert module.join_token() == {
        "address": "192.0.2.11:2377",
        "token": TOKEN,
        "authority": hashlib.sha256(b"the authority").hexdigest(),
    }
    assert asked[0] == ("swarm", "join-token", "--quiet", "worker")


def test_authority_tells_two_swarms_apart(module, certificate):
    before = module.authority()
    assert module.authority() == before
    certificate.write_bytes(b"another authority")
    assert module.authority() != before


def test_host_in_no_swarm_has_no_authority(module, certificate):
    certificate.unlink()
    for function in (module.authority, module.join_token):
        with pytest.raises(CommandExecutionError, match="^this host is in no swarm: "):
            function()


def test_nodes(module, members):
    del members[1]["Status"]["Addr"]
    hub, node = module.nodes()
    assert hub == {
        "id": "m1",
        "host": "hub",
        "address": "192.0.2.11",
        "state": "ready",
        "availability": "active",
        "node": False,
        "memory": 8 << 30,
    }
    assert (node["host"], node["node"], node["address"]) == ("node1", True, "")


def test_host_is_known_by_its_address_whatever_it_calls_itself(module, members):
    members[1]["Description"]["Hostname"] = "ip-192-0-2-21"
    assert [member["host"] for member in module.nodes()] == ["hub", "node1"]


def test_member_that_never_reported(module, members):
    members[:] = [{**entry("m3", "node3", "unknown"), "Description": {"Hostname": "node3"}}]
    (member,) = module.nodes()
    assert (member["node"], member["memory"], member["state"]) == (False, 0, "unknown")


def test_forgotten_are_the_dead_whose_host_lives(module, members):
    members += [entry("m0", "node1", "down"), entry("m3", "node2", "down")]
    assert [member["id"] for member in module.forgotten()] == ["m0"]


# Each: (host, value, test, sentence, whether docker is told)
AVAILABILITY = [
    ("node1", "pause", False, "node1 is pause", True),
    ("node1", "drain", False, "node1 is drain", True),
    ("node1", "pause", True, "node1 would be pause", False),
    ("node1", "active", False, "node1 is active already", False),
    ("node1", "active", True, "node1 is active already", False),
]


@pytest.mark.parametrize(("host", "value", "test", "sentence", "told"), AVAILABILITY)
def test_availability(module, asked, members, host, value, test, sentence, told):
    members.insert(0, entry("m0", "node1", "down", "drain"))
    assert module.availability(host, value, test) == sentence
    update = ("node", "update", "--availability", value, "m2")
    assert [args for args in asked if args[1] == "update"] == ([update] if told else [])


def test_unknown_availability_does_not_reach_docker(module, asked):
    with pytest.raises(SaltInvocationError, match="'off' is not one of active, pause, drain"):
        module.availability("node1", "off")
    assert asked == []


@pytest.mark.parametrize("host", ["node9", "hub", "node2"])
def test_availability_of_what_is_no_living_node(module, asked, members, host):
    members.append(entry("m3", "node2", "down"))
    sentence = rf"called '{host}'; the nodes are node1 \(ready\), node2 \(down\)"
    with pytest.raises(CommandExecutionError, match=sentence):
        module.availability(host, "pause")
    assert not [args for args in asked if args[1] == "update"]


def test_swarm_without_nodes(module, members):
    del members[1]
    with pytest.raises(CommandExecutionError, match="the nodes are none"):
        module.availability("node1", "pause")
