"""A certificate by ACME: real certbot, real nginx, and Pebble, the test authority of Let's Encrypt's makers."""

import contextlib
import json
import os
import shlex
import ssl
import stat
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from tests.support import front
from tests.support.front import DOMAIN, certificates
from tests.support.loading import ROOT
from tests.support.masterless import caller
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="nginx has its directories for root"),
]
# stands for the host's: reloads the nginx of the test
SYSTEMCTL = """#!/bin/sh
[ "$1" = try-reload-or-restart ] || exit 0  # Salt asks for its version
echo "$@" >>{top}/systemctl.log
kill -HUP "$(cat {top}/nginx/nginx.pid)"
"""


class Host:
    """A proxy host below one directory."""

    def __init__(self, top, directory):
        self.top, self.directory = top, directory
        front.put_certificates(top / "nginx")
        (top / "nginx/acme").mkdir()
        self.nginx = front.Nginx(top / "nginx", "127.0.0.1:1", "127.0.0.1:1", acme=True)
        self.salt = caller("lab", "proxy", top / "salt", self.pillar())
        self.install()

    def pillar(self):
        bundle = (self.top / "acme-ca.crt").read_text()
        acme = {"email": "it@example.edu", "directory": self.directory, "ca_bundle": bundle}
        proxy = {"tls": "acme", "acme": acme}
        root = self.top / "pillar"
        root.mkdir()
        (root / "machine.sls").write_text(
            yaml.safe_dump({"classhub": {"domain": DOMAIN, "proxy": proxy}})
        )
        return root

    def moved(self, text):
        for place, here in {
            "/etc/classhub/": "",
            "/var/lib/classhub/acme": "nginx/acme",
            "/var/lib/classhub/": "",
            "/var/log/": "",
        }.items():
            text = text.replace(place, f"{self.top}/{here}")
        return text

    def install(self):
        """What the states of the proxy write, below this directory."""
        self.chunks = {
            chunk["__id__"]: chunk for chunk in self.salt.cmd("state.show_low_sls", "proxy.acme")
        }
        for name in ("settings are written", "client's environment is written"):
            chunk = self.chunks[f"Proxy ACME {name}"]
            lines = chunk["contents"]
            text = "\n".join(lines) if isinstance(lines, list) else lines
            self.put(chunk["name"], text + "\n")
        self.put("/etc/classhub/acme/ca.crt", (self.top / "acme-ca.crt").read_text())
        hook = (ROOT / "salt/proxy/files/deploy-certificate").read_text()
        self.put("/etc/classhub/acme/deploy", hook).chmod(0o755)
        systemctl = self.put(str(self.top / "bin/systemctl"), SYSTEMCTL.format(top=self.top))
        systemctl.chmod(0o755)

    def put(self, name, text):
        path = Path(self.moved(name))
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.moved(text))
        return path

    def obtain(self, test=False, **other):
        """The state, as in the SLS."""
        chunk = self.chunks["Proxy certificate is obtained"]
        keys = ("name", "config", "directory", "live", "deploy", "shown")
        arguments = {key: self.moved(chunk[key]) for key in keys} | other
        answer = self.salt.cmd(
            "state.single", "classhub_certificate.obtained", **arguments, test=test
        )
        return next(iter(answer.values()))

    def renew(self):
        """What the timer starts."""
        unit = (ROOT / "salt/proxy/files/classhub-renewal.service").read_text()
        (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
        words = shlex.split(self.moved(start.removeprefix("ExecStart=")))
        bundle = {"REQUESTS_CA_BUNDLE": str(self.top / "acme/ca.crt")}
        subprocess.run(words, check=True, env=os.environ | bundle, timeout=120)

    def shown(self):
        with self.nginx.connected() as secure:
            pem = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True))
        return certificates.described(pem)

    def reloads(self):
        log = self.top / "systemctl.log"
        return log.read_text().splitlines() if log.exists() else []


def put_authority(top):
    """The TLS of Pebble itself, and whom to trust for it."""
    authority = certificates.authority()
    own = certificates.issue(authority, "localhost")
    (top / "acme-ca.crt").write_text(certificates.public(authority))
    (top / "pebble.crt").write_text(certificates.public(own))
    (top / "pebble.key").write_text(own)


