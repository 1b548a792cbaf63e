"""What is right and what is wrong on this host of a class, one sentence a check."""

import hashlib
import http.client
import json
import os
import pwd
import socket
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_doctor"
_PLACES = ("/", "/home", "/tmp", "/var/lib/docker", "/var/lib/classhub", "/var/lib/jupyterhub")  # noqa: S108 - looked at
_LITTLE, _NONE = 0.10, 0.02  # parts of a disk that are left: warned of, and too little to go on
_DAYS = 21  # of a certificate, from which it is warned of
_SECONDS = 10  # for what may hang
_TOKENS = {  # file or key of secrets.env -> service of the hub
    "CLASSHUB_ADMIN_TOKEN": "operator",
    "CLASSHUB_PROXY_SYNC_TOKEN": "proxy-sync",
    "CLASSHUB_CULLER_TOKEN": "culler",
    "CLASSHUB_FORMGRADER_TOKEN": "formgrader",
    "CLASSHUB_DASHBOARD_TOKEN": "dashboard",
    "CLASSHUB_DOCTOR_TOKEN": "doctor",
}
_DATABASES = {
    "/var/lib/jupyterhub/jupyterhub.sqlite": "JupyterHub's",
    "/var/lib/classhub/course/gradebook.db": "the gradebook",
    "/srv/stats/db/activity.sqlite": "activity's",
}
_PAGES = "application/jupyterhub-pagination+json"  # without it the hub hides that there are more
_UNITS = {
    "hub": ("jupyterhub", "jupyterhub-proxy", "classhub-tls", "classhub-sweep.timer",
            "classhub-formgrader", "classhub-dashboard"),
    "proxy": ("nginx-container",),
    "node": (),
}  # fmt: skip


class _Doubt(Exception):
    """Something that will become a fault."""


class _Refused(CommandExecutionError):
    """The hub does not take a token."""


class _Check(NamedTuple):
    """A check, the roles of the hosts that need it, and what to do if it fails."""

    name: str
    roles: tuple[str, ...]
    act: Callable[[], str]
    todo: str


def __virtual__():
    return __virtualname__


def clock() -> float:
    """This host's time, in seconds since 1970.

    CLI Example:

    .. code-block:: bash

        salt '*' classhub_doctor.clock
    """
    return time.time()


def examined() -> dict:
    """What is right and what is wrong on this host.

    Returns:
        ``checks``: one mapping a check, ``check``, ``result`` (ok, warning, failed), ``told`` and ``todo``; ``facts``:
        what the runner compares between hosts.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_doctor.examined
    """
    roles = __pillar__["classhub"]["roles"]
    checks = [_made(check) for check in _CHECKS if set(check.roles) & set(roles)]
    return {"checks": checks, "facts": _facts(roles)}


def _made(check: _Check) -> dict[str, str]:
    try:
        result, told = "ok", check.act()
    except _Doubt as doubt:
        result, told = "warning", str(doubt)
    except Exception as error:  # noqa: BLE001 - a check that cannot be made is a finding
        result, told = "failed", str(error) or type(error).__name__
    todo = "" if result == "ok" else check.todo.format(host=__grains__["id"])
    return __utils__["classhub_doctor.finding"](check.name, result, told, todo)


def _facts(roles: list[str]) -> dict:
    """What hosts are compared by; None where a check tells already why it cannot be found out."""
    facts = {"salt": __grains__["saltversion"]}
    if "node" in roles:
        facts["images"] = _known(__salt__["classhub_image.held"])
    if "hub" in roles:
        selected = _known(__salt__["classhub_image.selected"])
        facts["image"] = selected and selected.get("image")
    if {"hub", "node"} & set(roles):
        facts["filesystem"] = _known(_marker)
    return facts


def _known(found: Callable) -> object:
    try:
        return found()
    except CommandExecutionError:
        return None


# -- every host


