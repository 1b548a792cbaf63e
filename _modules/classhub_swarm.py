"""The class's Docker Swarm, seen from this host. Functions about other nodes work on the manager, the hub."""

import contextlib
import hashlib
import json
from datetime import datetime
from pathlib import Path

import docker
from docker.errors import DockerException
from salt.exceptions import CommandExecutionError, SaltInvocationError

__virtualname__ = "classhub_swarm"
_PORT = 2377
_AUTHORITY = Path("/var/lib/docker/swarm/certificates/swarm-root-ca.crt")
_AVAILABILITY = ("active", "pause", "drain")


def __virtual__():
    return __virtualname__


def _docker(*args: str) -> str:
    return __salt__["classhub_engine.docker"](*args)


def status() -> dict:
    """This host's part in the swarm.

    Returns:
        ``state`` (inactive, pending, active, error, locked), ``manager`` (bool), ``address`` of this host in the
        swarm, ``managers`` (list of ``address:port``).

    Raises:
        CommandExecutionError: the engine does not answer.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_swarm.status
    """
    swarm = json.loads(_docker("info", "--format", "{{json .Swarm}}"))
    return {
        "state": swarm["LocalNodeState"],
        "manager": swarm["ControlAvailable"],
        "address": swarm["NodeAddr"],
        "managers": sorted(manager["Addr"] for manager in swarm.get("RemoteManagers") or []),
    }


def init(address: str, address_pool: str) -> None:
    """Make this host the manager of a new swarm.

    Args:
        address: IPv4 address of this host on the class's network.
        address_pool: network from which Swarm takes ranges for its own networks.

    Raises:
        CommandExecutionError: the engine refused; it says why.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.init 192.0.2.11 10.213.0.0/16
    """
    _docker("swarm", "init", "--advertise-addr", address, "--default-addr-pool", address_pool)


def join(address: str, manager: str, token: str) -> None:
    """Join this host to the swarm of ``manager`` as a worker.

    Args:
        address: IPv4 address of this host on the class's network.
        manager: ``address:port`` of the manager.
        token: the manager's worker token. Not for the command line, where others see it: `join_token` travels
            over the mine to the state ``classhub_swarm.worker``.

    Raises:
        CommandExecutionError: the engine refused; it says why.

    CLI Example:

    .. code-block:: bash

        salt node1 state.apply node.swarm
    """
    # by the engine's socket: in the arguments of a command every user of the host could read the token
    try:
        with contextlib.closing(docker.from_env()) as engine:
            engine.swarm.join([manager], token, advertise_addr=address)
    except DockerException as error:
        raise CommandExecutionError(f"docker swarm join: {error}") from error


def leave() -> None:
    """Take this worker out of its swarm; its containers end.

    Raises:
        CommandExecutionError: the engine refused; it says why.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_swarm.leave
    """
    _docker("swarm", "leave")


def authority() -> str:
    """A digest of the swarm's certificate authority, by which a swarm is known from a later one at the same address.

    Raises:
        CommandExecutionError: this host is in no swarm.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_swarm.authority
    """
    try:
        return hashlib.sha256(_AUTHORITY.read_bytes()).hexdigest()
    except OSError as error:
        raise CommandExecutionError(f"this host is in no swarm: {error}") from error


def join_token() -> dict:
    """What a worker needs to join: for the mine, never for a screen.

    Returns:
        ``address`` (``address:port`` of this manager), ``token``, and the swarm's ``authority``.

    Raises:
        CommandExecutionError: this host is not the manager.

    CLI Example:

    .. code-block:: bash

        salt hub mine.send classhub_swarm_join mine_function=classhub_swarm.join_token
    """
    token = _docker("swarm", "join-token", "--quiet", "worker").strip()
    return {"address": f"{status()['address']}:{_PORT}", "token": token, "authority": authority()}


def servers() -> list[str]:
    """Names of the students who have a server, on whatever node. For the manager.

    Raises:
        CommandExecutionError: the engine does not answer, or does not manage the swarm.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.servers
    """
    services = _docker("service", "ls", "--quiet", "--filter", "label=classhub.user").split()
    if not services:
        return []
    label = '{{json (index .Spec.Labels "classhub.user")}}'
    lines = _docker("service", "inspect", "--format", label, *services).splitlines()
    return sorted(json.loads(line) for line in lines)