@contextlib.contextmanager
def pebble(top, port, http):
    """Pebble and the name server that it asks; it looks for challenges at the port ``http`` of this machine."""
    names, management = front.free_port(), front.free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(top / "pebble.crt"),
        "privateKey": str(top / "pebble.key"),
        "httpPort": http,
        "tlsPort": 1,
        "ocspResponderURL": "",
    }
    (top / "pebble.json").write_text(json.dumps({"pebble": settings}))
    unused = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]
    places = ["-dns01", f"127.0.0.1:{names}", "-management", f"127.0.0.1:{front.free_port()}"]
    with contextlib.ExitStack() as stack:
        for argv in (
            ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", *places, *unused],
            ["pebble", "-config", top / "pebble.json", "-dnsserver", f"127.0.0.1:{names}"],
        ):
            process = subprocess.Popen(
                argv,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            )
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        trust = str(top / "acme-ca.crt")
        wait_until(
            "Pebble answers",
            lambda: requests.get(f"https://localhost:{port}/dir", verify=trust, timeout=5),
            20,
            0.1,
            (requests.ConnectionError,),
        )
        yield


@pytest.fixture
def host(tmp_path, monkeypatch):
    """nginx runs with the certificate that stands in; ``authority`` ends the authority."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    port = front.free_port()
    put_authority(tmp_path)
    made = Host(tmp_path, f"https://localhost:{port}/dir")
    with contextlib.ExitStack() as stack, made.nginx.running():
        stack.enter_context(pebble(tmp_path, port, made.nginx.http))
        made.end_authority = stack.close
        yield made


def test_a_certificate_is_obtained_once_and_brought_to_nginx(host):
    stand_in = host.shown()
    predicted = host.obtain(test=True)
    assert (predicted["result"], list(predicted["changes"])) == (None, [DOMAIN])
    assert host.shown() == stand_in

    done = host.obtain()
    assert done["result"] is True, done["comment"]
    assert done["changes"] == {DOMAIN: f"obtained from {host.directory}: there was none"}
    wait_until("nginx shows it", lambda: "Pebble" in host.shown()["issuer"], 10, 0.1)
    assert host.shown()["names"] == [DOMAIN]
    tls = host.top / "nginx/tls"
    told = certificates.described(*[(tls / f"class.{end}").read_text() for end in ("crt", "key")])
    assert told["key_fits"]
    assert stat.S_IMODE((tls / "class.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in tls.iterdir()) == ["class.crt", "class.key"]
    assert host.reloads() == ["try-reload-or-restart nginx-container"]
    assert not [path for path in (host.top / "nginx/acme").rglob("*") if path.is_file()]

    host.end_authority()
    for test in (False, True):
        again = host.obtain(test=test)
        assert (again["result"], again["changes"]) == (True, {}), "it asked the authority"


def test_a_certificate_that_was_not_brought_to_nginx_is_brought_without_asking(host):
    assert host.obtain()["result"] is True
    host.end_authority()
    shown = host.top / "nginx/tls/class.crt"
    good = shown.read_text()
    shown.write_text("half")
    assert host.obtain(test=True)["result"] is None
    assert host.obtain()["changes"] == {DOMAIN: "brought to nginx"}
    assert shown.read_text() == good


def test_another_authority_is_asked_anew(host):
    assert host.obtain()["result"] is True
    predicted = host.obtain(test=True, directory="https://acme.example.edu/directory")
    assert predicted["changes"] == {
        DOMAIN: "obtained from https://acme.example.edu/directory: it was of another authority"
    }


def test_what_fails_leaves_the_class_with_what_it_has(host):
    stand_in = host.shown()
    (host.top / "nginx/acme").rename(host.top / "nginx/elsewhere")
    failed = host.obtain()
    assert (failed["result"], failed["changes"]) == (False, {})
    assert "the class goes on with the one that it has" in failed["comment"]
    assert host.shown() == stand_in


def test_the_timer_renews_what_is_due_and_nothing_else(host):
    assert host.obtain()["result"] is True
    wait_until("nginx shows it", lambda: "Pebble" in host.shown()["issuer"], 10, 0.1)
    first = host.shown()["fingerprint"]
    host.renew()
    assert host.shown()["fingerprint"] == first
    renewal = host.top / f"acme/certbot/renewal/{DOMAIN}.conf"
    text = renewal.read_text()
    assert "# renew_before_expiry" in text
    renewal.write_text(
        text.replace("# renew_before_expiry = 30 days", "renew_before_expiry = 9000 days")
    )
    host.renew()
    wait_until("nginx shows the new one", lambda: host.shown()["fingerprint"] != first, 10, 0.1)
    assert len(host.reloads()) == 2
    assert host.obtain()["changes"] == {}
