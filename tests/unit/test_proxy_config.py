"""nginx takes the settings that the proxy's template renders, and they say what they should."""

import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "salt/proxy/files/nginx.conf.jinja"
SETTINGS = {"body_size": "100m", "hsts": 31536000, "sign_in_rate": 60, "sign_in_burst": 300}


def render(**changes) -> str:
    template = jinja2.Template(
        TEMPLATE.read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined
    )
    return template.render(
        domain="class.example.edu",
        hub_address="192.0.2.11",
        hub_port=8000,
        proxy=SETTINGS | changes,
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=class.example.edu",
    ]
    argv += ["-keyout", f"{folder}/class.key", "-out", f"{folder}/class.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    return folder


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
@pytest.mark.parametrize(
    "changes",
    [{}, {"hsts": 0}, {"body_size": "1g"}, {"sign_in_rate": 1, "sign_in_burst": 0}],
    ids=["defaults", "without HSTS", "large uploads", "strict sign-in"],
)
def test_nginx_accepts_the_settings(changes, certificate, tmp_path):
    settings = render(**changes).replace("/etc/classhub/tls", str(certificate))
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


def test_hsts_can_be_switched_off():
    assert render().count("Strict-Transport-Security") == 2
    assert "Strict-Transport-Security" not in render(hsts=0)
