"""The hub's configuration: the class's settings, written as JSON by Salt, become JupyterHub's.

One function a section, which only sets values. The JSON file has these keys:

    address         the hub's IPv4 address on the class's network
    domain          the name students type
    public_certificate  whether the class shows a certificate that somebody else has signed
    groups          role in the roster -> system group of its people
    staff           those of them whose people grade
    access_servers  people who may open students' servers
    course          id, title, timezone: pillar classhub:course
    exchange        directory of nbgrader's exchange, the same path on every node
    server          what a student's server gets: pillar classhub:server
    hub             ports, limits and the authenticator: pillar classhub:hub

Beside it is logins.json: login elsewhere -> username. It is read at each sign-in.

Secrets come from the environment: CONFIGPROXY_AUTH_TOKEN and JUPYTERHUB_CRYPT_KEY (read by JupyterHub itself),
CLASSHUB_ADMIN_TOKEN, CLASSHUB_PROXY_SYNC_TOKEN, CLASSHUB_FORMGRADER_TOKEN, CLASSHUB_CULLER_TOKEN,
CLASSHUB_DASHBOARD_TOKEN and CLASSHUB_DOCTOR_TOKEN.
"""

import difflib
import html
import json
import os
import re
from pathlib import Path

from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from traitlets.config import Config
from traitlets.utils.importstring import import_item

from classhub.authenticator import LabAuthenticator
from classhub.looks import record_looks
from classhub.oauth import GitHub, on_roster
from classhub.spawner import ClassSpawner
from classhub.tokens import keep_one_token

STATE = Path("/var/lib/jupyterhub")
PROBE = "classhub-probe"  # account, and its group, with which classhub.doctor goes a student's way
TEMPLATES = Path(__file__).with_name("templates")  # laid over JupyterHub's own
NETWORK_FILESYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "beegfs", "fuse.glusterfs", "fuse.sshfs",
}  # fmt: skip


class ConfigurationError(Exception):
    """The hub must not start like this."""


def configure(c: Config, settings_file: str | Path, state: Path = STATE) -> None:
    """Set everything in JupyterHub's configuration object."""
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    set_addresses(c, settings)
    set_state(c, state)
    set_proxy(c, settings)
    set_limits(c, settings)
    set_authenticator(c, settings)
    set_files(c, Path(settings_file), state)
    set_pages(c, settings)
    set_spawner(c, settings)
    set_services(c, settings, os.environ)
    set_rights(c, settings, state)


def set_addresses(c: Config, settings: dict) -> None:
    """Nodes reach the hub on its address in the class's network. Its proxy is on the loopback, behind TLS."""
    address, hub = settings["address"], settings["hub"]
    c.JupyterHub.bind_url = f"http://127.0.0.1:{hub['port']}"
    c.JupyterHub.hub_bind_url = f"http://{address}:{hub['api_port']}"
    c.JupyterHub.hub_connect_url = f"http://{address}:{hub['api_port']}"
    # https here also marks all the hub's cookies as secure
    c.JupyterHub.public_url = f"https://{settings['domain']}/"


def set_state(c: Config, state: Path) -> None:
    refuse_network_filesystem(state)
    c.JupyterHub.db_url = f"sqlite:///{state}/jupyterhub.sqlite"
    c.JupyterHub.cookie_secret_file = f"{state}/cookie_secret"
    c.JupyterHub.upgrade_db = True  # of a newer JupyterHub; keeps a copy of the old database


def refuse_network_filesystem(path: Path, mounts: str | Path = "/proc/mounts") -> None:
    """SQLite's locks are not safe on network filesystems: https://www.sqlite.org/faq.html#q5"""
    path = Path(os.path.realpath(path))
    kind = ""
    depth = -1
    for line in Path(mounts).read_text(encoding="utf-8").splitlines():
        _, target, fstype, *_ = line.split(" ")
        mount = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), target))
        # a later mount hides an earlier one at the same place
        if path.is_relative_to(mount) and len(mount.parts) >= depth:
            kind, depth = fstype, len(mount.parts)
    if kind in NETWORK_FILESYSTEMS:
        raise ConfigurationError(
            f"{path} is on a network filesystem ({kind}), where SQLite loses data: "
            "put it on a disk of the hub."
        )


