"""Culling against JupyterHub itself, two servers of Jupyter's own and a kernel; only Swarm and the proxy are not there."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
import websocket
from tornado.testing import bind_unused_port

from tests.support.loading import ROOT
from tests.support.waiting import wait_until

import tests.support.hub  # noqa: F401  isort: skip

from classhub.course.settings import Person, Settings
from classhub.culling.asking import Place
from classhub.culling.rules import Rules
from classhub.culling.run import Cull

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
OPERATOR, CULLER = "a" * 64, "d" * 64
# The roles and services are those of a class; a page holds one user.
CONFIG = """
import sys
sys.path[:0] = [{package!r}, {root!r}]
from tests.support.no_proxy import NoProxy
from classhub import config

tokens = dict.fromkeys(("PROXY_SYNC", "FORMGRADER", "DASHBOARD", "DOCTOR"), "b" * 64)
tokens |= {{"ADMIN": {operator!r}, "CULLER": {culler!r}}}
settings = {{"hub": {{"formgrader_port": 1, "dashboard_port": 2}}, "staff": []}}
config.set_services(c, settings, {{f"CLASSHUB_{{name}}_TOKEN": token for name, token in tokens.items()}})
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.api_page_max_limit = 1
c.Authenticator.allowed_users = {{"ada", "bob", "cleo"}}
c.Spawner.cmd = [{command!r}]
c.Spawner.args = ["--allow-root", "--ServerApp.disable_check_xsrf=True"]
c.Spawner.notebook_dir = {home!r}
c.Spawner.environment = {{"HOME": {home!r}}}
"""


class Real:
    """A hub with two servers; ada has the default one, bob one called extra."""

    def __init__(self, top: Path, port: int) -> None:
        self.top, self.api = top, f"http://127.0.0.1:{port}/hub/api"
        (top / "token").write_text(CULLER)

    def call(self, method: str, path: str, token: str = OPERATOR) -> requests.Response:
        headers = {"Authorization": f"token {token}"}
        return requests.request(method, self.api + path, headers=headers, timeout=60)

    def servers(self, user: str) -> dict:
        return self.call("GET", f"/users/{user}").json()["servers"]

    def start(self, user: str, name: str = "") -> None:
        path = f"/users/{user}/" + (f"servers/{name}" if name else "server")
        assert self.call("POST", path).status_code in (201, 202)

    def survey(self) -> tuple[dict, dict]:
        """What Swarm's manager would say, from the servers' processes."""
        places = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                pairs = path.read_text(errors="replace").split("\0")
            except OSError:
                continue
            told = dict(pair.partition("=")[::2] for pair in pairs)
            if told.get("JUPYTERHUB_API_URL") == self.api:
                user, name = told["JUPYTERHUB_USER"], told["JUPYTERHUB_SERVER_NAME"]
                place = Place(told["JUPYTERHUB_SERVICE_URL"], told["JUPYTERHUB_API_TOKEN"])
                places[f"{user}/{name}" if name else user] = place
        return places, {}

    def cull(self, test: bool = False, **rules) -> dict[str, str]:
        settings = Settings(
            "intro",
            (Person("ada", 20001),),
            hub_api=self.api,
            culler_token=self.top / "token",
            culling_dir=self.top / "culling",
            cull=Rules(**({"grace": 0} | rules)),
        )
        run = Cull(settings, test, SimpleNamespace(survey=self.survey))
        with run.record.alone():
            return asyncio.run(run.run()).table

    def own(self, method: str, key: str, path: str, token: str = "") -> requests.Response:
        """A request to a server, as its student makes it: what is asked so counts as a use."""
        place = self.survey()[0][key]
        headers = {"Authorization": f"token {token or place.token}"}
        return requests.request(method, place.url + path, headers=headers, timeout=60)

    def compute(self, key: str) -> str:
        """Begin a long computation in a kernel of its own and close the page; the kernel."""
        place, kernel = self.survey()[0][key], self.own("POST", key, "api/kernels").json()["id"]
        url = f"ws{place.url.removeprefix('http')}api/kernels/{kernel}/channels"
        header = {"msg_id": uuid.uuid4().hex, "session": "s", "username": "", "version": "5.3"}
        request = {
            "header": header | {"msg_type": "execute_request"},
            "parent_header": {},
            "metadata": {},
            "channel": "shell",
            "content": {"code": "import time; time.sleep(600)", "silent": False},
        }
        page = websocket.create_connection(
            url, header=[f"Authorization: token {place.token}"], http_no_proxy=["*"]
        )
        page.send(json.dumps(request))
        wait_until("it computes", lambda: self.states(key) == ["busy"], 60)
        page.close()
        return kernel

    def states(self, key: str) -> list[str]:
        shown = self.own("GET", key, "api/kernels?no_track_activity=1").json()
        return [kernel["execution_state"] for kernel in shown]

    def last_activity(self, key: str) -> str:
        return self.own("GET", key, "api/status").json()["last_activity"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    top = tmp_path_factory.mktemp("hub")
    places = [bind_unused_port() for _ in range(2)]
    for sock, _ in places:
        sock.close()
    (top / "home").mkdir()
    (top / "config.py").write_text(
        CONFIG.format(
            package=str(ROOT / "salt/hub/package"),
            root=str(ROOT),
            operator=OPERATOR,
            culler=CULLER,
            public=places[0][1],
            port=places[1][1],
            command=str(BIN / "jupyterhub-singleuser"),
            home=str(top / "home"),
        )
    )
    made = Real(top, places[1][1])
    with (top / "log").open("wb") as log:
        command = [BIN / "jupyterhub", "-f", top / "config.py"]
        environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        hub = subprocess.Popen(command, cwd=top, stdout=log, stderr=log, env=environment)
    try:
        refused = (requests.ConnectionError,)
        wait_until("the hub answers", lambda: made.call("GET", "/").ok, 120, ignoring=refused)
        made.start("ada")
        made.start("bob", "extra")
        for user in ("ada", "bob"):
            wait_until(
                f"the server of {user} is ready",
                lambda user=user: all(one["ready"] for one in made.servers(user).values()),
                120,
            )
        yield made
    except AssertionError:
        print((top / "log").read_text()[-5000:])
        raise
    finally:
        hub.terminate()
        hub.wait(60)


def test_all_pages_are_listed_and_the_young_are_not_asked(real):
    assert sorted(real.cull(test=True)) == ["ada", "bob/extra"]
    assert all(told.startswith("skipped: started 0:0") for told in real.cull(test=True).values())


def test_the_culler_enters_no_server_and_starts_none(real):
    assert real.own("GET", "ada", "api/kernels?no_track_activity=1", CULLER).status_code == 403
    assert real.call("POST", "/users/cleo/server", CULLER).status_code in (403, 404)
    shown = real.call("GET", "/users/ada", CULLER).json()
    assert "state" not in shown["servers"][""]


def test_a_computation_without_output_outlives_the_culler_and_an_idle_server_does_not(real):
    kernel = real.compute("ada")
    time.sleep(3)
    before = real.last_activity("ada")
    found = real.cull(idle=2)
    assert found["ada"].startswith("skipped: 1 of 1 kernels busy, idle 0:0")
    assert found["bob/extra"].startswith("done: stopped, idle 0:0")
    assert real.last_activity("ada") == before  # to be asked is no use
    assert real.servers("bob") == {}
    assert real.servers("ada")[""]["ready"]

    real.own("POST", "ada", f"api/kernels/{kernel}/interrupt")
    wait_until("it computes no more", lambda: real.states("ada") == ["idle"], 30)
    time.sleep(3)
    assert real.cull(idle=2, grace=3600)["ada"].startswith("skipped: was busy 0:0")
    assert real.cull(idle=2)["ada"].startswith("done: stopped")
    wait_until("its process is gone", lambda: not real.survey()[0], 30)


def test_output_in_a_terminal_keeps_a_server(real):
    real.start("ada")
    wait_until("it is ready", lambda: real.servers("ada")[""]["ready"], 120)
    name = real.own("POST", "ada", "api/terminals").json()["name"]
    time.sleep(3)
    told = real.cull(idle=2, grace=3600)["ada"]
    assert told.startswith("skipped: output in a terminal 0:0"), told
    real.own("DELETE", "ada", f"api/terminals/{name}")
    time.sleep(3)
    assert real.cull(idle=2, test=True)["ada"].startswith("done: would be stopped")
