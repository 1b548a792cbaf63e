"""`bootstrap.sh master --api` itself, on this machine with directories of its own in place of the system's.

Salt is taken for installed, and systemd does not run: what it writes is looked at here, and started in the tests of
the integration.
"""

import subprocess

import pytest
import yaml

from tests.support.loading import ROOT

# paths that bootstrap.sh writes to, in a mount namespace
SCRIPT = """
set -e
for directory in /etc/salt /etc/systemd/system /opt /usr/local/bin /var/log/salt /var/cache/salt; do
    mkdir -p "$directory"
    mount --bind "$1$directory" "$directory"
done
mkdir -p /opt/salt
(python3 --version; cat "$2/requirements/build.txt" "$2/requirements/salt.txt" | sha256sum) >/opt/salt/.classhub
"$2/bootstrap.sh" master --api 127.0.0.1:8443
"""


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory):
    """Run it; its words, and where its files are."""
    top = tmp_path_factory.mktemp("host")
    for directory in (
        "etc/salt",
        "etc/systemd/system",
        "opt",
        "usr/local/bin",
        "var/log/salt",
        "var/cache/salt",
    ):
        (top / directory).mkdir(parents=True)

    def run():
        command = ["unshare", "--mount", "bash", "-c", SCRIPT, "bash", top, ROOT]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=120
        ).stdout

    first = run()
    return run, top, first


def test_the_configuration_names_a_key_of_roots_own(bootstrap):
    _, top, _ = bootstrap
    api = yaml.safe_load((top / "etc/salt/master.d/classhub-api.conf").read_text())["classhub_api"]
    assert (api["address"], api["port"]) == ("127.0.0.1", 8443)
    for name in ("certificate", "key"):
        file = top / api[name].lstrip("/")
        assert file.stat().st_mode & 0o777 == 0o600
        assert "BEGIN" in file.read_text()
    assert (top / "etc/salt/pki/api").stat().st_mode & 0o777 == 0o700


def test_again_changes_nothing_and_tells_the_same_fingerprint(bootstrap):
    run, top, first = bootstrap
    files = {path: path.read_bytes() for path in (top / "etc").rglob("*") if path.is_file()}
    again = run()
    assert "made the certificate" in first
    assert "wrote" in first
    assert "made the certificate" not in again
    assert "wrote" not in again
    fingerprint = [line for line in first.splitlines() if len(line.strip()) == 64]
    assert fingerprint
    assert fingerprint[0] in again.splitlines()
    assert files == {path: path.read_bytes() for path in files}


def test_the_unit_starts_with_the_system(bootstrap):
    _, top, _ = bootstrap
    unit = top / "etc/systemd/system/salt-api.service"
    assert "ExecStart=/opt/salt/bin/salt-api -c /etc/salt " in unit.read_text()
    assert (unit.parent / "multi-user.target.wants/salt-api.service").is_symlink()
