"""Students' servers: one Swarm service each, run as the student on whichever node has room.

The hub is not part of an overlay network. A server's port is published in host mode on the node
where its task lands; the address comes from the node, the port from the task. Services are never
restarted by Swarm: a server that dies is reported, written to the journal and removed, and the
student starts a new one.

Upstream's SwarmSpawner lends the Docker client and the state kept in the hub's database. It cannot
find host-mode ports, takes a task on a dead node for a running one, and waits the whole start
timeout for a node with room.
"""

import asyncio
import json
import pwd
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import ClassVar

from docker.errors import APIError, DockerException
from docker.types import (
    ContainerSpec,
    EndpointSpec,
    Mount,
    Placement,
    Resources,
    RestartPolicy,
    ServiceMode,
    TaskTemplate,
)
from dockerspawner import SwarmSpawner
from jupyterhub.traitlets import ByteSpecification
from requests.exceptions import RequestException
from traitlets import Float, Integer, List, Unicode, default

from classhub import tasks
from classhub.disk.words import notice
from classhub.tasks import ServerError

ENGINE_ERRORS = (DockerException, RequestException)
OUTDATED = "out of sequence"  # the engine, of a service that was changed since it was looked at
THREADS = 8
PAUSES = (5, 10, 20, 40, 60)  # seconds between tries to stop a server late; the last one repeats
EXCHANGE = "/srv/nbgrader/exchange"  # in servers: the image's nbgrader_config.py


def is_hiccup(error: Exception) -> bool:
    """Whether the engine could not be asked, as opposed to having answered no."""
    if not isinstance(error, APIError):
        return True
    return error.is_server_error() and OUTDATED not in str(error)


def is_missing(error: Exception) -> bool:
    """Whether the engine says that there is no such thing."""
    return isinstance(error, APIError) and error.response.status_code == 404


