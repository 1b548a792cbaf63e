"""What Swarm says about a task, and what a student is told about it."""

from jupyterhub.spawner import SpawnException

# States of a task that are final:
# https://docs.docker.com/engine/swarm/how-swarm-mode-works/swarm-task-states/
DEAD = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}

FULL = (
    "The class is full just now: every seat on the nodes is taken. "
    "Try again in a few minutes, or tell the course staff."
)
NO_NODE = "No node of the class can take your server just now. Tell the course staff."
NO_ACCOUNT = "There is no account for {name} on the hub. Tell the course staff."
SYSTEM_ACCOUNT = "{name} is a system account and cannot start a server."
OTHER_ACCOUNT = (
    "{name} is not the account any more that you signed in to. Sign out and in again; if that does not help, tell the "
    "course staff."
)
NO_IMAGE_YET = (
    "The course image is not ready yet. Try again in a few minutes, or tell the course staff."
)
NO_IMAGE = "The course image is missing on the node. Tell the course staff."
NO_HOME = "Your home directory cannot be reached from the node. Tell the course staff."
NO_PORT = "The node did not say where your server listens. Try again, or tell the course staff."
NO_ENGINE = (
    "The hub cannot start servers just now. Try again in a minute, or tell the course staff."
)
STILL_STOPPING = (
    "Your previous server has not stopped yet. Try again in a minute, or tell the course staff."
)
NODE_LOST = "The node that ran your server went away. Start it again."
EXITED = "Your server stopped while it was starting{code}. Try again, or tell the course staff."


class ServerError(SpawnException):
    """A start that failed, in words a student can act on; the detail goes to the log only.

    The page that starts a server shows `message`; the page that waits for it and the progress
    stream read `jupyterhub_message`. JupyterHub does not count these towards its limit of failures
    in a row.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        detail: str = "",
        node: str = "",
        status_code: int = 503,
    ) -> None:
        log_message = f"{message} ({detail})" if detail else message
        super().__init__(message, reason=reason, log_message=log_message, status_code=status_code)
        self.jupyterhub_message = message
        self.node = node  # id of the node that refused, where one did


def is_alive(task: dict) -> bool:
    """Whether Swarm still has this task and wants it.

    On a dead node the state reads `running` for ever: only the desired state tells.
    """
    return task["Status"]["State"] not in DEAD and task["DesiredState"] not in DEAD


def describe(task: dict) -> str:
    """State, wish, error and exit code of a task, for the log."""
    status = task["Status"]
    words = [status["State"], f"(wanted: {task['DesiredState']})"]
    words.append(status.get("Err") or status.get("Message") or "")
    code = exit_code(task)
    return " ".join(filter(None, words)) + (f", exit code {code}" if code is not None else "")


def exit_code(task: dict) -> int | None:
    return (task["Status"].get("ContainerStatus") or {}).get("ExitCode")


def host_port(task: dict) -> int | None:
    """The node's port where a server is reached; Swarm may tell it a moment after the state."""
    for port in (task["Status"].get("PortStatus") or {}).get("Ports") or []:
        if port["PublishMode"] == "host":
            return port["PublishedPort"]
    return None


def address_of(node: dict) -> str:
    """A node's address on the class's network. A manager does not see its own from outside."""
    address = node["Status"].get("Addr")
    unknown = (None, "", "0.0.0.0", "127.0.0.1")  # noqa: S104 - nothing is bound
    if address in unknown and "ManagerStatus" in node:
        return node["ManagerStatus"]["Addr"].rsplit(":", 1)[0]
    return address


def had_container(task: dict) -> bool:
    return bool((task["Status"].get("ContainerStatus") or {}).get("ContainerID"))


def start_error(task: dict) -> ServerError:
    """Why this task did not become a server."""
    error, detail = task["Status"].get("Err") or "", describe(task)
    known = (
        ("insufficient resources", FULL, "no-capacity"),
        ("no suitable node", NO_NODE, "no-node"),
        ("bind source path does not exist", NO_HOME, "no-home"),
        ("No such image", NO_IMAGE, "no-image"),
    )
    for sign, message, reason in known:
        if sign in error:
            return ServerError(message, reason=reason, detail=detail, node=task.get("NodeID", ""))
    if task["DesiredState"] in DEAD and task["Status"]["State"] not in DEAD:
        return ServerError(NODE_LOST, reason="node-lost", detail=detail)
    code = exit_code(task)
    message = EXITED.format(code=f" (exit code {code})" if code else "")
    return ServerError(message, reason="exited", detail=detail)


def quoted(output: bytes) -> str:
    """A server's output for the journal.

    Marked line by line, as a student can print what looks like a line of the hub's own.
    """
    lines = output.decode(errors="replace").splitlines()
    return "\n".join("  | " + "".join(c for c in line[:300] if c.isprintable()) for line in lines)