def _settings() -> str:
    if faults := __pillar__["classhub"]["faults"]:
        raise CommandExecutionError("; ".join(faults))
    return "pillar has no faults"


def _units() -> str:
    failed = _run("systemctl", "--failed", "--plain", "--no-legend", "--no-pager")
    names = [line.split()[0] for line in failed.splitlines() if line.strip()]
    if names:
        raise CommandExecutionError(f"failed: {', '.join(names)}")
    needed = {unit for role in __pillar__["classhub"]["roles"] for unit in _UNITS[role]}
    down = [unit for unit in sorted(needed) if not __salt__["service.status"](unit)]
    if down:
        raise CommandExecutionError(f"not running: {', '.join(down)}")
    return f"none failed{', and ' + ', '.join(sorted(needed)) + ' run' if needed else ''}"


def _disk() -> str:
    """Each filesystem once."""
    left: dict[int, tuple[float, str]] = {}
    for place in _PLACES:
        if place == "/home" and {"hub", "node"} & set(__pillar__["classhub"]["roles"]):
            _marker()  # one that hangs must not hang this
        if not os.path.isdir(place):
            continue
        found = os.statvfs(place)
        parts = [(found.f_bavail / found.f_blocks, "space")] if found.f_blocks else []
        parts += [(found.f_favail / found.f_files, "inodes")] if found.f_files else []
        for part, kind in parts:
            here = (part, f"{part:.0%} of {kind} left on {place}")
            left[os.stat(place).st_dev] = min(left.get(os.stat(place).st_dev, here), here)
    least, told = min(left.values())
    if least < _NONE:
        raise CommandExecutionError(told)
    if least < _LITTLE:
        raise _Doubt(told)
    return f"at least {told}"


def _firewall() -> str:
    _run("nft", "list", "table", "inet", "classhub")
    return "its table is loaded"


def _engine() -> str:
    state = json.loads(__salt__["classhub_engine.docker"]("info", "--format", "{{json .}}"))
    if errors := state.get("ServerErrors"):
        raise CommandExecutionError("; ".join(errors))
    swarm = state["Swarm"]["LocalNodeState"]
    if swarm != "active" and {"hub", "node"} & set(__pillar__["classhub"]["roles"]):
        raise CommandExecutionError(f"Docker answers, but its part in the Swarm is {swarm}")
    return f"Docker {state['ServerVersion']} answers"


def _run(*argv: str) -> str:
    """Output of a command, which may not hang.

    Raises:
        CommandExecutionError: it failed, or took too long.
    """
    answer = __salt__["cmd.run_all"](
        ["timeout", "--signal=KILL", str(_SECONDS), *argv], python_shell=False, ignore_retcode=True
    )
    if answer["retcode"] in (124, 137, -9):
        raise CommandExecutionError(f"{' '.join(argv)} hangs")
    if answer["retcode"]:
        raise CommandExecutionError(f"{' '.join(argv[:3])}: {answer['stderr'] or answer['stdout']}")
    return answer["stdout"]


# -- hub and nodes


def _marker() -> str:
    return __salt__["classhub_filesystem.marker"]()


def _storage() -> str:
    return f"/home is there, {_marker()[:8]}"


# -- the proxy


def _certificate() -> str:
    told = __salt__["classhub_certificate.shown"]()
    if not told["key_fits"]:
        raise CommandExecutionError("its key does not belong to it")
    if not told["is_for_domain"]:
        raise CommandExecutionError(f"it is for {', '.join(told['names'])}")
    _judge_end("it", told)
    return f"it is good for {told['days_left']} days"


def _judge_end(what: str, told: dict) -> None:
    """See that a certificate, as described, has not ended and does not soon."""
    if told["days_left"] < 0:
        raise CommandExecutionError(f"{what} expired on {told['ends']}")
    if told["days_left"] < _DAYS:
        raise _Doubt(f"{what} expires in {told['days_left']} days")