class ClassSpawner(SwarmSpawner):
    """Starts, watches and stops the server of one student."""

    image_file = Unicode(
        "/etc/jupyterhub/image.json",
        config=True,
        help='JSON file with the key "image": what servers run. Read at each start.',
    )
    home_format = Unicode(
        "/home/{username}", config=True, help="Home directory, the same path on every node."
    )
    nss_dir = Unicode(
        "/home/.nss",
        config=True,
        help="Directory of <username>/passwd and group, mounted on /var/lib/extrausers.",
    )
    exchange = Unicode(
        "/home/.classhub/exchange",
        config=True,
        help="nbgrader's exchange, a part for each student (classhub/course/exchange.py).",
    )
    disk_file = Unicode(
        "/run/classhub/disk.json",
        config=True,
        help="JSON file that says how full the disk with the homes is. Read at each start.",
    )
    course = Unicode("", config=True, help="Course id, as in the exchange and in labels.")
    timezone = Unicode("Etc/UTC", config=True, help="The course's time zone, in servers.")
    constraints = List(Unicode(), config=True, help="Swarm placement constraints.")
    pids_limit = Integer(512, config=True, help="Processes and threads in one server.")
    tmp_size = ByteSpecification(
        "128M", config=True, help="Size of the tmpfs on /tmp; what is in it counts as memory."
    )
    pending_timeout = Float(
        15, config=True, help="Seconds to wait for a node with room before a start is refused."
    )
    stop_timeout = Float(
        20, config=True, help="Seconds to wait for the container of a stopped server to be gone."
    )
    wait_interval = Float(0.1, config=True, help="Seconds between two looks at a task.")

    _uid_at_sign_in: int | None = None
    _removals: ClassVar[set[asyncio.Task]] = set()  # asyncio itself keeps no task alive

    # -- names, the account and the engine

    @default("object_name")
    def _object_name_default(self) -> str:
        return "jupyter-" + "--".join(filter(None, (self.user.name, self.name)))

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads that talk to the engine, for all servers. In upstream's only one, a slow call
        would hold up the class."""
        if ClassSpawner._executor is None:
            ClassSpawner._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        return ClassSpawner._executor

    async def docker(self, method: str, *args, **kwargs):
        """Call the engine; a call that can be repeated survives a hiccup of it."""
        for pause in (0.5, 2):
            try:
                return await super().docker(method, *args, **kwargs)
            except ENGINE_ERRORS as error:
                if method == "create_service" or not is_hiccup(error):
                    raise
                self.log.warning("%s: %s: %s; trying again", self._log_name, method, error)
            await asyncio.sleep(pause)
        return await super().docker(method, *args, **kwargs)

    def account(self) -> pwd.struct_passwd:
        name = self.user.name
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            message = tasks.NO_ACCOUNT.format(name=name)
            raise ServerError(message, reason="no-account", status_code=403) from None
        if account.pw_uid < 1000 or account.pw_gid < 1000:
            message = tasks.SYSTEM_ACCOUNT.format(name=name)
            raise ServerError(message, reason="system-account", status_code=403)
        if self._uid_at_sign_in not in (None, account.pw_uid):
            message = tasks.OTHER_ACCOUNT.format(name=name)
            detail = f"uid {self._uid_at_sign_in} signed in, the account has {account.pw_uid}"
            raise ServerError(message, reason="other-account", status_code=403, detail=detail)
        return account

    async def run_auth_state_hook(self, auth_state: dict | None) -> None:
        """Remember the uid of the sign-in; None of somebody who never did, for whom the operator starts a server.

        A server runs as the uid that the account has now: that is what the files on the disk go by. If it is not that of
        the sign-in, the name has changed hands, and neither may have the other's server."""
        self._uid_at_sign_in = (auth_state or {}).get("uid")
        await super().run_auth_state_hook(auth_state)

    def current_image(self) -> str:
        try:
            with open(self.image_file, encoding="utf-8") as file:
                return json.load(file)["image"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            detail = f"{self.image_file}: {error!r}"
            raise ServerError(tasks.NO_IMAGE_YET, reason="no-image", detail=detail) from None

    def disk_notice(self) -> str:
        """What the student should know of the room in the home. Nothing of the disk stops a start: files are deleted
        in a server. The hub sees no homes, and does not wait for a filesystem; it reads what is written down."""
        try:
            with open(self.disk_file, encoding="utf-8") as file:
                return notice(json.load(file), self.user.name, time.time())
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, LookupError, TypeError) as error:
            self.log.warning("%s: %s: %r", self._log_name, self.disk_file, error)
            return ""

    def get_env(self) -> dict:
        return super().get_env() | self.own_environment()

    def own_environment(self) -> dict[str, str]:
        """What a server is told besides what JupyterHub tells it."""
        name = self.user.name
        own = {
            "HOME": self.home_format.format(username=name),
            "XDG_CACHE_HOME": "/tmp/cache",
            "CLASSHUB_COURSE": self.course,
            "TZ": self.timezone,
        }
        return own | dict.fromkeys(("USER", "LOGNAME", "NB_USER"), name)

    # -- start

    async def start(self) -> tuple[str, int]:
        """Create the service, wait until the server answers, and return its address and port."""
        self._notes: list[str] = []
        account = self.account()
        if notice := self.disk_notice():
            self._note(notice)
        self.image = self.current_image()
        self._without_image: list[str] = []
        missing = None
        try:
            while True:
                try:
                    return await self.start_on_a_node(account)
                except ServerError as error:
                    if missing and error.reason == "no-node":  # none is left to try
                        raise missing from error
                    # a node that was away while the image changed: the others have it
                    if error.reason != "no-image" or error.node in self._without_image:
                        raise
                    missing = error
                    self._without_image.append(error.node)
        except ENGINE_ERRORS as error:
            raise ServerError(tasks.NO_ENGINE, reason="engine", detail=str(error)) from error

    async def start_on_a_node(self, account: pwd.struct_passwd) -> tuple[str, int]:
        if not await self.remove_service(self.object_name):
            raise ServerError(tasks.STILL_STOPPING, reason="still-stopping")
        self._note("Looking for a node with room")
        await self.create_service(self.service_spec(account))
        task = await self.running_task()
        address, port = await self.published(task)
        self._note(f"Starting on {address}")
        await self.answer(address, port)
        return address, port

    @property
    def mounts(self) -> list[Mount]:
        """The home, the own line of passwd and group, a /tmp in memory, and the exchange."""
        name, home = self.user.name, self.home_format.format(username=self.user.name)
        return [
            Mount(home, home, type="bind"),
            Mount("/var/lib/extrausers", f"{self.nss_dir}/{name}", type="bind", read_only=True),
            Mount("/tmp", None, type="tmpfs", tmpfs_mode=0o1777, tmpfs_size=self.tmp_size),
            *self.exchange_mounts,
        ]

    @property
    def exchange_mounts(self) -> list[Mount]:
        """What is released, and the student's own part of the exchange.

        nbgrader fetches and submits only where it may write to the exchange's root
        (nbgrader/exchange/default/exchange.py: ensure_root), hence an empty one around them.
        """
        here, there = f"{self.exchange}/{self.course}", f"{EXCHANGE}/{self.course}"
        own = f"{here}/students/{self.user.name}"
        return [
            Mount(EXCHANGE, None, type="tmpfs", tmpfs_mode=0o1777, tmpfs_size=1 << 20),
            Mount(f"{there}/outbound", f"{here}/outbound", type="bind", read_only=True),
            Mount(f"{there}/inbound", f"{own}/inbound", type="bind"),
            Mount(f"{there}/feedback", f"{own}/feedback", type="bind", read_only=True),
        ]

    def service_spec(self, account: pwd.struct_passwd) -> dict:
        """Arguments of docker-py's create_service."""
        name, home = self.user.name, self.home_format.format(username=self.user.name)
        labels = {"classhub.user": name, "classhub.course": self.course}
        container = ContainerSpec(
            self.image,
            args=[*self.cmd, *self.get_args()],
            env=self.get_env(),
            user=f"{account.pw_uid}:{account.pw_gid}",
            workdir=home,
            hostname=self.object_name[:63],
            mounts=self.mounts,
            cap_drop=["ALL"],
            read_only=True,
            init=True,
            stop_grace_period=10 * 10**9,
            labels=labels,
        )
        resources = Resources(
            cpu_limit=int(self.cpu_limit * 1e9) if self.cpu_limit else None,
            mem_limit=self.mem_limit,
            mem_reservation=self.mem_guarantee or self.mem_limit,
        )
        resources["Limits"]["Pids"] = self.pids_limit  # docker-py has no argument for it
        task = TaskTemplate(
            container,
            resources=resources,
            restart_policy=RestartPolicy("none"),
            placement=Placement(
                [*self.constraints, *(f"node.id!={node}" for node in self._without_image)]
            ),
        )
        endpoint = EndpointSpec("dnsrr", {None: (self.port, "tcp", "host")})
        return {
            "task_template": task,
            "name": self.object_name,
            "labels": labels,
            "endpoint_spec": endpoint,
        }

    async def create_service(self, spec: dict) -> None:
        """Create the service; a start that is cancelled meanwhile leaves none behind."""
        creation = asyncio.ensure_future(self.docker("create_service", **spec))
        try:
            self.object_id = (await asyncio.shield(creation))["ID"]
        except asyncio.CancelledError:
            await asyncio.wait([creation])  # the engine cannot be stopped half-way
            if not creation.exception():
                await self.remove_service(creation.result()["ID"])
            raise

    async def running_task(self) -> dict:
        """Wait for a node to run the container."""
        began = time.monotonic()
        while True:
            task = await self.newest_task(self.object_id)
            if task and not tasks.is_alive(task):
                await self.fail(task)
            if task and task["Status"]["State"] == "running":
                return task
            refused = task and task["Status"]["State"] == "pending" and task["Status"].get("Err")
            if refused and time.monotonic() - began > self.pending_timeout:
                raise tasks.start_error(task)
            await asyncio.sleep(self.wait_interval)

    async def published(self, task: dict) -> tuple[str, int]:
        """Address of the node and port of a running task.

        The port may come a moment after the state.
        """
        for _ in range(25):
            if not (task and tasks.is_alive(task)):
                break
            port = tasks.host_port(task)
            if port:
                return await self.node_address(task["NodeID"]), port
            await asyncio.sleep(self.wait_interval)
            task = await self.newest_task(self.object_id)
        detail = tasks.describe(task) if task else "no task"
        raise ServerError(tasks.NO_PORT, reason="no-port", detail=detail)

    async def node_address(self, node_id: str) -> str:
        return tasks.address_of(await self.docker("inspect_node", node_id))

    async def answer(self, address: str, port: int) -> None:
        """Wait for the server's first answer.

        The hub's own wait backs off to 5 s and does not see the container die.
        """
        while not await self.answers(address, port):
            task = await self.newest_task(self.object_id)
            if not task:
                raise ServerError(tasks.EXITED.format(code=""), reason="removed")
            if not tasks.is_alive(task):
                await self.fail(task)
            await asyncio.sleep(self.wait_interval)

    async def answers(self, address: str, port: int) -> bool:
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 2)
            writer.write(f"GET {self.server.base_url}api HTTP/1.0\r\n\r\n".encode())
            return (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/")
        except (OSError, TimeoutError):
            return False
        finally:
            if writer:
                writer.close()

    async def fail(self, task: dict) -> None:
        await self.bury(task)
        raise tasks.start_error(task)

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self.log.info("%s: %s", self._log_name, text)

    async def progress(self):
        """Notes of the start for the waiting page; JupyterHub ends this when the start does."""
        told = 0
        while True:
            notes = getattr(self, "_notes", [])
            for text in notes[told:]:
                told += 1
                yield {"progress": min(30 * told, 90), "message": text}
            await asyncio.sleep(0.3)

    # -- watch

    async def newest_task(self, service: str) -> dict | None:
        try:
            found = await self.docker("tasks", filters={"service": service})
        except APIError as error:
            if is_missing(error):
                return None
            raise
        return max(found, key=lambda task: task["CreatedAt"], default=None)

    async def poll(self) -> int | str | None:
        """None while the server runs, else what became of it; a dead server's service is removed.

        An engine that cannot be asked says nothing about the server. A starting hub drops servers
        whose poll raises, so the answer is then "still there"; the next poll knows more.
        """
        try:
            if not self.object_id:
                if not self._start_pending:
                    # the hub's restart interrupted a start: nobody knows that server's address
                    await self.remove_service(self.object_name)
                return 0
            task = await self.newest_task(self.object_id)
            if task and tasks.is_alive(task):
                return None
            if task and not self._start_pending:
                await self.bury(task)
            return tasks.describe(task) if task else 0
        except ENGINE_ERRORS as error:
            self.log.error("%s: the engine does not answer: %s", self._log_name, error)
            return None

    async def bury(self, task: dict) -> None:
        """Keep the last words of a dead server in the hub's journal, then remove what is left."""
        text = await self.last_words() if tasks.had_container(task) else "  (it never ran)"
        self.log.warning("%s: %s; last output:\n%s", self._log_name, tasks.describe(task), text)
        await self.remove_service(self.object_id)

    async def last_words(self) -> str:
        logs = self.docker(
            "service_logs", self.object_id, stdout=True, stderr=True, tail=30, is_tty=False
        )
        try:
            output = await asyncio.wait_for(logs, 5)
        except (*ENGINE_ERRORS, TimeoutError) as error:  # its node may be gone
            return f"  (none: {error!r})"
        return tasks.quoted(output if isinstance(output, bytes) else b"".join(output))

    # -- stop

    async def stop(self, now: bool = False) -> None:
        """Stop the server and wait for its container to be gone.

        A quick restart must not put two servers on one home. The hub forgets a server whose stop fails; so what the
        engine cannot be told now it is told later.
        """
        try:
            await self.remove_service(self.object_id or self.object_name)
        except ENGINE_ERRORS as error:
            if not self.object_id:
                raise
            self.log.error("%s: not stopped yet: %s", self._log_name, error)
            removal = asyncio.create_task(self.remove_later(self.object_id))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
        self.clear_state()

    async def remove_later(self, service_id: str) -> None:
        """Remove a service when the engine is back; by its id, as the student may have the next one by then."""
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            await asyncio.sleep(pause)
            try:
                await self.remove_service(service_id)
            except ENGINE_ERRORS as error:
                self.log.error("%s: %s not stopped yet: %s", self._log_name, service_id, error)
            else:
                self.log.info("%s: %s was stopped late", self._log_name, service_id)
                return

    def clear_state(self) -> None:
        super().clear_state()
        self.object_id = ""

    async def remove_service(self, service: str) -> bool:
        """Scale to zero, wait for the container to go, remove; True when nothing is left.

        Swarm forgets the tasks of a removed service at once, so removing it first would hide a
        container that still runs. One that does not go in time keeps its scaled-down service, which
        the next start finds. All is done by id: a slow removal must not hit the next service of the
        same name.
        """
        try:
            service_id = await self.scale_to_zero(service)
            if await self.container_gone(service_id):
                await self.docker("remove_service", service_id)
                return True
        except APIError as error:
            if is_missing(error):
                return True
            raise
        self.log.error("%s: %s has not stopped in time", self._log_name, service)
        return False

    async def scale_to_zero(self, service: str) -> str:
        """Returns the id of the service."""
        while True:
            found = await self.docker("inspect_service", service)
            try:
                await self.docker(
                    "update_service",
                    found["ID"],
                    found["Version"]["Index"],
                    name=found["Spec"]["Name"],
                    mode=ServiceMode("replicated", 0),
                    fetch_current_spec=True,
                )
            except APIError as error:
                if OUTDATED not in str(error):
                    raise
                await asyncio.sleep(self.wait_interval)
            else:
                return found["ID"]

    async def container_gone(self, service_id: str) -> bool:
        """Whether no node runs a task of the service any more, as far as that can be known."""
        deadline = time.monotonic() + self.stop_timeout
        while True:
            found = await self.docker("tasks", filters={"service": service_id})
            on_nodes = [task for task in found if task.get("NodeID")]
            left = [task for task in on_nodes if task["Status"]["State"] not in tasks.DEAD]
            nodes = {task["NodeID"] for task in left}
            if all([await self.node_is_down(node) for node in nodes]):
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(self.wait_interval)

    async def node_is_down(self, node_id: str) -> bool:
        """A node that is down cannot be asked; it removes the container itself when it returns."""
        try:
            node = await self.docker("inspect_node", node_id)
        except APIError as error:
            if is_missing(error):
                return True
            raise
        return node["Status"]["State"] == "down"
