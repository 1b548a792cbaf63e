"""A Swarm in memory and a spawner that talks to it: the hub's package without an engine."""

import copy
import itertools
import pwd
import sys
from types import SimpleNamespace

import pytest

from tests.support.loading import ROOT

pytest.importorskip("dockerspawner", reason="needs the packages of the hub's virtual environment")
sys.path.insert(0, str(ROOT / "salt" / "hub" / "package"))

from docker.errors import APIError  # noqa: E402
from requests import Response  # noqa: E402

from classhub.spawner import ClassSpawner  # noqa: E402

PORT = 8888
ACCOUNT = pwd.struct_passwd(("alice", "x", 20001, 20001, "", "/home/alice", "/bin/bash"))


def refusal(status: int, text: str) -> APIError:
    response = Response()
    response.status_code = status
    return APIError(text, response=response, explanation=text)


class FakeSwarm:
    """Answers the calls of docker-py that the spawner makes.

    Attributes:
        services: id -> {name, version, replicas, spec}
        tasks: service id -> task; what a test changes to tell a story
        calls: names of the calls made
        failures: method -> exceptions, raised once each
        on_create: called with a new task
        stubborn: containers do not stop
    """

    def __init__(self) -> None:
        self.services, self.tasks, self.calls, self.failures = {}, {}, [], {}
        self.nodes = {"n1": {"Status": {"State": "ready", "Addr": "10.0.0.7"}}}
        self.on_create = lambda task: None
        self.stubborn = False
        self.logs = b"last words\n"
        self._ids = itertools.count(1)

    def __call__(self, method: str, *args, **kwargs):
        self.calls.append(method)
        if self.failures.get(method):
            raise self.failures[method].pop(0)
        return getattr(self, f"do_{method}")(*args, **kwargs)

    def find(self, service: str) -> str:
        for found, data in self.services.items():
            if service in (found, data["name"]):
                return found
        raise refusal(404, f"service {service} not found")

    def add(self, name: str, state: str = "running", desired: str = "running") -> str:
        """A service that is there already."""
        service = self.do_create_service(task_template={}, name=name)["ID"]
        self.tasks[service]["Status"]["State"] = state
        self.tasks[service]["DesiredState"] = desired
        return service

    def do_create_service(self, **spec) -> dict:
        if any(data["name"] == spec["name"] for data in self.services.values()):
            raise refusal(409, "name conflicts with an existing object")
        service = f"s{next(self._ids)}"
        self.services[service] = {"name": spec["name"], "version": 1, "replicas": 1, "spec": spec}
        ports = [{"TargetPort": PORT, "PublishedPort": 32768, "PublishMode": "host"}]
        self.tasks[service] = {
            "CreatedAt": "2030-01-01T00:00:00Z",
            "NodeID": "n1",
            "DesiredState": "running",
            "Status": {
                "State": "running",
                "PortStatus": {"Ports": ports},
                "ContainerStatus": {"ContainerID": "c1"},
            },
        }
        self.on_create(self.tasks[service])
        return {"ID": service}

    def do_inspect_service(self, service: str) -> dict:
        found = self.find(service)
        data = self.services[found]
        return {"ID": found, "Version": {"Index": data["version"]}, "Spec": {"Name": data["name"]}}

    def do_update_service(self, service: str, version: int, *, name, mode, fetch_current_spec):
        data = self.services[self.find(service)]
        if version != data["version"]:
            raise refusal(500, "rpc error: update out of sequence")
        data["version"] += 1
        data["replicas"] = mode["replicated"]["Replicas"]
        task = self.tasks[service]
        task["DesiredState"] = "shutdown"
        if not self.stubborn:
            task["Status"]["State"] = "complete"

    def do_tasks(self, filters: dict) -> list[dict]:
        return [copy.deepcopy(self.tasks[self.find(filters["service"])])]

    def do_remove_service(self, service: str) -> None:
        found = self.find(service)
        del self.services[found], self.tasks[found]

    def do_inspect_node(self, node: str) -> dict:
        if node not in self.nodes:
            raise refusal(404, f"node {node} not found")
        return self.nodes[node]

    def do_service_logs(self, service: str, **kwargs) -> bytes:
        self.find(service)
        return self.logs


def make_spawner(swarm: FakeSwarm, tmp_path, **traits) -> ClassSpawner:
    """A spawner for alice whose engine is `swarm`; its times are short."""
    image = tmp_path / "image.json"
    image.write_text('{"image": "sha256:abc"}', encoding="utf-8")
    settings = {
        "image_file": str(image),
        "course": "intro",
        "wait_interval": 0.01,
        "pending_timeout": 0.05,
        "stop_timeout": 0.05,
        "mem_limit": "1G",
        "mem_guarantee": "512M",
        "cmd": ["jupyterhub-singleuser"],
    }
    spawner = ClassSpawner(user=SimpleNamespace(name="alice"), **settings | traits)
    spawner.server = SimpleNamespace(base_url="/user/alice/")
    spawner._docker = swarm
    return spawner
