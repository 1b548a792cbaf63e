"""From nginx over TLS to the hub: real nginx, stunnel and configurable-http-proxy, with every fault of a certificate."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
import requests
import tornado.httpserver
import tornado.web
import tornado.websocket
import websocket
from tornado.testing import bind_unused_port

from tests.support import front
from tests.support.front import DOMAIN, HUB, certificates
from tests.support.loading import ROOT
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="nginx has its directories for root"),
]
TOKEN = "not-a-secret"
OUTAGE = (503, (ROOT / "salt/proxy/files/outage.html").read_text(encoding="utf-8"))


class Says(tornado.web.RequestHandler):
    def initialize(self, says):
        self.says = says

    def get(self):
        self.write(self.says)


class Echo(tornado.websocket.WebSocketHandler):
    """Stands for a kernel."""

    def check_origin(self, origin):
        return True

    def on_message(self, message):
        self.write_message(message)


@pytest.fixture(scope="module")
def upstreams():
    """Ports of what stands for the hub, and for ada's server."""
    ports, loops = {}, []
    for name, handlers in {
        "hub": [("/hub/.*", Says, {"says": "hub"})],
        "ada": [("/user/ada/channels", Echo), ("/user/ada/.*", Says, {"says": "ada"})],
    }.items():
        sock, ports[name] = bind_unused_port()
        ready = threading.Event()

        def serve(handlers=handlers, sock=sock, ready=ready):
            async def main():
                tornado.httpserver.HTTPServer(tornado.web.Application(handlers)).add_sockets([sock])
                loops.append(asyncio.get_running_loop())
                ready.set()
                await asyncio.Event().wait()

            with pytest.raises(asyncio.CancelledError):
                asyncio.run(main())

        threading.Thread(target=serve, daemon=True).start()
        ready.wait(10)
    yield ports
    for loop in loops:
        loop.call_soon_threadsafe(lambda loop=loop: [t.cancel() for t in asyncio.all_tasks(loop)])


@pytest.fixture(scope="module")
def proxy(upstreams):
    """Port of configurable-http-proxy, started as its unit does, with a route to ada's server."""
    port, api = front.free_port(), front.free_port()
    unit = (ROOT / "salt/hub/files/jupyterhub-proxy.service").read_text(encoding="utf-8")
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    for name, value in {
        "CLASSHUB_PORT": port,
        "CLASSHUB_PROXY_API_PORT": api,
        "CLASSHUB_API_PORT": upstreams["hub"],
        "CLASSHUB_ADDRESS": "127.0.0.1",
    }.items():
        assert f"${{{name}}}" in start
        start = start.replace(f"${{{name}}}", str(value))
    process = subprocess.Popen(
        start.removeprefix("ExecStart=").split(),
        # Debian's own node looks there by itself, another one does not
        env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN, "NODE_PATH": "/usr/share/nodejs"},
        stdout=subprocess.DEVNULL,
    )

    def routed():
        return requests.post(
            f"http://127.0.0.1:{api}/api/routes/user/ada",
            headers={"Authorization": f"token {TOKEN}"},
            data=json.dumps({"target": f"http://127.0.0.1:{upstreams['ada']}"}),
            timeout=10,
        ).ok

    try:
        wait_until("the proxy takes a route", routed, 30, 0.2, (requests.ConnectionError,))
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def running(folder, proxy, hub):
    """nginx and stunnel with good certificates, before these ports."""
    front.put_certificates(folder)
    pages = front.free_port(front.Stunnel.address)
    tunnel = front.Stunnel(folder, proxy, pages, hub)
    places = {"servers": f"{tunnel.address}:{proxy}", "hub": f"{tunnel.address}:{pages}"}
    nginx = front.Nginx(folder, **places)
    nginx.tunnel, nginx.ports = tunnel, (proxy, pages)
    with tunnel.running(), nginx.running():
        yield nginx


@pytest.fixture
def way(tmp_path, proxy, upstreams):
    with running(tmp_path, proxy, upstreams["hub"]) as nginx:
        yield nginx


def opened(nginx) -> websocket.WebSocket:
    """A kernel's connection of ada's."""
    return websocket.create_connection(
        f"wss://{DOMAIN}:{nginx.https}/user/ada/channels",
        socket=nginx.connected(),
        timeout=20,
        host=DOMAIN,
    )


def echoes(channel: websocket.WebSocket, text: str) -> bool:
    channel.send(text)
    return channel.recv() == text


