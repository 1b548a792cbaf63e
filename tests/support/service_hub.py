"""A hub that services ask who somebody is: it knows a few people, by tokens that are their names."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

import requests

from tests.support import submissions


class Hub(http.server.BaseHTTPRequestHandler):
    """Knows who has which token: the token of ada is "ada"; so is the code with which she comes back signed in."""

    scopes: dict[str, list[str]] = {}

    def do_GET(self) -> None:
        name = self.headers.get("Authorization", "").removeprefix("token ")
        known = self.path == "/hub/api/user" and name in self.scopes
        model = {"kind": "user", "name": name, "scopes": self.scopes.get(name), "groups": []}
        self.answer(200 if known else 403, model if known else {"message": "no"})

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        good = self.path == "/hub/api/oauth2/token" and sent["client_secret"] == ["its-own"]
        self.answer(200 if good else 400, {"access_token": sent["code"][0]})

    def answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def running(scopes: dict[str, list[str]]) -> Iterator[int]:
    """The hub's port.

    Args:
        scopes: username -> what the hub lets one do
    """
    kind = type("Hub", (Hub,), {"scopes": scopes})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def environment(name: str, hub: int) -> dict[str, str]:
    """What a service is told of the hub, by its unit."""
    return {
        "JUPYTERHUB_API_TOKEN": "its-own",
        "JUPYTERHUB_SERVICE_NAME": name,
        "JUPYTERHUB_SERVICE_PREFIX": f"/services/{name}/",
        "JUPYTERHUB_CLIENT_ID": f"service-{name}",
        "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub}/hub/api",
    }


class Service:
    """A service of the class as its unit runs it: a process, which answers on a port of its own.

    Args:
        name: as the hub knows it, and its package in `classhub`
        hub: port of the hub
        log: where its words go
        words: more words of its command
        more: more of its environment
    """

    def __init__(self, name: str, hub: int, log: Path, words: list[str], **more: str) -> None:
        self.port, self.log = free_port(), log
        self.base = f"http://127.0.0.1:{self.port}/services/{name}/"
        command = [sys.executable, "-B", "-m", f"classhub.{name}", "--port", str(self.port), *words]
        self.process = subprocess.Popen(
            command,
            env=submissions.environment() | environment(name, hub) | more,
            stderr=log.open("w"),
        )

    def request(self, who: str, path: str = "", method: str = "GET", **kwargs) -> requests.Response:
        headers = {"Authorization": f"token {who}"} if who else {}
        kwargs.setdefault("timeout", 30)
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.base}{path}", headers=headers, **kwargs)

    def wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.request("", allow_redirects=False)
                return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
