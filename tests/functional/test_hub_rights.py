"""What staff may do on the hub: JupyterHub itself, people who sign in to it, and a server of Jupyter's own.

The authenticator is the class's, with people of its own; Swarm and the proxy are not there.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support.loading import ROOT
from tests.support.service_hub import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
SCOPE = re.compile(r'name="scopes"[^>]*value="([^"]*)"')
CONFIG = """
import sys
sys.path[:0] = [{package!r}, {root!r}]
from pathlib import Path
from types import SimpleNamespace
from tests.support.no_proxy import NoProxy
from classhub import authenticator, config

people = {{
    "teach": ["instructor"], "prof": ["instructor"], "gina": ["grader"], "ada": ["student"], "bob": ["student"],
}}
authenticator.roles_of = lambda username, groups: people.get(username, [])
authenticator.pwd = SimpleNamespace(getpwnam=lambda username: SimpleNamespace(pw_uid=20000))
names = ("ADMIN", "CULLER", "PROXY_SYNC", "FORMGRADER", "DASHBOARD", "DOCTOR")
settings = {{
    "hub": {{"formgrader_port": 1, "dashboard_port": 2, "lab_password": "lab", "authenticator": "lab"}},
    "groups": {{"student": "students", "grader": "graders", "instructor": "instructors"}},
    "public_certificate": False,
    "staff": ["graders", "instructors"],
    "access_servers": ["prof"],
}}
config.set_authenticator(c, settings)
config.set_services(c, settings, {{f"CLASSHUB_{{name}}_TOKEN": name.ljust(64, "x") for name in names}})
config.set_rights(c, settings, Path({state!r}))
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [{command!r}]
c.Spawner.args = ["--allow-root"]
c.Spawner.notebook_dir = {state!r}
c.Spawner.environment = {{"HOME": {state!r}}}
"""


class Person:
    """Somebody who is signed in, with the cookies of a browser."""

    def __init__(self, hub: str, name: str) -> None:
        self.hub, self.name, self.session = hub, name, requests.Session()
        self.session.trust_env = False
        self.call("GET", "/login")
        form = {"username": name, "password": "lab", "_xsrf": self.session.cookies["_xsrf"]}
        answer = self.call("POST", "/login", data=form)
        assert answer.status_code == 302, answer.text

    def call(self, method: str, path: str, **kwargs) -> requests.Response:
        headers = {"X-XSRFToken": self.session.cookies.get("_xsrf", path="/hub/") or ""}
        return self.session.request(
            method, self.hub + path, headers=headers, timeout=60, allow_redirects=False, **kwargs
        )

    def authorize(self, owner: str) -> requests.Response:
        """As a browser that opens somebody's server, and confirms that it wants to."""
        asked = {
            "client_id": f"jupyterhub-user-{owner}",
            "redirect_uri": f"/user/{owner}/oauth_callback",
            "response_type": "code",
        }
        answer = self.call("GET", "/api/oauth2/authorize", params=asked)
        if answer.status_code != 200:
            return answer
        form = {
            "_xsrf": self.session.cookies.get("_xsrf", path="/hub/"),
            "scopes": SCOPE.findall(answer.text),
        }
        return self.call("POST", "/api/oauth2/authorize", params=asked, data=form)

    def enter(self, owner: str, secret: str) -> requests.Response:
        """As the server, which gets a token for the browser that comes back."""
        code = parse_qs(urlsplit(self.authorize(owner).headers["Location"]).query)["code"]
        form = {"grant_type": "authorization_code", "code": code[0], "client_secret": secret}
        form |= {
            "client_id": f"jupyterhub-user-{owner}",
            "redirect_uri": f"/user/{owner}/oauth_callback",
        }
        return requests.post(self.hub + "/api/oauth2/token", data=form, timeout=60)

    def token(self) -> str:
        answer = self.call("POST", f"/api/users/{self.name}/tokens", json={})
        assert answer.status_code == 201, answer.text
        return answer.json()["token"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    top = tmp_path_factory.mktemp("hub")
    url = f"http://127.0.0.1:{(port := free_port())}/hub"
    (top / "config.py").write_text(
        CONFIG.format(
            package=str(ROOT / "salt/hub/package"),
            root=str(ROOT),
            state=str(top),
            public=free_port(),
            port=port,
            command=str(BIN / "jupyterhub-singleuser"),
        )
    )
    with (top / "log").open("wb") as log:
        command = [BIN / "jupyterhub", "-f", top / "config.py"]
        environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        environment["JUPYTERHUB_CRYPT_KEY"] = "0123456789abcdef" * 4
        process = subprocess.Popen(command, cwd=top, stdout=log, stderr=log, env=environment)
    refused = (requests.ConnectionError,)
    try:
        wait_until(
            "it answers", lambda: requests.get(f"{url}/api/", timeout=60).ok, 120, 0.5, refused
        )
        names = ("teach", "prof", "gina", "ada", "bob")
        yield SimpleNamespace(top=top, **{name: Person(url, name) for name in names})
    except AssertionError:
        print((top / "log").read_text()[-5000:])
        raise
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def server(hub):
    """The server of ada, which an instructor has started: its address and its secret."""
    assert hub.teach.call("POST", "/api/users/ada/server").status_code in (201, 202)

    def ready():
        return hub.teach.call("GET", "/api/users/ada").json()["servers"][""]["ready"]

    wait_until("the server of ada is ready", ready, 120, ignoring=(KeyError,))
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = path.read_text(errors="replace").split("\0")
        except OSError:
            continue
        told = dict(pair.partition("=")[::2] for pair in pairs)
        if told.get("JUPYTERHUB_API_URL") == f"{hub.ada.hub}/api":
            url, token = told["JUPYTERHUB_SERVICE_URL"], told["JUPYTERHUB_API_TOKEN"]
            return SimpleNamespace(url=url, secret=token)
    raise AssertionError("there is no such process")


def looks(hub):
    file = hub.top / "looks.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(entry["who"], entry["what"]) for entry in map(json.loads, lines)]


def shown(server, token):
    headers = {"Authorization": f"token {token}"}
    return requests.get(server.url + "api/contents", headers=headers, timeout=60).status_code


def test_instructors_have_the_admin_page_and_nobody_else_has(hub):
    people = (hub.teach, hub.prof, hub.gina, hub.ada)
    assert [person.call("GET", "/admin").status_code for person in people] == [200, 200, 403, 403]
    listed = {user["name"] for user in hub.teach.call("GET", "/api/users").json()}
    assert {"ada", "bob", "teach"} <= listed
    assert hub.gina.call("GET", "/api/users").status_code == 403
    assert hub.gina.call("POST", "/api/users/bob/server").status_code in (403, 404)


FORBIDDEN = [
    ("PATCH", "/api/users/teach", {"admin": True}),
    ("POST", "/api/users/mallory", {}),
    ("DELETE", "/api/users/bob", None),
    ("POST", "/api/users/ada/tokens", {}),
    ("GET", "/api/users/ada/tokens", None),
    ("POST", "/api/groups/students/users", {"users": ["teach"]}),
    ("POST", "/api/shares/ada/", {"user": "teach"}),
    ("POST", "/api/shutdown", {}),
    ("GET", "/api/proxy", None),
]


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN)
def test_an_instructor_is_no_superuser(hub, server, method, path, body):
    answer = hub.teach.call(method, path, json=body)
    assert answer.status_code in (403, 404), answer.text