def put(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text)
    beside.chmod(0o600)
    beside.rename(path)


def shown(port: int) -> dict:
    """The certificate that stunnel shows at a port."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((front.Stunnel.address, port), timeout=10) as plain,
        context.wrap_socket(plain) as secure,
    ):
        assert secure.version() == "TLSv1.3"
        pem = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True))
    return certificates.described(pem)


def reload_tunnel(way) -> None:
    before = shown(way.ports[0])["fingerprint"]
    way.tunnel.signal(signal.SIGHUP)
    wait_until(
        "stunnel shows another certificate",
        lambda: all(shown(port)["fingerprint"] != before for port in way.ports),
        10,
        0.05,
    )


def test_pages_servers_and_kernels_are_reached(way):
    assert way.ask("/hub/login") == (200, "hub")
    assert way.ask("/user/ada/lab") == (200, "ada")
    assert echoes(opened(way), "1 + 1")
    assert shown(way.ports[0])["names"] == [HUB]


def test_a_hub_that_is_down_is_explained_and_its_proxy_goes_on(tmp_path, proxy):
    with running(tmp_path, proxy, hub=front.free_port()) as way:
        assert way.ask("/hub/login") == OUTAGE
        assert way.ask("/user/ada/lab") == (200, "ada")


@pytest.mark.parametrize("which", [0, 1], ids=["servers", "pages"])
def test_plain_http_gets_nothing(way, which):
    with socket.create_connection((way.tunnel.address, way.ports[which]), timeout=10) as plain:
        plain.sendall(b"GET /user/ada/lab HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/" not in b"".join(iter(lambda: plain.recv(4096), b""))


def other_authority(way, monkeypatch):
    return certificates.issue(certificates.authority(), HUB)


def expired(way, monkeypatch):
    authority = certificates.authority()
    (way.folder / "hub-ca.crt").write_text(certificates.public(authority))
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=certificates.DAYS + 1)
    monkeypatch.setattr(certificates, "_now", lambda: then)
    return certificates.issue(authority, HUB)


def other_name(way, monkeypatch):
    authority = certificates.authority()
    (way.folder / "hub-ca.crt").write_text(certificates.public(authority))
    return certificates.issue(authority, "elsewhere.classhub.internal")


@pytest.mark.parametrize("fault", [other_authority, expired, other_name])
def test_a_hub_that_is_not_the_class_s_is_refused(way, monkeypatch, fault):
    put(way.folder / "hub.pem", fault(way, monkeypatch))
    reload_tunnel(way)
    way.reload()
    wait_until("nginx refuses the hub", lambda: way.ask("/hub/login") == OUTAGE, 10, 0.1)
    assert way.ask("/user/ada/lab") == OUTAGE


def test_a_renewed_certificate_cuts_nobody(way):
    authority = certificates.authority()
    before = (way.folder / "hub-ca.crt").read_text()
    (way.folder / "hub-ca.crt").write_text(before + certificates.public(authority))
    way.reload()
    channel = opened(way)
    assert echoes(channel, "before")
    put(way.folder / "hub.pem", certificates.issue(authority, HUB))
    reload_tunnel(way)
    assert echoes(channel, "after")
    wait_until("new connections", lambda: way.ask("/user/ada/lab") == (200, "ada"), 10, 0.1)


def test_authorities_are_exchanged_without_an_interruption(way):
    """The one that follows is trusted before it signs; then the old one is trusted no more."""
    old, following, later = (certificates.authority() for _ in range(3))

    def trust(*authorities):
        put(way.folder / "hub-ca.crt", "".join(map(certificates.public, authorities)))
        way.reload()

    trust(old, following)
    put(way.folder / "hub.pem", certificates.issue(old, HUB))
    reload_tunnel(way)
    wait_until("both are trusted", lambda: way.ask("/hub/x") == (200, "hub"), 10, 0.1)
    channel = opened(way)
    # the hub's run
    put(way.folder / "hub.pem", certificates.issue(following, HUB))
    reload_tunnel(way)
    assert way.ask("/hub/x") == (200, "hub")
    assert way.ask("/user/ada/lab") == (200, "ada")
    # the proxy's
    trust(following, later)
    assert way.ask("/hub/x") == (200, "hub")
    assert echoes(channel, "still there")
    # whoever has the old one's key
    put(way.folder / "hub.pem", certificates.issue(old, HUB))
    reload_tunnel(way)
    wait_until("the old one is refused", lambda: way.ask("/hub/x") == OUTAGE, 10, 0.1)
