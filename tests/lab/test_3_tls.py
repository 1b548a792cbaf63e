"""Between the proxy host and the hub: TLS by the hub's own authority, and nothing without it."""

import re

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.waiting import wait_until

HUB = lab.ADDRESSES["hub"]
PORTS = (8000, 8443)
TRUSTED = "/etc/classhub/nginx/hub-ca.crt"
SHOWN = "/etc/classhub/stunnel/hub.pem"


def handshake(port: int) -> str:
    """What openssl on the proxy host says of the hub."""
    return lab.shell(
        "proxy",
        f"openssl s_client -connect {HUB}:{port} -CAfile {TRUSTED} -verify_return_error "
        "-verify_hostname hub.classhub.internal -brief </dev/null 2>&1",
        check=False,
    )


@pytest.mark.parametrize("port", PORTS)
def test_the_proxy_host_knows_the_hub_by_its_authority(site, port):
    told = handshake(port)
    assert "Protocol version: TLSv1.3" in told, told
    assert "Verification: OK" in told, told


@pytest.mark.parametrize("port", PORTS)
def test_plain_http_gets_nothing(site, port):
    told = lab.on(
        *("proxy", "timeout", "10", "bash", "-c"),
        f"exec 3<>/dev/tcp/{HUB}/{port}; printf 'GET /hub/login HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
        check=False,
    )
    assert "HTTP/" not in told
    assert "login" not in told


def test_the_hubs_proxy_listens_on_the_loopback_alone(site):
    listening = lab.on("hub", "ss", "-Hltnp", "sport = :8000")
    by = dict(re.findall(r'(\S+):8000 .*users:\(\("([^"]+)"', listening))
    assert sorted(by) == sorted(["127.0.0.1", HUB]), listening
    assert "stunnel" in by[HUB]


def test_keys_stay_where_they_are_made(site):
    assert lab.on("hub", "stat", "-c", "%a %U", SHOWN) == "600 stunnel4"
    assert lab.on("hub", "stat", "-c", "%a %U", "/etc/classhub/ca") == "700 root"
    assert "PRIVATE" not in lab.on("proxy", "cat", TRUSTED)
    mine = "classhub_hub_authorities"
    told = {host: lab.salt(host, "mine.get", "hub", mine)[host] for host in ("proxy", "node1")}
    assert "BEGIN CERTIFICATE" in told["proxy"]["hub"]
    assert told["node1"] == {}


def test_whoever_else_answers_at_the_hubs_address_is_refused(site):
    """Another certificate for the same name, until the next run puts the hub's own back."""
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hub.classhub.internal "
        "-addext subjectAltName=DNS:hub.classhub.internal -keyout /tmp/k -out /tmp/c 2>/dev/null; "
        f"cat /tmp/k /tmp/c >{SHOWN}; rm /tmp/k /tmp/c; systemctl reload classhub-tls"
    )
    lab.shell("hub", make)
    # connections that nginx has are still the hub's own
    lab.docker("proxy", "exec", "nginx", "nginx", "-s", "reload")
    try:
        with site.session() as session:

            def refused() -> bool:
                return session.get(f"{site.url}/hub/login", timeout=30).status_code == 503

            wait_until("nginx refuses the hub", refused, 30)
    finally:
        applied = lab.apply("hub", "hub.tls")
    assert not lab.lines(applied, "failed")
    assert any("the authority is another" in line for line in lab.lines(applied, "changed"))
    lab.wait_for_hub(site)


@pytest.mark.long
def test_an_exchange_of_the_authority_cuts_nobody(quiet, student):
    ada = student("ada")
    journey.start(ada)
    kernel = ada.kernel()
    kernel.run("kept = 23")
    path = f"/user/ada/api/kernels/{kernel.id}/channels"
    channel = quiet.websocket(path, ada.token, 60)
    before = lab.on("proxy", "cat", TRUSTED)

    told = lab.salt("hub", "classhub_secrets.rotate", "authority")["hub"]
    assert told["restarts"] == []
    assert not lab.lines(lab.apply("hub"), "failed")
    assert "Verification: OK" in handshake(8443)  # by what the proxy trusts already
    assert kernel.value("kept") == 23
    assert not lab.lines(lab.apply("proxy"), "failed")
    assert lab.on("proxy", "cat", TRUSTED) != before
    assert "Verification: OK" in handshake(8443)
    channel.ping()
    assert kernel.value("kept") == 23
    assert channel.connected
    channel.close()
    for host in ("hub", "proxy"):
        assert not lab.lines(lab.apply(host), "changed")


def test_the_certificate_that_students_see_is_told(site):
    told = lab.salt("proxy", "classhub.certificate")["proxy"]
    assert told["names"] == [site.domain]
    assert told["key_fits"]
    assert told["is_for_domain"]
    assert told["self_signed"]
    assert told["days_left"] > 300


@pytest.mark.long
def test_a_certificate_that_ends_soon_is_a_warning(site):
    with lab.settings({"proxy": {"warn_days": 365}}):
        applied = lab.apply("proxy", "proxy.watch")["proxy"]
    assert not applied.failed
    assert not applied.changed
    warnings = [line for state in applied.states for line in state.get("warnings", [])]
    assert any("Renew it" in line for line in warnings), applied.states
