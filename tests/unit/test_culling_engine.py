"""Where servers run, as Swarm's manager tells it."""

import copy

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from docker.errors import APIError
from requests.exceptions import ConnectionError as NoConnection

from classhub.course.report import Refused
from classhub.culling.asking import Place
from classhub.culling.engine import Engine
from classhub.culling.policy import Room

GIB = 1 << 30


def service(ident, user, name="", **environment):
    told = {
        "JUPYTERHUB_USER": user,
        "JUPYTERHUB_SERVER_NAME": name,
        "JUPYTERHUB_SERVICE_PREFIX": f"/user/{user}/{name + '/' if name else ''}",
        "JUPYTERHUB_API_TOKEN": f"token-of-{user}",
        "JUPYTERHUB_COOKIE_OPTIONS": '{"a": "b=c"}',
    }
    pairs = [f"{key}={value}" for key, value in (told | environment).items()]
    return {"ID": ident, "Spec": {"TaskTemplate": {"ContainerSpec": {"Env": [*pairs, "EMPTY"]}}}}


def task(ident, node="n1", memory=GIB, port=32768, **status):
    ports = [{"TargetPort": 8888, "PublishedPort": port, "PublishMode": "host"}] if port else []
    return {
        "ServiceID": ident,
        "NodeID": node,
        "DesiredState": "running",
        "Spec": {"Resources": {"Reservations": {"MemoryBytes": memory}} if memory else None},
        "Status": {"State": "running", "PortStatus": {"Ports": ports}} | status,
    }


def node(ident, name, address, memory=4 * GIB, labels=(("classhub.node", "true"),)):
    resources, engine = {"MemoryBytes": memory}, {"Labels": dict(labels)}
    return {
        "ID": ident,
        "Description": {"Hostname": name, "Resources": resources, "Engine": engine},
        "Status": {"State": "ready", "Addr": address},
    }


class FakeClient:
    """Answers of docker-py's APIClient."""

    def __init__(self):
        self.found = {
            "services": [service("a", "ada"), service("b", "bob", "extra")],
            "tasks": [
                task("a"),
                task("b", "n2", port=32769),
                task("grading", "n2", memory=2 * GIB),
            ],
            "nodes": [
                node("n1", "node1", "10.0.0.1"),
                node("n2", "node2", "10.0.0.2"),
                node("h", "hub", "10.0.0.3", labels=()),
            ],
        }
        self.asked = {}

    def answer(self, what, filters=None):
        self.asked[what] = filters
        if isinstance(self.found[what], Exception):
            raise self.found[what]
        return copy.deepcopy(self.found[what])

    def services(self, filters):
        return self.answer("services", filters)

    def tasks(self, filters):
        return self.answer("tasks", filters)

    def nodes(self):
        return self.answer("nodes")


@pytest.fixture
def client():
    return FakeClient()


def test_places_and_rooms(client):
    places, rooms = Engine(client).survey()
    assert places == {
        "ada": Place("http://10.0.0.1:32768/user/ada/", "token-of-ada", "n1", GIB),
        "bob/extra": Place("http://10.0.0.2:32769/user/bob/extra/", "token-of-bob", "n2", GIB),
    }
    assert rooms == {"n1": Room("node1", 4 * GIB, GIB), "n2": Room("node2", 4 * GIB, 3 * GIB)}
    assert client.asked["services"] == {"label": "classhub.user"}
    assert client.asked["tasks"] == {"desired-state": "running"}


NOWHERE = [
    task("a", port=None),
    task("a", State="failed"),
    task("a", node="gone"),
    {"ServiceID": "a", "DesiredState": "running", "Spec": {}, "Status": {"State": "pending"}},
]


@pytest.mark.parametrize("found", NOWHERE)
def test_a_server_that_listens_nowhere_has_no_place(client, found):
    client.found["tasks"] = [found]
    assert Engine(client).survey()[0] == {}


@pytest.mark.parametrize("key", ["USER", "SERVICE_PREFIX", "API_TOKEN"])
def test_a_service_that_the_hub_did_not_make_has_no_place(client, key):
    client.found["services"] = [service("a", "ada", **{f"JUPYTERHUB_{key}": ""})]
    assert Engine(client).survey()[0] == {}


def test_a_manager_that_is_a_node_is_reached_from_outside(client):
    client.found["nodes"][0]["Status"]["Addr"] = "0.0.0.0"
    client.found["nodes"][0]["ManagerStatus"] = {"Addr": "10.0.0.9:2377"}
    assert Engine(client).survey()[0]["ada"].url == "http://10.0.0.9:32768/user/ada/"


def test_what_reserves_nothing(client):
    client.found["tasks"] = [task("a", memory=0)]
    places, rooms = Engine(client).survey()
    assert places["ada"].memory == 0
    assert rooms["n1"].reserved == 0


@pytest.mark.parametrize("error", [APIError("no"), NoConnection("no")])
def test_an_engine_that_does_not_answer_stops_nothing(client, error):
    client.found["tasks"] = error
    with pytest.raises(Refused, match="the hub's engine does not answer: no; nothing was stopped"):
        Engine(client).survey()
