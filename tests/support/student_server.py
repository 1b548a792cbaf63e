"""A student's server as the image and the spawner make it, on this machine: the real jupyterhub-singleuser, with the
image's own files and environment, as the student's uid, on a read-only root with a /tmp in memory.

Only the container, and the hub that it asks who somebody is, are not there.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import websocket

from tests.support.hub import FakeSwarm, make_spawner
from tests.support.loading import ROOT
from tests.support.service_hub import free_port
from tests.support.waiting import wait_until

USER, UID = "alice", 20001
TOKEN = "a-token-of-hers"
SCOPES = [f"access:servers!user={USER}"]
IMAGE = ROOT / "salt/image/files/student"
BIN = Path(sys.executable).parent
# $0 is the scratch directory; homes are a filesystem that is mounted in it
INSIDE = """
set -e
mount --bind "$0/etc" /etc
mount --rbind "$0/homes" /home
mount -t tmpfs -o size=128m,mode=1777 none /tmp
mount -o remount,bind,ro /
cd "$HOME"
exec setpriv --reuid=20001 --regid=20001 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


class _Hub(BaseHTTPRequestHandler):
    """The little of JupyterHub's API that a server asks."""

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/user"):
            self.answer({"kind": "user", "name": USER, "groups": [], "scopes": SCOPES})
        else:
            self.answer({"version": "6.1.1"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({})

    def answer(self, told: dict) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def image_environment() -> dict[str, str]:
    """The ENV of the image's Dockerfile, but for where its programs are."""
    text = re.sub(r"\\\n", " ", (IMAGE / "Dockerfile").read_text())
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    given = dict(word.split("=", 1) for word in line.split())
    return given | {"PATH": f"{BIN}:/usr/bin:/bin"}


class StudentServer:
    """A server that runs.

    Attributes:
        home: of the student
        log: what it said
    """

    def __init__(self, top: Path) -> None:
        self.top, self.home, self.log = top, top / "homes" / USER, top / "log"
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}/user/{USER}"

    def call(self, method: str, path: str, **words: Any) -> requests.Response:
        headers = {"Authorization": f"token {TOKEN}"}
        return requests.request(method, f"{self.base}/{path}", headers=headers, timeout=60, **words)

    def page(self, path: str) -> websocket.WebSocket:
        return websocket.create_connection(
            f"ws{self.base.removeprefix('http')}/{path}",
            header=[f"Authorization: token {TOKEN}"],
            http_no_proxy=["*"],
            timeout=60,
        )

    def run_cell(self, path: str, code: str) -> str:
        """What a cell of a notebook prints, or the error that it ends with."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        made = self.call("POST", "api/sessions", json=body)
        assert made.status_code == 201, made.text
        kernel = made.json()["kernel"]["id"]
        header = {"msg_id": uuid.uuid4().hex, "session": "s", "username": "", "version": "5.3"}
        request = {
            "header": header | {"msg_type": "execute_request"},
            "parent_header": {},
            "metadata": {},
            "channel": "shell",
            "content": {"code": code, "silent": False, "store_history": True},
        }
        page, told = self.page(f"api/kernels/{kernel}/channels"), ""
        page.send(json.dumps(request))
        while True:
            message = json.loads(page.recv())
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            content = message["content"]
            told += content.get("text", "") + content.get("ename", "")
            if content.get("execution_state") == "idle":
                page.close()
                return told

    def type(self, command: str, until: str) -> str:
        """What a terminal shows after a command, until it shows a text."""
        name = self.call("POST", "api/terminals").json()["name"]
        page, told = self.page(f"terminals/websocket/{name}"), ""
        page.send(json.dumps(["stdin", f"{command}\r"]))
        while until not in told:
            kind, *words = json.loads(page.recv())
            told += words[0] if kind == "stdout" else ""
        page.close()
        return told


def _etc(top: Path) -> None:
    """A copy of /etc with the image's files and the student's name."""
    etc = shutil.copytree("/etc", top / "etc", symlinks=True)
    for folder, names in {
        "jupyter": ("jupyter_server_config.py", "nbgrader_config.py"),
        "ipython": ("ipython_config.py",),
    }.items():
        (etc / folder).mkdir(exist_ok=True)
        for name in names:
            shutil.copy(IMAGE / name, etc / folder)
    with (etc / "passwd").open("a") as accounts:
        accounts.write(f"{USER}:x:{UID}:{UID}::/home/{USER}:/bin/bash\n")


@contextlib.contextmanager
def student_server(top: Path) -> Iterator[StudentServer]:
    """A server whose home is `top`/homes/alice, which is there and hers."""
    server, hub = StudentServer(top), ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    _etc(top)
    (top / "spawner").mkdir()
    spawner = make_spawner(FakeSwarm(), top / "spawner")
    environment = image_environment() | spawner.own_environment()
    environment |= {
        "JUPYTERHUB_API_TOKEN": TOKEN,
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.server_port}/hub/api",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{USER}",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps(SCOPES),
        "JUPYTERHUB_SERVICE_PREFIX": f"/user/{USER}/",
        "JUPYTERHUB_SERVICE_URL": f"{server.base}/",
        "JUPYTERHUB_USER": USER,
    }
    command = ["unshare", "--mount", "sh", "-c", INSIDE, top, BIN / "jupyterhub-singleuser"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        refused = (requests.ConnectionError,)
        wait_until("the server answers", lambda: server.call("GET", "api/status").ok, 60, ignoring=refused)  # fmt: skip
        yield server
    except AssertionError:
        print(server.log.read_text()[-5000:])
        raise
    finally:
        process.terminate()
        process.wait(60)
        hub.shutdown()
