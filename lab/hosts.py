"""The hosts of the lab: containers that run systemd, as bare as new Debian machines, with Salt connected."""

from __future__ import annotations

import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from lab import images, master
from lab.common import (
    CACHE,
    GATEWAY,
    LABEL,
    REPO,
    SUBNET,
    LabError,
    run,
    say,
    succeeds,
    wait_until,
)

NETWORK = "classhub-lab"
HOME_VOLUME = "classhub-lab-home"
BACKUP_VOLUME = "classhub-lab-backup"  # where a hub that is made anew finds the class's backup
# What systemd and a nested Docker need, where the machine's own limits rule out --privileged.
CAPABILITIES = [
    "AUDIT_CONTROL",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BROADCAST",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_NICE",
    "SYS_PTRACE",
    "SYS_TIME",
]


@dataclass(frozen=True)
class Host:
    """One host of the class, as pillar/example names it."""

    id: str
    address: str
    roles: list[str]

    @property
    def container(self) -> str:
        """The name of its container."""
        return f"classhub-lab-{self.id}"

    @property
    def engine_volume(self) -> str:
        """The volume of its own Docker's files: overlayfs cannot lie on overlayfs."""
        return f"{self.container}-engine"


def read(kind: str) -> list[Host]:
    """The hosts of the full class or of the class on one host."""
    path = REPO / "pillar/example" / master.EXAMPLES[kind] / "hosts.yaml"
    listed = yaml.safe_load(path.read_text())
    return [Host(id_, host["address"], host["roles"]) for id_, host in listed.items()]


def find(hosts: list[Host], names: list[str]) -> list[Host]:
    """The named hosts; an unknown name is an error."""
    by_id = {host.id: host for host in hosts}
    unknown = [name for name in names if name not in by_id]
    if unknown:
        raise LabError(f"no host {', '.join(unknown)}; there are {', '.join(by_id)}")
    return [by_id[name] for name in names]


def make_network() -> None:
    """The class's network. Its packets are as small as those of this machine's way out."""
    if succeeds(["docker", "network", "inspect", NETWORK]):
        return
    argv = ["docker", "network", "create", f"--label={LABEL}", f"--subnet={SUBNET}"]
    argv += [f"--gateway={GATEWAY}", f"--opt=com.docker.network.driver.mtu={outgoing_mtu()}"]
    run([*argv, "--opt=com.docker.network.bridge.name=br-classhub", NETWORK])


def outgoing_mtu() -> int:
    """The packet size of the default route's interface."""
    route = json.loads(run(["ip", "-json", "route", "show", "default"]) or "[]")
    if not route:
        return 1500
    return int(Path(f"/sys/class/net/{route[0]['dev']}/mtu").read_text())


def privileged_works(image: str) -> bool:
    """Whether this machine lets a container have all privileges; nested and confined ones do not."""
    argv = ["docker", "run", "--rm", "--privileged", "--network=none", f"--label={LABEL}"]
    return succeeds([*argv, image, "true"])