def begun() -> dict[str, float]:
    """Since when the students have the servers that Swarm is to run, on whatever node. For the manager.

    Returns:
        student -> seconds since 1970.

    Raises:
        CommandExecutionError: the engine does not answer, or does not manage the swarm.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.begun
    """
    try:
        with contextlib.closing(docker.from_env()) as engine:
            services = engine.api.services(filters={"label": "classhub.user"})
    except DockerException as error:
        raise CommandExecutionError(f"docker service ls: {error}") from error
    return {
        service["Spec"]["Labels"]["classhub.user"]: _seconds(service["CreatedAt"])
        for service in services
        if service["Spec"]["Mode"]["Replicated"]["Replicas"]
    }


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def stop(user: str) -> None:
    """Stop a student's server, on whatever node and whether or not the hub answers; it finds out by itself.

    Args:
        user: the student. Who has no server is fine.

    Raises:
        CommandExecutionError: the engine does not answer, or keeps it.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.stop ada
    """
    if status()["state"] == "inactive":
        return
    found = _docker("service", "ls", "--quiet", "--filter", f"label=classhub.user={user}").split()
    if found:
        _docker("service", "rm", *found)


def nodes() -> list[dict]:
    """The members of the swarm, as the manager sees them.

    Returns:
        one mapping a member: ``id``, ``host`` (minion id), ``address``, ``state`` (ready, down, unknown, disconnected),
        ``availability`` (active, pause, drain), ``node`` (whether students' servers may run there), ``memory`` in
        bytes.

    Raises:
        CommandExecutionError: this host is not the manager.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.nodes
    """
    ids = _docker("node", "ls", "--quiet").split()
    return [_member(entry) for entry in json.loads(_docker("node", "inspect", *ids))]


def _member(entry: dict) -> dict:
    description, address = entry["Description"], entry["Status"].get("Addr", "")
    hosts = __pillar__["classhub"]["hosts"]
    labels = description.get("Engine", {}).get("Labels") or {}
    return {
        "id": entry["ID"],
        "host": next(
            (k for k, v in hosts.items() if v["address"] == address), description["Hostname"]
        ),
        "address": address,
        "state": entry["Status"]["State"],
        "availability": entry["Spec"]["Availability"],
        "node": labels.get("classhub.node") == "true",
        "memory": description.get("Resources", {}).get("MemoryBytes", 0),
    }


def forgotten() -> list[dict]:
    """Members that are down and whose address a newer, living member has: hosts that were set up again.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.forgotten
    """
    members = nodes()
    living = {member["host"] for member in members if member["state"] == "ready"}
    return [member for member in members if member["state"] == "down" and member["host"] in living]


def remove(node_id: str) -> None:
    """Remove a member that is down.

    Args:
        node_id: the member's ``id``.

    Raises:
        CommandExecutionError: it is not down, or not known.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.remove 2p4cx8zqhx6vbyn1gkw3f0m7s
    """
    _docker("node", "rm", node_id)


def availability(host: str, value: str, test: bool = False) -> str:
    """Set whether a node takes new servers.

    Args:
        host: the node's minion id.
        value: ``active``, ``pause`` (no new servers; running ones go on) or ``drain`` (running ones stop, too).
        test: only say what would be done.

    Returns:
        one sentence.

    Raises:
        SaltInvocationError: unknown ``value``.
        CommandExecutionError: no living member has that name.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_swarm.availability node1 pause
    """
    if value not in _AVAILABILITY:
        raise SaltInvocationError(f"{value!r} is not one of {', '.join(_AVAILABILITY)}")
    members = [member for member in nodes() if member["node"]]
    found = [member for member in members if member["host"] == host and member["state"] == "ready"]
    if not found:
        raise CommandExecutionError(
            f"no living node is called {host!r}; the nodes are "
            + (", ".join(f"{member['host']} ({member['state']})" for member in members) or "none")
        )
    if found[0]["availability"] == value:
        return f"{host} is {value} already"
    if not test:
        _docker("node", "update", "--availability", value, found[0]["id"])
    return f"{host} {'would be' if test else 'is'} {value}"