def set_proxy(c: Config, settings: dict) -> None:
    """The proxy is a service of its own: the hub restarts without an interruption for students."""
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings['hub']['proxy_api_port']}"


def set_limits(c: Config, settings: dict) -> None:
    hub = settings["hub"]
    c.JupyterHub.active_server_limit = hub["active_server_limit"]
    c.JupyterHub.concurrent_spawn_limit = hub["concurrent_spawn_limit"]
    c.JupyterHub.allow_named_servers = False


def set_authenticator(c: Config, settings: dict) -> None:
    kinds = {"lab": set_lab_authenticator, "github": set_github, "oauth": set_oauth}
    kind = settings["hub"]["authenticator"]
    if kind not in kinds:
        raise ConfigurationError(f"hub:authenticator is {kind!r}; known are: {', '.join(kinds)}.")
    kinds[kind](c, settings)
    c.Roster.groups = settings["groups"] | {"probe": PROBE}
    c.Authenticator.admin_users = set()
    # uid and role; no token of anybody is in it
    c.Authenticator.enable_auth_state = True
    # who leaves the roster is out within so many seconds, tokens of the own server included, and starts none
    c.Authenticator.auth_refresh_age = 300
    c.Authenticator.auth_refresh_strict = True
    c.Authenticator.refresh_pre_spawn = True


def set_lab_authenticator(c: Config, settings: dict) -> None:
    c.JupyterHub.authenticator_class = LabAuthenticator
    c.LabAuthenticator.password = settings["hub"]["lab_password"]
    c.LabAuthenticator.public_certificate = settings["public_certificate"]


def set_github(c: Config, settings: dict) -> None:
    github = settings["hub"]["github"]
    c.JupyterHub.authenticator_class = GitHub
    c.GitHub.client_id = github["client_id"]
    c.GitHub.client_secret = github["client_secret"]
    c.GitHub.github_url = github["url"]
    c.GitHub.scope = []  # who somebody is, and nothing else
    set_oauth_client(c, settings)


def set_oauth_client(c: Config, settings: dict) -> None:
    # as it is registered; not as the browser says
    c.OAuthenticator.oauth_callback_url = f"https://{settings['domain']}/hub/oauth_callback"
    c.OAuthenticator.http_request_kwargs = {"connect_timeout": 5.0, "request_timeout": 10.0}


def set_oauth(c: Config, settings: dict) -> None:
    """Any class of JupyterHub's kind, by its entry point or dotted name; its settings are data."""
    oauth = settings["hub"]["oauth"]
    kind = authenticator(oauth["class"])
    secret = {"client_secret": oauth["client_secret"]} if oauth["client_secret"] else {}
    given = oauth["settings"] | secret
    known = kind.class_trait_names(config=True)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ConfigurationError(f"hub:oauth: {oauth['class']} has no setting {name}{hint}")
    c.JupyterHub.authenticator_class = kind
    c[kind.__name__].update(given)
    set_oauth_client(c, settings)


def authenticator(name: str) -> type[Authenticator]:
    """The class of that name, for people on the roster alone."""
    installed = JupyterHub.authenticator_class.load_entry_points()
    try:
        return on_roster(installed[name].load() if name in installed else import_item(name))
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(f"hub:oauth:class is {name!r}: {error}") from error


def set_files(c: Config, settings_file: Path, state: Path) -> None:
    c.Elsewhere.logins_file = str(settings_file.with_name("logins.json"))
    c.GitHub.identities_file = str(state / "identities.json")