def test_an_instructor_does_not_get_into_a_students_server(hub, server):
    before = looks(hub)
    for person in (hub.teach, hub.gina, hub.bob):
        assert person.authorize("ada").status_code == 403
        assert shown(server, person.token()) == 403
    assert looks(hub) == before


def test_who_may_look_is_let_in_and_recorded(hub, server):
    answer = hub.prof.enter("ada", server.secret)
    assert looks(hub)[-1] == ("prof", "let into the server of ada")
    assert shown(server, answer.json()["access_token"]) == 200
    assert (hub.top / "looks.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_token_for_programs_is_recorded_too(hub, server):
    token = hub.prof.token()
    assert looks(hub)[-1] == ("prof", "made a token, with which programs get into servers")
    assert shown(server, token) == 200


def test_nobody_is_let_in_unrecorded(hub, server):
    file, kept = hub.top / "looks.jsonl", hub.top / "kept"
    hub.prof.enter("ada", server.secret)
    file.rename(kept)
    file.mkdir()
    try:
        assert hub.prof.enter("ada", server.secret).status_code == 500
    finally:
        file.rmdir()
        kept.rename(file)
    before = len(looks(hub))
    assert hub.prof.enter("ada", server.secret).status_code == 200
    assert len(looks(hub)) == before + 1


def test_the_own_server_is_nobodys_business(hub, server):
    before = looks(hub)
    assert hub.ada.enter("ada", server.secret).status_code == 200
    assert looks(hub) == before
    assert hub.teach.call("DELETE", "/api/users/ada/server").status_code in (202, 204)