def _page() -> str:
    """The way of a browser: nginx, TLS to the hub, JupyterHub."""
    domain = __pillar__["classhub"]["domain"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # another check judges it
    with (
        socket.create_connection(("127.0.0.1", 443), timeout=_SECONDS) as raw,
        context.wrap_socket(raw, server_hostname=domain) as secured,
    ):
        shown = hashlib.sha256(secured.getpeercert(binary_form=True)).digest().hex(":").upper()
        connection = http.client.HTTPConnection(domain)
        connection.sock = secured
        connection.request("GET", "/hub/login")
        status = connection.getresponse().status
    if status not in (200, 302):
        raise CommandExecutionError(f"https://{domain}/hub/login is answered {status}")
    if shown != __salt__["classhub_certificate.shown"]()["fingerprint"]:
        raise CommandExecutionError(
            "nginx shows an older certificate than the one that is here: systemctl reload nginx-container"
        )
    return f"https://{domain}/hub/login answers"


# -- the hub


def _tokens() -> str:
    """Each service of the class at the hub's API."""
    refused = []
    for key, service in _TOKENS.items():
        try:
            _asked("user", key)
        except _Refused:
            refused.append(service)
    if refused:
        raise CommandExecutionError(f"JupyterHub refuses the token of {', '.join(refused)}")
    return "JupyterHub answers each service's token"


def _asked(path: str, key: str) -> dict:
    """What the hub's API answers to the token with this key.

    Raises:
        _Refused: to that token it answers nothing.
        CommandExecutionError: it does not answer.
    """
    settings = __pillar__["classhub"]
    lines = Path("/etc/jupyterhub/secrets.env").read_text(encoding="utf-8").splitlines()
    known = dict(line.split("=", 1) for line in lines if "=" in line)
    url = f"http://{settings['address']}:{settings['hub']['api_port']}/hub/api/{path}"
    headers = {"Authorization": f"token {known.get(key)}", "Accept": _PAGES}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - http of our own
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        kind = _Refused if error.code in (401, 403) else CommandExecutionError
        raise kind(f"JupyterHub answers {error.code}") from error
    except OSError as error:
        raise CommandExecutionError(f"JupyterHub does not answer at {url}: {error}") from error


def _servers() -> str:
    """Each server is one that the hub knows: nobody stops another, and it keeps its memory."""
    known = _with_servers()  # first: a server that is stopped meanwhile is no finding
    oldest = time.time() - __pillar__["classhub"]["server"]["start_timeout"]
    begun = __salt__["classhub_swarm.begun"]()
    lost = sorted(user for user, since in begun.items() if user not in known and since < oldest)
    if lost:
        raise CommandExecutionError(f"the hub knows nothing of the server of {', '.join(lost)}")
    return f"the hub knows all of {len(begun)}"


def _with_servers() -> set[str]:
    """Who has a server, as the hub says."""
    found, offset = set(), 0
    while offset is not None:
        query = f"users?state=active&sort=id&offset={offset}&limit=200"
        page = _asked(query, "CLASSHUB_ADMIN_TOKEN")
        found |= {user["name"] for user in page["items"]}
        offset = (page["_pagination"]["next"] or {}).get("offset")
    return found


def _authority() -> str:
    for name in ("current.pem", "next.pem"):
        text = Path("/etc/classhub/ca", name).read_text(encoding="utf-8")
        told = __utils__["classhub_certificate.described"](text)
        _judge_end(f"the hub's authority {name}", told)
    return f"the hub's authority is good for {told['days_left']} days"


def _people() -> str:
    """Everybody's account has the uid of the ledger, and the home its owner."""
    plan = __salt__["classhub_roster.plan"]()
    if plan["faults"]:
        raise CommandExecutionError("; ".join(plan["faults"]))
    wrong = []
    for person in __pillar__["classhub"]["people"]:
        name, uid = person["username"], plan["ledger"][person["username"]]
        try:
            account = pwd.getpwnam(name).pw_uid
        except KeyError:
            wrong.append(f"{name} has no account")
            continue
        home = _owner(Path("/home", name))
        if account != uid:
            wrong.append(f"{name} has uid {account}, not {uid}")
        elif home != uid:
            wrong.append(
                f"/home/{name} {'is not there' if home is None else f'belongs to uid {home}'}"
            )
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CommandExecutionError("; ".join(wrong[:5]) + more)
    return f"{len(plan['ledger'])} people have their uids and homes"


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def _databases() -> str:
    found = []
    for path, whose in _DATABASES.items():
        if not os.path.exists(path):
            continue
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as base:
                verdict = base.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise CommandExecutionError(
                f"{whose} database {path} cannot be read: {error}"
            ) from error
        if verdict != "ok":
            raise CommandExecutionError(f"{whose} database {path} is damaged: {verdict}")
        found.append(whose)
    return f"{', '.join(found) or 'none'}: sound"


def _nodes() -> str:
    members = {
        member["host"]: member for member in __salt__["classhub_swarm.nodes"]() if member["node"]
    }
    expected = __pillar__["classhub"]["nodes"]
    away = [host for host in expected if host not in members or members[host]["state"] != "ready"]
    if away:
        raise CommandExecutionError(f"the Swarm does not see {', '.join(away)}")
    paused = [host for host in expected if members[host]["availability"] != "active"]
    if paused:
        raise _Doubt(f"no new servers come to {', '.join(paused)}")
    return f"{len(expected)} are ready"


def _backup() -> str:
    """The last backup, prune and drill, and that the repository can be read."""
    if not __pillar__["classhub"]["backup"]["repository"]:
        raise _Doubt("this class has none: what is lost is lost")
    told = __salt__["classhub.snapshots"]()
    if failed := [
        f"{verb} {how}" for verb, how in told["table"].items() if how.startswith("failed")
    ]:
        raise CommandExecutionError("; ".join(failed))
    if told["table"]["backup"].startswith("skipped"):
        raise _Doubt(
            "nothing is saved yet: the first backup begins two minutes after the class is there"
        )
    return f"{len(told['summary']['snapshots'])} snapshots, and nothing is overdue"


_EVERY, _CLUSTER = ("proxy", "hub", "node"), ("hub", "node")
_CHECKS = (
    _Check("settings", _EVERY, _settings, "mend pillar on the master"),
    _Check("units", _EVERY, _units, "on {host}: systemctl status <unit>; then salt {host} state.apply"),
    _Check("disk", _EVERY, _disk, "make room on {host}"),
    _Check("firewall", _EVERY, _firewall, "salt {host} state.apply firewall"),
    _Check("engine", _EVERY, _engine, "on {host}: journalctl -u docker; then salt {host} state.apply"),
    _Check("storage", _CLUSTER, _storage, "on {host}: findmnt /home; then salt {host} state.apply storage"),
    _Check("certificate", ("proxy",), _certificate, "see docs/howto/certificates.md"),
    _Check("sign-in page", ("proxy",), _page, "on {host}: docker logs nginx; on the hub: systemctl status jupyterhub classhub-tls"),
    _Check("tokens", ("hub",), _tokens, "on {host}: journalctl -u jupyterhub; then salt {host} state.apply"),
    _Check("servers", ("hub",), _servers, "salt {host} classhub_swarm.stop <student>; the student's next start does it, too"),
    _Check("authority", ("hub",), _authority, "salt {host} classhub_secrets.rotate authority; then salt-run classhub.deploy"),
    _Check("people", ("hub",), _people, "salt-run classhub.roster test=True"),
    _Check("databases", ("hub",), _databases, "bring back the one of the backup"),
    _Check("backup", ("hub",), _backup, "see docs/howto/back-up-and-restore.md"),
    _Check("nodes", ("hub",), _nodes, "on the node: systemctl status docker; salt-run classhub.resume <node>"),
)  # fmt: skip
