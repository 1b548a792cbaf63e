"""The proxy host's nginx with the class's settings, and the hub's stunnel, as processes of this machine."""

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from tests.support.loading import ROOT, load
from tests.support.waiting import wait_until

DOMAIN = "class.example.edu"
HUB = "hub.classhub.internal"
SETTINGS = {"body_size": "100m", "hsts": 31536000, "sign_in_rate": 60, "sign_in_burst": 300}
certificates = load("utils", "classhub_certificate")


def template(path: str, **values: Any) -> str:
    """A template of the tree with its values."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return jinja2.Template(text, undefined=jinja2.StrictUndefined).render(**values)


def settings(acme: bool = False, **changes: Any) -> str:
    """nginx's settings for a hub at 192.0.2.11."""
    return template(
        "salt/proxy/files/nginx.conf.jinja",
        domain=DOMAIN,
        hub_address="192.0.2.11",
        hub_port=8000,
        tls_port=8443,
        acme=acme,
        proxy=SETTINGS | changes,
    )


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]


def put_certificates(folder: Path) -> None:
    """tls/class.crt and its key for the domain, hub-ca.crt, and hub.pem issued by that authority."""
    (folder / "tls").mkdir(parents=True)
    own = certificates.issue(certificates.authority(), DOMAIN)
    (folder / "tls/class.crt").write_text(certificates.public(own))
    (folder / "tls/class.key").write_text(own)
    authority = certificates.authority()
    (folder / "hub-ca.crt").write_text(certificates.public(authority))
    (folder / "hub.pem").write_text(certificates.issue(authority, HUB))
    (folder / "hub.pem").chmod(0o600)


class Nginx:
    """nginx with all that it reads in one directory, and its ports."""

    def __init__(self, folder: Path, servers: str, hub: str, acme: bool = False) -> None:
        self.folder, self.https, self.http = folder, free_port(), free_port()
        shutil.copy(ROOT / "salt/proxy/files/outage.html", folder)
        text = settings(acme)
        for old, new in {
            "/etc/classhub/": f"{folder}/",
            "/etc/classhub;": f"{folder};",
            "pid /run/nginx.pid": f"daemon off; pid {folder}/nginx.pid",
            "user www-data": "user root",
            "listen 80": f"listen 127.0.0.1:{self.http}",
            "listen 443": f"listen 127.0.0.1:{self.https}",
            "192.0.2.11:8000": servers,
            "192.0.2.11:8443": hub,
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / "nginx.conf").write_text(text.replace("/var/lib/acme", f"{folder}/acme"))
        self.process: subprocess.Popen | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator["Nginx"]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["nginx", "-c", self.folder / "nginx.conf"], **quiet)
        try:
            wait_until("nginx listens", self.connected, 10, 0.05, (OSError,)).close()
            yield self
        finally:
            self.process.terminate()
            self.process.wait(10)

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def connected(self) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.https), timeout=10)
        return context.wrap_socket(plain, server_hostname=DOMAIN)

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of an answer to a path."""
        with self.connected() as secure:
            secure.sendall(f"GET {path} HTTP/1.0\r\nHost: {DOMAIN}\r\n\r\n".encode())
            head, _, body = b"".join(iter(lambda: secure.recv(65536), b"")).partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()


class Stunnel:
    """The hub's stunnel at 127.0.0.2, before the same ports of 127.0.0.1."""

    address = "127.0.0.2"

    def __init__(self, folder: Path, port: int, tls_port: int, api_port: int) -> None:
        self.pid = folder / "stunnel.pid"
        text = template(
            "salt/hub/files/stunnel.conf.jinja",
            address=self.address,
            port=port,
            tls_port=tls_port,
            api_port=api_port,
        )
        for old, new in {
            "/run/classhub-tls/stunnel.pid": str(self.pid),
            "/etc/classhub/stunnel/": f"{folder}/",
            # JupyterHub is on the class's address, and here on the loopback
            f"connect = {self.address}:": "connect = 127.0.0.1:",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        self.config = folder / "stunnel.conf"
        self.config.write_text(text)

    @contextlib.contextmanager
    def running(self) -> Iterator["Stunnel"]:
        # it forks when it has its ports
        subprocess.run(["stunnel4", self.config], check=True, capture_output=True)
        try:
            yield self
        finally:
            self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        subprocess.run(["kill", f"-{number}", self.pid.read_text().strip()], check=True)