def set_pages(c: Config, settings: dict) -> None:
    c.JupyterHub.template_paths = [str(TEMPLATES)]
    # announcements are inserted into the page as HTML
    c.JupyterHub.template_vars = {"announcement_login": html.escape(settings["course"]["title"])}
    c.JupyterHub.tornado_settings = {
        "slow_spawn_timeout": 1,  # seconds until the browser gets the page that shows progress
        "xsrf_cookie_kwargs": {"secure": True},  # the other cookies follow public_url
        "headers": {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"},
    }


def set_spawner(c: Config, settings: dict) -> None:
    server = settings["server"]
    c.JupyterHub.spawner_class = ClassSpawner
    c.Spawner.cmd = ["jupyterhub-singleuser"]
    c.Spawner.default_url = server["default_url"]
    c.Spawner.start_timeout = server["start_timeout"]
    c.Spawner.poll_interval = server["poll_interval"]
    # a starting hub stops running servers that do not answer for so long; homes that hang, or a network that is away,
    # take minutes to come back. A start is not slower for it: it ends with the server's first answer.
    c.Spawner.http_timeout = 600
    # traits that DockerSpawner declares anew do not read c.Spawner
    c.ClassSpawner.mem_limit = server["memory"]
    c.ClassSpawner.mem_guarantee = server["memory_guarantee"]
    c.ClassSpawner.cpu_limit = float(server["cpus"]) or None
    c.ClassSpawner.pids_limit = server["pids"]
    c.ClassSpawner.tmp_size = server["tmp"]
    c.ClassSpawner.pending_timeout = server["pending_timeout"]
    c.ClassSpawner.exchange = settings["exchange"]
    c.ClassSpawner.course = settings["course"]["id"]
    c.ClassSpawner.timezone = settings["course"]["timezone"]
    c.ClassSpawner.constraints = ["engine.labels.classhub.node==true"]
    c.ClassSpawner.client_kwargs = {"base_url": "unix:///var/run/docker.sock", "timeout": 20}


def set_services(c: Config, settings: dict, environment: dict) -> None:
    """Tokens of Salt's modules (operator), of the proxy's unit, for its routes (proxy-sync), of what stops idle servers
    (culler), of what proves that a student can work (doctor), and of the pages for staff (formgrader, dashboard)."""
    c.JupyterHub.services = [
        {"name": "operator", "api_token": environment["CLASSHUB_ADMIN_TOKEN"]},
        {"name": "proxy-sync", "api_token": environment["CLASSHUB_PROXY_SYNC_TOKEN"]},
        {"name": "culler", "api_token": environment["CLASSHUB_CULLER_TOKEN"]},
        {"name": "doctor", "api_token": environment["CLASSHUB_DOCTOR_TOKEN"]},
        {
            "name": "formgrader",
            "url": f"http://127.0.0.1:{settings['hub']['formgrader_port']}",
            "api_token": environment["CLASSHUB_FORMGRADER_TOKEN"],
            "info": {"title": "Grade"},
            "oauth_no_confirm": True,  # it is the class's own
        },
        {
            "name": "dashboard",
            "url": f"http://127.0.0.1:{settings['hub']['dashboard_port']}",
            "api_token": environment["CLASSHUB_DASHBOARD_TOKEN"],
            "info": {"title": "Activity"},
            "oauth_no_confirm": True,
        },
    ]
    operator = ["list:users", "read:users", "servers", "read:hub", "proxy"]
    culling = ["list:users", "read:servers", "delete:servers"]
    proving = [
        f"{scope}!user={PROBE}"
        for scope in ("admin:users", "read:users", "servers", "access:servers")
    ]
    pages = ["access:services!service=formgrader", "access:services!service=dashboard"]
    c.JupyterHub.load_roles = [
        {"name": "operator", "scopes": operator, "services": ["operator"]},
        {"name": "proxy-sync", "scopes": ["proxy"], "services": ["proxy-sync"]},
        {"name": "culler", "scopes": culling, "services": ["culler"]},
        {"name": "doctor", "scopes": proving, "services": ["doctor"]},
        {"name": "pages", "scopes": pages, "groups": settings["staff"]},
    ]
    keep_one_token()


def set_rights(c: Config, settings: dict, state: Path) -> None:
    """Instructors see everybody's server on the hub's admin page, start and stop it, and do not get into it.

    Scopes of a group and not JupyterHub's `admin`, which may do anything: become anybody, and open every server.
    """
    instructor = ["admin-ui", "list:users", "read:users", "servers", "list:groups", "read:groups"]
    c.JupyterHub.load_roles += [
        {"name": "instructor", "scopes": instructor, "groups": [settings["groups"]["instructor"]]},
        # also with nobody in it, so that who had the right before loses it
        {"name": "looks", "scopes": ["access:servers"], "users": settings["access_servers"]},
    ]
    record_looks(settings["access_servers"], state / "looks.jsonl")
