"""JupyterHub as a class has it, with accounts of its own and TLS in front; only Swarm and the proxy are not there."""

import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.loading import ROOT
from tests.support.service_hub import free_port
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent
OPERATOR = "a" * 64
CONFIG = """
import sys
from pathlib import Path
sys.path[:0] = [{package!r}, {root!r}]
from tests.support.no_proxy import NoProxy
from classhub.config import configure
from classhub.spawner import ClassSpawner

class NoSwarm(ClassSpawner):
    up = False
    async def start(self):
        self.account()
        self.up = True
        return "127.0.0.1", {elsewhere}
    async def poll(self):
        return None if self.up else 0
    async def stop(self, now=False):
        self.up = False

configure(c, {settings!r}, Path({state!r}))
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = NoSwarm
{more}
"""
SETTINGS = {
    "address": "127.0.0.1",
    "public_certificate": False,
    "groups": {"student": "students", "grader": "graders", "instructor": "instructors"},
    "staff": ["graders", "instructors"],
    "access_servers": [],
    "course": {"id": "intro", "title": "A class", "timezone": "Etc/UTC"},
    "exchange": "/nowhere",
    "server": {
        "memory": "1G",
        "memory_guarantee": "512M",
        "cpus": 0,
        "pids": 300,
        "tmp": "64M",
        "default_url": "/lab",
        "start_timeout": 60,
        "pending_timeout": 15,
        "poll_interval": 10,
    },
}
# accounts are those of two files, which lie over the machine's own for the hub's process alone
NAMESPACE = """
mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"
"""


class ClassHub:
    """One hub and its files.

    Attributes:
        url: where browsers find it
        certificate: PEM with its certificate, its own authority, and the key; for localhost
        callback: where one comes back to from elsewhere
    """

    def __init__(self, top: Path) -> None:
        self.top, self.state = top, top / "state"
        self.state.mkdir()
        self.api_port = free_port()
        self.certificate = certificate(top / "localhost.pem")
        self.front = Front(self.certificate, self.api_port)
        self.url = f"https://localhost:{self.front.server_address[1]}"
        self.callback = f"{self.url}/hub/oauth_callback"
        for name in ("passwd", "group"):
            shutil.copy(f"/etc/{name}", top / name)
        for number, group in enumerate(SETTINGS["groups"].values()):
            self.append("group", f"{group}:x:{19000 + number}:")
        self.process: subprocess.Popen | None = None

    def start(self, hub: dict, elsewhere: int = 1, more: str = "", **environment: str) -> None:
        """Start it, and wait until it answers.

        Args:
            hub: of its settings: the authenticator
            elsewhere: port of whatever answers as a student's server
            more: of its configuration
            environment: more of it
        """
        ports = ("port", "proxy_api_port", "formgrader_port", "dashboard_port")
        limits = {"active_server_limit": 0, "concurrent_spawn_limit": 20}
        hub = {port: free_port() for port in ports} | limits | {"api_port": self.api_port} | hub
        domain = self.url.removeprefix("https://")
        settings = SETTINGS | {"domain": domain, "hub": hub}
        (self.top / "classhub.json").write_text(json.dumps(settings))
        package = str(ROOT / "salt/hub/package")
        paths = {
            "settings": str(self.top / "classhub.json"),
            "state": str(self.state),
            "root": str(ROOT),
        }
        config = self.top / "jupyterhub_config.py"
        config.write_text(CONFIG.format(package=package, elsewhere=elsewhere, more=more, **paths))
        names = ("PROXY_SYNC", "FORMGRADER", "CULLER", "DASHBOARD", "DOCTOR")
        tokens = {f"CLASSHUB_{name}_TOKEN": name.lower() * 5 for name in names}
        tokens |= {"CLASSHUB_ADMIN_TOKEN": OPERATOR, "CONFIGPROXY_AUTH_TOKEN": "c" * 64}
        tokens |= {
            "JUPYTERHUB_CRYPT_KEY": "0123456789abcdef" * 4,
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        command = ["unshare", "--mount", "sh", "-c", NAMESPACE, str(self.top)]
        command += [str(BIN / "jupyterhub"), "-f", str(config)]
        with (self.top / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.state,
                stdout=log,
                stderr=log,
                env=os.environ | tokens | environment,
            )
        health = f"http://127.0.0.1:{self.api_port}/hub/health"
        try:
            wait_until(
                "the hub answers",
                lambda: self.process.poll() is not None or requests.get(health, timeout=5).ok,
                120,
                ignoring=(requests.ConnectionError,),
            )
            assert self.process.poll() is None
        except AssertionError:
            raise AssertionError(self.log()[-5000:]) from None

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(60)
        self.process = None

    def close(self) -> None:
        self.stop()
        self.front.shutdown()
        self.front.server_close()

    # -- people

    def add(self, name: str, uid: int, group: str = "") -> None:
        """An account of the machine; of the class, with a group."""
        self.append("passwd", f"{name}:x:{uid}:{uid}::/home/{name}:/usr/sbin/nologin")
        if group:
            self.change("group", f"{group}:x:", name)

    def append(self, file: str, line: str) -> None:
        with (self.top / file).open("a", encoding="utf-8") as accounts:
            accounts.write(f"{line}\n")

    def change(self, file: str, start: str, member: str, keep: bool = True) -> None:
        """Put a member into the line of a group, or out of it; the file stays the one that is mounted."""
        lines = (self.top / file).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if line.startswith(start):
                *fields, members = line.split(":")
                others = [one for one in members.split(",") if one and one != member]
                lines[number] = ":".join([*fields, ",".join(others + [member] * keep)])
        (self.top / file).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def drop(self, name: str) -> None:
        for group in SETTINGS["groups"].values():
            self.change("group", f"{group}:x:", name, keep=False)

    def logins(self, logins: dict[str, str]) -> None:
        (self.top / "logins.json").write_text(json.dumps(logins), encoding="utf-8")

    # -- looking at it

    def log(self) -> str:
        return (self.top / "log").read_text(encoding="utf-8", errors="replace")

    def session(self) -> requests.Session:
        """A browser that knows nobody yet."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificate)
        return session

    def operator(self, method: str, path: str) -> requests.Response:
        headers = {"Authorization": f"token {OPERATOR}"}
        with self.session() as session:
            return session.request(
                method, f"{self.url}/hub/api/{path}", headers=headers, timeout=60
            )


class Front(socketserver.ThreadingTCPServer):
    """TLS, and behind it whatever the hub says."""

    daemon_threads = True

    def __init__(self, certificate: Path, port: int) -> None:
        self.port = port
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.load_cert_chain(certificate)
        super().__init__(("127.0.0.1", 0), Pump)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address) -> None:
        pass  # a browser that does not know the certificate, or has gone


class Pump(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with (
            self.server.tls.wrap_socket(self.request, server_side=True) as browser,
            socket.create_connection(("127.0.0.1", self.server.port)) as hub,
        ):
            back = threading.Thread(target=self.pump, args=(hub, browser), daemon=True)
            back.start()
            self.pump(browser, hub)
            back.join()

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # either has gone


def certificate(path: Path) -> Path:
    """PEM of a certificate for localhost that only itself vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.touch(mode=0o600)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path
