"""nginx takes the settings that the proxy's template renders, and they say what they should."""

import contextlib
import http.server
import os
import ssl
import subprocess
import threading

import pytest

from tests.support import front
from tests.support.loading import ROOT


def render(**changes) -> str:
    return front.settings(**changes)


@pytest.mark.parametrize(
    "changes",
    [{}, {"hsts": 0}, {"body_size": "1g"}, {"sign_in_rate": 1, "sign_in_burst": 0}, {"acme": True}],
    ids=["defaults", "without HSTS", "large uploads", "strict sign-in", "ACME"],
)
def test_nginx_accepts_the_settings(changes, tmp_path):
    front.put_certificates(tmp_path)
    settings = render(**changes).replace("/etc/classhub/", f"{tmp_path}/")
    settings = settings.replace("pid /run/nginx.pid", f"pid {tmp_path}/nginx.pid")
    path = tmp_path / "nginx.conf"
    path.write_text(settings, encoding="utf-8")
    answer = subprocess.run(
        ["nginx", "-t", "-c", path], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_redirect_names_the_class_and_not_what_the_client_said():
    assert "return 301 https://class.example.edu$request_uri;" in render()
    assert "https://$host" not in render()


def test_challenges_of_acme_are_answered_before_the_redirect():
    assert "acme-challenge" not in render()
    assert "root /var/lib/acme;" in block(
        "location /.well-known/acme-challenge/", render(acme=True)
    )


def test_the_hub_is_believed_by_its_own_authority_alone():
    assert render().count("proxy_ssl_verify on;") == 1
    assert "proxy_ssl_trusted_certificate /etc/classhub/hub-ca.crt;" in render()
    assert "http://hub" not in render()
    assert "http://servers" not in render()


def test_other_names_get_no_answer():
    assert render().count("default_server") == 2
    assert "return 444;" in render()
    assert "ssl_reject_handshake on;" in render()


def test_clients_cannot_choose_their_address():
    assert "proxy_add_x_forwarded_for" not in render()
    assert render().count("X-Forwarded-For $remote_addr") == 1


def test_log_has_no_query_string():
    line = render().split("log_format class", 1)[1].split(";", 1)[0]
    assert "$path" in line
    assert all(
        word not in line for word in ('"$request"', "$request_uri", "$args", "$http_referer")
    )
    # nginx quotes the request in its messages, too
    assert "error_log stderr crit;" in render()


def test_hub_keeps_its_own_error_pages():
    assert "proxy_intercept_errors on" not in render()


def block(head: str, text: str = "") -> str:
    """What is in the braces after ``head``, which is there once."""
    text = text or render()
    assert text.count(f"{head} {{") == 1, head
    depth, rest = 1, text.split(f"{head} {{", 1)[1]
    for end, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if not depth:
            return rest[:end]
    raise AssertionError(f"{head} has no end")


@pytest.mark.parametrize(
    ("location", "upstream"),
    [("location /", "servers"), ("location = /", "hub"), ("location /hub/", "hub")],
)
def test_hubs_own_pages_do_not_need_its_proxy(location, upstream):
    address = {"servers": "192.0.2.11:8000", "hub": "192.0.2.11:8443"}[upstream]
    assert f"proxy_pass https://{upstream};" in block(location)
    assert f"server {address};" in block(f"upstream {upstream}")


def test_tries_to_sign_in_are_limited_where_one_signs_in():
    assert "limit_req zone=sign_in burst=300 nodelay;" in block("location /hub/")


def test_every_location_explains_an_outage_and_names_the_client():
    """nginx inherits both lists whole or not at all: a location with one of its own would lose the rest."""
    text = render()
    assert text.count("error_page 502 503 504 =503 /outage.html;") == 1
    for location in ("location /", "location = /", "location /hub/"):
        assert "error_page" not in block(location)
        assert "proxy_set_header" not in block(location)
    outage = block("location = /outage.html")
    assert "internal;" in outage
    assert "Retry-After 15" in outage


def test_hsts_can_be_switched_off():
    assert render().count("Strict-Transport-Security") == 2
    assert "Strict-Transport-Security" not in render(hsts=0)


# -- a real nginx -----------------------------------------------------------------------------------------------------


class Upstream(http.server.BaseHTTPRequestHandler):
    """Stands for the hub or its proxy: says which one it is."""

    def do_GET(self):
        text = self.server.says.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


@pytest.fixture
def running(tmp_path):
    """``running(*ups)`` -> what nginx answers to a path, while those of "hub" and "servers" run."""
    front.put_certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "hub.pem")
    with contextlib.ExitStack() as stack:

        def start(*ups):
            ports = {name: front.free_port() for name in ("hub", "servers")}
            for name in ups:
                server = http.server.ThreadingHTTPServer(("127.0.0.1", ports[name]), Upstream)
                server.socket = tls.wrap_socket(server.socket, server_side=True)
                server.says = name
                stack.callback(server.server_close)
                stack.callback(server.shutdown)
                threading.Thread(target=server.serve_forever, daemon=True).start()
            places = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
            return stack.enter_context(front.Nginx(tmp_path, **places).running()).ask

        yield start


OUTAGE = (503, (ROOT / "salt/proxy/files/outage.html").read_text(encoding="utf-8"))
# what runs -> who answers to the hub's pages, and who to a server's
WHO = [
    (("hub", "servers"), (200, "hub"), (200, "servers")),
    (("servers",), OUTAGE, (200, "servers")),
    (("hub",), (200, "hub"), OUTAGE),
    ((), OUTAGE, OUTAGE),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="nginx has its directories for root")
@pytest.mark.parametrize(("ups", "hub", "servers"), WHO)
def test_outage_of_the_hub_or_of_its_proxy_is_explained(running, ups, hub, servers):
    get = running(*ups)
    assert [get(path) for path in ("/", "/hub/login", "/hub/api")] == [hub] * 3
    assert [get(path) for path in ("/user/ada/lab", "/services/x")] == [servers] * 2
