"""Where servers run, what their tokens are, and how much of each node's memory is reserved: from Swarm's manager."""

from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from classhub import tasks
from classhub.course.report import Refused
from classhub.culling.asking import Place
from classhub.culling.policy import Room

KEYS = (
    "USER",
    "SERVER_NAME",
    "SERVICE_PREFIX",
    "API_TOKEN",
)  # what the hub tells a server by its environment


class Engine:
    """The engine of the Swarm's manager."""

    def __init__(self, client: APIClient | None = None) -> None:
        self.client = client or APIClient(base_url="unix:///var/run/docker.sock", timeout=60)

    def survey(self) -> tuple[dict[str, Place], dict[str, Room]]:
        """Places by server, as `ada` or `ada/name`, and rooms by node id, of the nodes that take servers.

        Raises:
            Refused: the engine does not answer.
        """
        try:
            services = self.client.services(filters={"label": "classhub.user"})
            running = self.client.tasks(filters={"desired-state": "running"})
            nodes = {node["ID"]: node for node in self.client.nodes()}
        except (DockerException, RequestException) as error:
            raise Refused(
                f"the hub's engine does not answer: {error}; nothing was stopped"
            ) from None
        running = [task for task in running if tasks.is_alive(task) and task.get("NodeID") in nodes]
        by_service = {task["ServiceID"]: task for task in running}
        places = {}
        for service in services:
            task = by_service.get(service["ID"])
            if task:
                places |= place_of(service, task, nodes[task["NodeID"]])
        taking = [ident for ident, node in nodes.items() if takes_servers(node)]
        return places, {ident: room_of(ident, nodes[ident], running) for ident in taking}


def place_of(service: dict, task: dict, node: dict) -> dict[str, Place]:
    """A server's place by its key; nothing while its port is not known."""
    given = service["Spec"]["TaskTemplate"]["ContainerSpec"].get("Env") or []
    environment = dict(pair.partition("=")[::2] for pair in given)
    user, name, prefix, token = (environment.get(f"JUPYTERHUB_{key}", "") for key in KEYS)
    port = tasks.host_port(task)
    if not (port and user and prefix and token):
        return {}
    url = f"http://{tasks.address_of(node)}:{port}{prefix}"
    place = Place(url, token, node["ID"], reserved_by(task))
    return {f"{user}/{name}" if name else user: place}


def takes_servers(node: dict) -> bool:
    """Whether servers are placed there: see config.py, set_spawner."""
    labels = node["Description"].get("Engine", {}).get("Labels") or {}
    return labels.get("classhub.node") == "true"


def room_of(ident: str, node: dict, running: list[dict]) -> Room:
    reserved = sum(reserved_by(task) for task in running if task["NodeID"] == ident)
    total = node["Description"].get("Resources", {}).get("MemoryBytes", 0)
    return Room(node["Description"]["Hostname"], total, reserved)


def reserved_by(task: dict) -> int:
    """Bytes of memory that a task reserves on its node."""
    resources = task["Spec"].get("Resources") or {}
    return (resources.get("Reservations") or {}).get("MemoryBytes", 0)
