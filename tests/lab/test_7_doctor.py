"""salt-run classhub.doctor: a class that works, and one that is broken in many ways, each found and named."""

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.waiting import wait_until

FAKE = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def diagnosed(proof: bool = False) -> dict[str, Any]:
    """What the doctor says; that something failed is also its exit code."""
    command = [lab.salt_command("salt-run"), "--out=json", "--log-level=error", "classhub.doctor"]
    done = subprocess.run(
        [*command, f"proof={proof}"],
        cwd=lab.ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    told = json.loads(done.stdout)
    assert done.returncode == bool(failed(told)), done
    return told


def failed(told: dict[str, Any]) -> dict[str, str]:
    return {name: text for name, text in told["checks"].items() if text.startswith("failed")}


@contextmanager
def changed(host: str, broken: str, mended: str) -> Iterator[None]:
    """A host between two lines of shell."""
    try:
        lab.shell(host, broken)
        yield
    finally:
        lab.shell(host, mended)


@contextmanager
def replaced(host: str, path: str, command: str) -> Iterator[None]:
    """A file that a line of shell changes, and that is as it was afterwards."""
    kept = shlex.quote(f"{path}.kept")
    with changed(host, f"cp -a {path} {kept}; {command}", f"mv {kept} {path}"):
        yield


@contextmanager
def skewed(host: str) -> Iterator[None]:
    """A host whose minion believes that it is two minutes later."""
    lab.shell(host, "apt-get install -qq -y libfaketime >/dev/null", timeout=300)
    unit = "/etc/systemd/system/salt-minion.service.d/later.conf"
    words = f"[Service]\\nEnvironment=LD_PRELOAD={FAKE} FAKETIME=+120s"
    restart = "systemctl daemon-reload; systemctl restart salt-minion"
    begin = f"mkdir -p $(dirname {unit}); printf '{words}\\n' > {unit}; {restart}"
    with changed(host, begin, f"rm {unit}; {restart}"):
        lab.wait_for_minions()
        yield
    lab.wait_for_minions()


@contextmanager
def without_image(host: str) -> Iterator[None]:
    """A node that lost the image."""
    lab.shell(host, "docker image rm -f $(docker image ls -q classhub/student | sort -u)")
    try:
        yield
    finally:
        assert not lab.lines(lab.apply(host), "failed")


EXPIRED = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "class.test")])
day = datetime.timedelta(days=1)
made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
made = made.serial_number(1).not_valid_before(now - 9 * day).not_valid_after(now - day)
names = x509.SubjectAlternativeName([x509.DNSName("class.test")])
pem = made.add_extension(names, False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
open(sys.argv[1] + "/class.crt", "wb").write(pem)
open(sys.argv[1] + "/class.key", "wb").write(private)
"""


@contextmanager
def expired_certificate() -> Iterator[None]:
    folder = "/etc/classhub/nginx/tls"
    made = shlex.join(["/opt/salt/bin/python3", "-c", EXPIRED, folder])
    read = "systemctl reload nginx-container"
    with changed(
        "proxy",
        f"cp -a {folder} {folder}.kept; {made}; {read}",
        f"rm -r {folder}; mv {folder}.kept {folder}; {read}",
    ):
        yield


@contextmanager
def full_disk(host: str) -> Iterator[None]:
    """A small filesystem, full, where a host of this role keeps nothing."""
    place = "/var/lib/classhub"
    begin = f"mkdir -p {place}; mount -t tmpfs -o size=64k tmpfs {place}; cat /dev/zero > {place}/full; true"
    with changed(host, begin, f"umount {place}"):
        yield


@contextmanager
def other_home(host: str) -> Iterator[None]:
    other = '{"id": "00000000-0000-0000-0000-000000000000"}'
    begin = f"mkdir -p /tmp/other/.classhub; echo '{other}' > /tmp/other/.classhub/filesystem.json"
    with changed(host, f"{begin}; mount --bind /tmp/other /home", "umount /home"):
        yield


# what is broken, host: check, and a word that must be told
Broken = tuple[Callable[[], Any], str, str]
BROKEN: dict[str, Broken] = {
    "a clock is wrong": (lambda: skewed("node2"), "node2: clock", "120 s ahead"),
    "a node lost the image": (lambda: without_image("node1"), "node1: image", "lacks"),
    "a disk is full": (lambda: full_disk("proxy"), "proxy: disk", "/var/lib/classhub"),
    "a firewall is gone": (
        lambda: changed("node1", "nft delete table inet classhub", "nft --file /etc/classhub/firewall.nft"),
        "node1: firewall",
        "classhub",
    ),
    "a unit failed": (
        lambda: changed(
            "node2",
            "systemd-run --unit=broken /bin/false; sleep 1",
            "systemctl reset-failed broken",
        ),
        "node2: units",
        "broken",
    ),
    "the sweep does not run": (
        lambda: changed("hub", "systemctl stop classhub-sweep.timer", "systemctl start classhub-sweep.timer"),
        "hub: units",
        "classhub-sweep.timer",
    ),
    "a certificate expired": (
        expired_certificate,
        "proxy: certificate",
        "expired",
    ),
    "a token was revoked": (
        lambda: replaced(
            "hub",
            "/etc/jupyterhub/secrets.env",
            "sed -i 's/^CLASSHUB_CULLER_TOKEN=.*/CLASSHUB_CULLER_TOKEN=gone/' /etc/jupyterhub/secrets.env",
        ),
        "hub: tokens",
        "culler",
    ),
    "an account has another uid": (
        lambda: changed("hub", "sed -i.kept 's/^bob:x:[0-9]*:/bob:x:31999:/' /etc/passwd", "mv /etc/passwd.kept /etc/passwd"),
        "hub: people",
        "bob",
    ),
    "a database is damaged": (
        lambda: replaced("hub", "/srv/stats/db/activity.sqlite", "printf damaged > /srv/stats/db/activity.sqlite"),
        "hub: databases",
        "activity",
    ),
    "/home is another filesystem": (
        lambda: other_home("node2"),
        "node2: homes",
        "not the hub's",
    ),
}  # fmt: skip


def test_a_class_that_works(quiet, student):
    """The proof disturbs no student, shows none anything, and leaves nothing in the course."""
    ada = student("ada")
    journey.start(ada)
    kernel = ada.kernel()
    kernel.run("kept = 17")
    before = lab.salt("hub", "classhub.assignments")["hub"]
    told = diagnosed(proof=True)
    assert failed(told) == {}, told
    steps = ("server starts", "server stops", "submission is sealed and collected")
    assert {f"hub: {step}" for step in steps} <= set(told["checks"])
    assert told["checks"]["master: program"].startswith("ok")
    assert kernel.value("kept") == 17
    assert lab.servers() == ["ada"]
    assert lab.salt("hub", "classhub.assignments")["hub"] == before
    left = lab.shell("hub", "ls -A /home/classhub-probe /var/lib/classhub/doctor")
    assert "proof" not in left
    people = lab.shell("hub", "cat /var/lib/classhub/uids.json")
    assert "classhub-probe" not in json.loads(people)


def test_each_fault_is_found_and_named(quiet):
    with ExitStack() as stack:
        for broken, _, _ in BROKEN.values():
            stack.enter_context(broken())
        found = failed(diagnosed())
    wanted = {check for _, check, _ in BROKEN.values()}
    assert set(found) == wanted, found
    for name, (_, check, word) in BROKEN.items():
        assert word in found[check], f"{name}: {found[check]}"
        assert "To do: " in found[check]
    assert not failed(diagnosed())


@pytest.mark.long
def test_what_is_behind_the_proxy_is_away(quiet):
    with changed("hub", "systemctl stop jupyterhub", "systemctl start jupyterhub"):
        found = failed(diagnosed(proof=True))
    assert set(found) == {
        "hub: units",
        "hub: tokens",
        "hub: servers",
        "proxy: sign-in page",
        "hub: server starts",
        "hub: server stops",
    }, found
    lab.wait_for_hub(quiet)
    with changed("hub", "systemctl stop classhub-tls", "systemctl start classhub-tls"):
        assert set(failed(diagnosed())) == {"hub: units", "proxy: sign-in page"}
    with changed("proxy", "systemctl stop nginx-container", "systemctl start nginx-container"):
        assert set(failed(diagnosed())) == {"proxy: units", "proxy: sign-in page"}
    wait_until("nginx answers again", lambda: not failed(diagnosed()), 60)


@pytest.mark.long
def test_a_node_that_is_away(quiet):
    with changed("node2", "systemctl stop docker.socket docker", "systemctl start docker"):
        wait_until("the Swarm sees it", lambda: "hub: nodes" in failed(diagnosed()), 90)
        assert set(failed(diagnosed())) == {"hub: nodes", "node2: engine"}
    wait_until("the node is back", lambda: not failed(diagnosed()), 90)
    with changed("node2", "systemctl stop salt-minion", "systemctl start salt-minion"):
        assert set(failed(diagnosed())) == {"node2: minion"}
    lab.wait_for_minions()
    told = lab.salt_run("classhub.drain", "node2")
    try:
        drained = diagnosed()
        assert not failed(drained), told
        assert "node2" in drained["checks"]["hub: nodes"]
        assert drained["checks"]["hub: nodes"].startswith("warning")
    finally:
        lab.salt_run("classhub.resume", "node2")


@pytest.mark.long
def test_students_cannot_start(quiet):
    """What no single host can see."""
    path = "/etc/jupyterhub/image.json"
    with replaced("hub", path, f"""echo '{{"image": "nowhere/nothing:1"}}' > {path}"""):
        found = failed(diagnosed(proof=True))
    assert {"node1: image", "node2: image", "hub: server starts"} == set(found)
    with changed(
        "hub", "chown root /home/classhub-probe", "chown classhub-probe /home/classhub-probe"
    ):
        found = failed(diagnosed(proof=True))
    assert set(found) <= {"hub: server starts", "hub: cell runs and submits"}
    assert found