def privileges(privileged: bool) -> list[str]:
    """Options that let systemd and a Docker engine run in the container.

    On cgroup v2 a privileged container gets a cgroup tree of its own to write in. Everywhere else the machine's tree
    is mounted: on cgroup v1 there is no other, and an unprivileged container's own tree is read-only.
    """
    if privileged:
        options = ["--privileged"]
    else:
        options = [f"--cap-add={name}" for name in CAPABILITIES]
        for name in ("seccomp", "apparmor", "systempaths"):
            options.append(f"--security-opt={name}=unconfined")
    if privileged and Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [*options, "--cgroupns=private"]
    return [*options, "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]


def mounts(host: Host, shared_home: bool) -> list[str]:
    """What of this machine a host sees."""
    on_host = master.ON_HOST
    options = [f"--tmpfs={path}" for path in ("/run", "/run/lock", "/tmp:exec")]  # noqa: S108
    options.append(f"--volume={host.engine_volume}:/var/lib/docker")
    options.append(f"--volume={images.BASE_TAR}:{on_host / 'base.tar'}:ro")
    if "hub" in host.roles:
        options.append(f"--volume={BACKUP_VOLUME}:/srv/backup")
    if {"hub", "node"} & set(host.roles):
        store = CACHE / "images"
        store.mkdir(exist_ok=True)
        options.append(f"--volume={store}:{on_host / 'images'}")
        if shared_home:
            options.append(f"--volume={HOME_VOLUME}:/home")
    return options


def create(hosts: list[Host], kind: str) -> None:
    """Make the containers that are not there, and start those that are stopped."""
    states = container_states()
    missing = [host for host in hosts if host.container not in states]
    for host in hosts:
        if states.get(host.container, "running") != "running":
            run(["docker", "start", host.container])
    if not missing:
        return
    image = images.host_image()
    privileged = privileged_works(image)
    for name in (HOME_VOLUME, BACKUP_VOLUME):
        make_volume(name)
    for host in missing:
        make_volume(host.engine_volume)
        argv = ["docker", "run", "--detach", f"--name={host.container}", f"--hostname={host.id}"]
        argv += [f"--label={LABEL}", f"--network={NETWORK}", f"--ip={host.address}"]
        argv += [*privileges(privileged), *mounts(host, shared_home=kind == "full"), image]
        run(argv)


def make_volume(name: str) -> None:
    """A volume of the lab; none is made when it is there."""
    run(["docker", "volume", "create", f"--label={LABEL}", name])


def container_states() -> dict[str, str]:
    """The lab's containers and what Docker says of them."""
    argv = ["docker", "ps", "--all", f"--filter=label={LABEL}", "--format={{.Names}} {{.State}}"]
    return dict(line.split() for line in run(argv).splitlines())


def inside(host: Host, *argv: str, check: bool = True) -> str:
    """Run a command on a host."""
    return run(["docker", "exec", host.container, *argv], check)


def system_state(host: Host) -> str:
    """What systemd says of a host: starting, running, degraded, ..."""
    said = inside(host, "systemctl", "is-system-running", check=False).strip()
    return said or container_states().get(host.container, "absent")


def connect(hosts: list[Host]) -> None:
    """Bootstrap each host as an operator would, accept its key, and wait until all minions answer."""
    with ThreadPoolExecutor() as pool:
        fingerprints = list(pool.map(bootstrap, hosts))
    ids = [host.id for host in hosts]
    master.accept(dict(zip(ids, fingerprints, strict=True)))
    wait_until("all minions answer", lambda: master.answering(ids) == set(ids), 300)


def bootstrap(host: Host) -> str:
    """Run bootstrap.sh on a host; return the key fingerprint it prints."""
    wait_until(
        f"systemd runs on {host.id}", lambda: system_state(host) in ("running", "degraded"), 240
    )
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="bootstrap-") as work:
        bundle = images.site_ca_bundle()
        images.copy_bootstrap(Path(work), bundle)
        run(["docker", "cp", f"{work}/.", f"{host.container}:/usr/local/src/classhub"])
    argv = ["/usr/local/src/classhub/bootstrap.sh", "minion", "--master", GATEWAY, "--id", host.id]
    argv += ["--master-finger", master.fingerprint()]
    if bundle:
        argv += ["--ca-bundle", "/usr/local/src/classhub/ca-bundle.pem"]
    said = inside(host, *argv)
    fingerprint = re.search(r"^ +((?:[0-9a-f]{2}:){31}[0-9a-f]{2})$", said, re.MULTILINE)
    if fingerprint is None:
        raise LabError(f"bootstrap.sh on {host.id} printed no fingerprint:\n{said}")
    return fingerprint[1]


def remove(hosts: list[Host]) -> None:
    """Remove hosts for good: containers, their Docker's files, and their keys on the master."""
    for host in hosts:
        say(f"removing {host.id}")
        run(["docker", "rm", "--force", "--volumes", host.container], check=False)
        run(["docker", "volume", "rm", "--force", host.engine_volume])
        master.delete_key(host.id)


def remove_all() -> None:
    """Remove every container, volume and network of the lab."""
    kinds = {
        "container": (["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        "volume": (["volume", "ls", "--quiet"], ["volume", "rm", "--force"]),
        "network": (["network", "ls", "--quiet"], ["network", "rm"]),
    }
    for kind, (listing, removing) in kinds.items():
        names = run(["docker", *listing, f"--filter=label={LABEL}"]).split()
        if names:
            say(f"removing {len(names)} {kind}{'s' if len(names) > 1 else ''}")
            run(["docker", *removing, *names])


def status(hosts: list[Host]) -> list[list[str]]:
    """A row for each host: id, roles, address, state, whether its minion answers, failed units."""
    answering = master.answering([host.id for host in hosts]) if master.running() else set()
    rows = [["host", "roles", "address", "state", "minion", "failed units"]]
    for host in hosts:
        failed = inside(host, "systemctl", "--failed", "--plain", "--no-legend", check=False)
        units = [line.split()[0] for line in failed.splitlines() if line.strip()]
        minion = "answers" if host.id in answering else "silent"
        roles = ", ".join(host.roles)
        rows.append([host.id, roles, host.address, system_state(host), minion, " ".join(units)])
    return rows
