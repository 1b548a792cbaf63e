"""The proxy in front of the class: TLS, names, limits, and its page while the hub is away."""

import datetime
import http.client
import socket
import ssl
import time

import pytest
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import lab
from tests.support.client import Site, Student, resolve

STRANGER = "elsewhere.test"
REFUSALS = (400, 403, 404, 421)


@pytest.fixture
def stranger(site) -> str:
    """A name that leads to the proxy and is not the class's."""
    resolve(STRANGER, site.address)
    return STRANGER


def test_http_leads_to_https(site):
    answer = _plain(site, site.domain, "/hub/login?next=%2Fhub%2Fhome")
    assert answer.status_code in (301, 308)
    assert answer.headers["Location"] == f"{site.url}/hub/login?next=%2Fhub%2Fhome"


def test_http_leads_nobody_elsewhere(site, stranger):
    """The redirect has the class's own name in it, not the one that the request brought."""
    try:
        answer = _plain(site, stranger, "/")
    except requests.ConnectionError:
        return  # refused without a word
    assert answer.status_code in REFUSALS or answer.headers["Location"].startswith(site.url)


def _plain(site: Site, host: str, path: str) -> requests.Response:
    with site.session() as session:
        return session.get(
            f"http://{site.address}{path}",
            headers={"Host": host},
            allow_redirects=False,
            timeout=20,
        )


def test_browsers_are_told_to_stay_with_https(site):
    with site.session() as session:
        answer = session.get(f"{site.url}/hub/login", timeout=20)
    assert answer.status_code == 200
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("in_handshake", [True, False])
def test_other_names_are_refused(site, stranger, in_handshake):
    """By the name in the TLS handshake, and by the Host of a request over a good handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        stranger if in_handshake else site.domain, context=context, timeout=20
    )
    try:
        connection.request("GET", "/hub/login", headers={"Host": stranger})
        answer = connection.getresponse()
    except (ssl.SSLError, ConnectionError, http.client.HTTPException):
        return  # refused without a word
    finally:
        connection.close()
    assert answer.status in REFUSALS
    assert b"username" not in answer.read()


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1.* is deprecated")
def test_tls_versions(site, version, accepted):
    context = ssl.create_default_context(cafile=str(site.certificate))
    context.minimum_version = context.maximum_version = version
    # this side must be willing, or the test would pass without asking the proxy
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection((site.address, 443), timeout=20) as raw:
        if accepted:
            with context.wrap_socket(raw, server_hostname=site.domain) as secured:
                assert secured.version() == version.name.replace("_", ".")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)) as refusal:
                context.wrap_socket(raw, server_hostname=site.domain)
            assert "NO_PROTOCOLS_AVAILABLE" not in str(refusal.value), "this side refused"


def test_large_uploads_are_refused(site):
    """By the announced length: nobody has to send 4 GB to be told."""
    context = ssl.create_default_context(cafile=str(site.certificate))
    connection = http.client.HTTPSConnection(site.domain, context=context, timeout=20)
    connection.putrequest("PUT", "/user/ada/api/contents/large.bin")
    connection.putheader("Content-Length", str(4 << 30))
    connection.endheaders()
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 413


@pytest.mark.parametrize("path", ["/", "/hub/login"])
@pytest.mark.parametrize(
    "units",
    [("jupyterhub", "jupyterhub-proxy"), ("jupyterhub",)],
    ids=["hub and its proxy", "hub alone"],
)
def test_a_page_explains_an_outage(site, units, path):
    lab.on("hub", "systemctl", "stop", *units)
    try:
        proxy = lab.on("hub", "systemctl", "is-active", "jupyterhub-proxy", check=False)
        with site.session() as session:
            answer = session.get(f"{site.url}{path}", timeout=60, allow_redirects=False)
    finally:
        lab.on("hub", "systemctl", "start", *reversed(units))
        lab.wait_for_hub(site)
    assert (proxy == "active") == ("jupyterhub-proxy" not in units)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Retry-After"] == "15"
    page = lab.on("proxy", "cat", "/etc/classhub/nginx/outage.html")
    assert answer.content.decode().strip() == page, "another page than the class's own"


def test_a_given_certificate_is_shown_and_its_key_stays_on_the_proxy(site):
    pem, key = _own_certificate(site.domain)
    given = {"proxy": {"tls": "files", "certificate": pem}}
    secret = {"secrets/proxy.sls": yaml.safe_dump({"classhub": {"proxy": {"key": key}}})}
    before = _shown(site)
    try:
        with lab.settings(given, **secret):
            applied = lab.apply("proxy")
            assert not lab.lines(applied, "failed")
            assert _shown(site) == ssl.PEM_cert_to_DER_cert(pem)
            assert (
                lab.on("proxy", "stat", "-c", "%a %U", "/etc/classhub/nginx/tls/class.key")
                == "600 root"
            )
            told = lab.salt("node1", "pillar.get", "classhub:proxy", "unmask=True")["node1"]
            assert told["certificate"] == pem
            assert told["key"] == ""
    finally:
        # another self-signed one: the key on the host is no longer the one that it was made with
        lab.on("proxy", "rm", "-r", "/etc/classhub/nginx/tls")
        assert not lab.lines(lab.apply("proxy"), "failed")
    assert _shown(site) != before
    trusted = lab.site().certificate.read_text(encoding="ascii")
    site.certificate.write_text(trusted, encoding="ascii")
    lab.wait_for_hub(site)


def _shown(site: Site) -> bytes:
    """The certificate that the class's address shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((site.address, 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=site.domain) as secure,
    ):
        return secure.getpeercert(binary_form=True)


def _own_certificate(domain: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(17)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(encoding).decode(), private.decode()


def test_passwords_cannot_be_tried_quickly(site):
    """Last: it uses up this machine's tries, and later sign-ins have to wait."""
    began = time.monotonic()
    first = Student("eve", site, password="guess").send_sign_in_form(patience=0)
    assert first.status_code == 403, "the first try is an honest mistake"
    session, form = site.session(), {"username": "eve", "password": "guess"}
    seen = [session.post(f"{site.url}/hub/login", data=form).status_code for _ in range(1000)]
    passed = sum(status != 429 for status in seen)
    # sign_in_burst and sign_in_rate of the lab's pillar
    most = 40 + 120 * (time.monotonic() - began) / 60
    assert passed <= most + 1, f"{passed} of 1000 tries in a row were let through, not {most:.0f}"
